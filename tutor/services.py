"""Builds every collaborator once, for the command line and the web app alike.

Nothing heavy is loaded here: the embedder loads with the first text it embeds, the generator with the first answer
it writes. An unchanged course is recognised by its hashes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from db.session import Database
from tutor.serving import BASE, Generators, find_adapter
from tutor.settings import Settings, SettingsError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from retrieval.records import Embedder
    from retrieval.retriever import PassageReading, Retriever
    from tutor.cards import Cards
    from tutor.generators.protocol import Generator
    from tutor.lessons import Lessons
    from tutor.quizzes import Quizzes
    from tutor.turn import Tutor

COURSE_SOURCE = "course"

log = logging.getLogger(__name__)


class HomeError(Exception):
    """The home folder can't be made or written. `str()` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Services:
    """What one process works with. Safe to share between threads; `close` it at the end."""

    settings: Settings
    database: Database
    retriever: Retriever
    tutor: Tutor
    learner_id: int
    lessons: Lessons
    cards: Cards
    quizzes: Quizzes
    generators: Generators | None = None
    """Where the settings name what writes; None where the caller brought generators of its own, or none."""

    def check_adapter(self, name: str | None) -> None:
        """Raise NotFound for an adapter that isn't registered, GeneratorError for one that a server can't load."""
        if name is not None and name != BASE:
            find_adapter(self.database, name)
            if self.settings.server_url is not None:
                self.tutor.generator_for(name)

    def load_embedder(self) -> None:
        """Load the embedder now, so that the timings of what follows are those of the work. Raises EmbedderError."""
        self.retriever.embedder.encode(["warm"])

    def close(self) -> None:
        """Close the database connections."""
        self.database.close()


def build_services(
    settings: Settings,
    *,
    with_generator: bool = True,
    index_course: bool = True,
    on_progress: Callable[[str, int, int], None] | None = None,
    embedder: Embedder | None = None,
    reader: PassageReading | None = None,
    generator_for: Callable[[str | None], Generator] | None = None,
) -> Services:
    """Open the database, find the embedder, index the course if it changed, and put the tutor together.

    `on_progress(path, done, total)` is told about the course. `embedder`, `reader` and `generator_for` replace what
    the settings name (tests, evaluation); with an `embedder` of the caller's, only the caller's reader reads.
    Raises HomeError, SettingsError, EmbedderError, GeneratorError or a DatabaseError, each one line; a model that is
    there but damaged shows with the first answer.
    """
    from retrieval.entailment import Entailment
    from retrieval.reader import Reader
    from retrieval.reranker import Reranker
    from retrieval.retriever import Retriever
    from tutor.cards import Cards
    from tutor.lessons import Lessons
    from tutor.quiz import Grader
    from tutor.quizzes import Quizzes
    from tutor.turn import Tutor

    database = _open(settings)
    judge: Entailment | None = None
    try:
        if embedder is None:
            from retrieval.embedder import load_embedder

            embedder = load_embedder(settings.embedder, threads=settings.threads)
            reader = reader or Reader(threads=settings.threads)
            judge = Entailment(threads=settings.threads)
        generators = _generators(settings, database) if with_generator and generator_for is None else None
        if index_course:
            update_course(settings, database, embedder, on_progress)
        reranker = Reranker(settings.reranker) if settings.reranker else None
        retriever = Retriever(database, embedder, reader=reader, reranker=reranker)
        with database.session() as session:
            learner_id = _learner_id(session, settings)
        lessons = Lessons(database, learner_id, Grader(embedder, judge))
        return Services(
            settings,
            database,
            retriever,
            Tutor(database, retriever, generator_for or generators or _no_generator, settings, judge),
            learner_id,
            lessons,
            Cards(database, learner_id),
            Quizzes(lessons),
            generators,
        )
    except BaseException:
        database.close()
        raise


def update_course(
    settings: Settings,
    database: Database,
    embedder: Embedder,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Make the index hold the course of the settings as its files are now. Raises SettingsError.

    A page that asks think-first questions must be a whole course page: one with a mistake is left out, or stays as
    it last was. Plain Markdown in a learner's own course folder is reading material and needs no front matter.
    """
    from db.documents import delete_source
    from retrieval.ingest import ingest_folder

    if settings.course is None and not settings.builtin_course:
        with database.session() as session:
            delete_source(session, COURSE_SOURCE, keep_paths=None)
        return
    folder = settings.course or builtin_course()
    if not folder.is_dir():
        raise SettingsError(f"The course folder {folder} does not exist; correct the setting `course`.")
    check = partial(_course_mistakes, strict=settings.course is None)
    report = ingest_folder(
        database, embedder, folder, source=COURSE_SOURCE, check=check, on_progress=on_progress
    )
    for path, reason in report.rejected:
        log.warning("course page %s was left out: %s", path, reason)


def _course_mistakes(label: str, data: bytes, *, strict: bool) -> list[str]:
    """What keeps a page out of the course, one line each; see `update_course`."""
    from retrieval.loaders import decode, front_matter
    from tutor.page_schema import problems

    meta, _ = front_matter.read(decode(data))
    return [str(problem) for problem in problems(label, data)] if strict or "think_first" in meta else []


def builtin_course() -> Path:
    """The folder of the course that comes with the program."""
    return Path(str(files("tutor"))) / "course"


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database alone: for commands that need no model."""
    database = _open(settings)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def learner_database(settings: Settings) -> Iterator[tuple[Database, int]]:
    """The database and the id of the learner the settings name."""
    with open_database(settings) as database:
        with database.session() as session:
            learner_id = _learner_id(session, settings)
        yield database, learner_id


@contextmanager
def learner_session(settings: Settings, *, readonly: bool = False) -> Iterator[tuple[Session, int]]:
    """A transaction and the id of the learner the settings name."""
    with learner_database(settings) as (database, learner_id), database.session(readonly=readonly) as session:
        yield session, learner_id


def ensure_home(settings: Settings) -> None:
    """Make the home folder, readable by its owner only. Raises HomeError."""
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError:
        raise HomeError(f"The home {home} is a file, not a folder; choose a folder with --home.") from None
    except OSError as error:
        raise HomeError(
            f"The home folder {home} can't be made ({error.strerror}); choose another with --home."
        ) from None


def _generators(settings: Settings, database: Database) -> Generators:
    """Raises GeneratorError where the settings name a model that can't exist, before anyone waits for it."""
    from tutor.adapters import register_shipped
    from tutor.models import resolve_generator

    resolve_generator(settings)
    register_shipped(settings, database)
    return Generators(settings, database)


def _no_generator(name: str | None) -> Generator:
    raise AssertionError("built without a generator")


def _open(settings: Settings) -> Database:
    ensure_home(settings)
    return Database.open(settings.database_url or settings.sqlite_path)


def _learner_id(session: Session, settings: Settings) -> int:
    from db.study import learner

    return learner(session, settings.learner).id
