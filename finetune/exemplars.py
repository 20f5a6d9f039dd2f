"""The seed set: questions on the built-in course, the answers they should get, and the notes retrieval finds for them.

`exemplars/<page>.jsonl` holds one exemplar a line, written for this product. Two pages are held out, and the remaining
pages of the course have no exemplars at all. What retrieval finds for each question is searched once and kept; which
examples it makes is decided in `contexts.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.notes import Note
from retrieval.words import words
from tutor.whole_files import read_json, write_json

if TYPE_CHECKING:
    from tutor.settings import Settings
    from tutor.turn import Tutor

FOLDER = Path(__file__).with_name("exemplars")
TRAIN_PAGES = frozenset(
    f"{stem}.md"
    for stem in (
        "ai-and-automation",
        "choosing-the-next-word",
        "cost-and-hardware",
        "data-examples-and-labels",
        "feedback-and-model-updates",
        "fine-tuning-and-lora",
        "how-training-works",
    )
)
HELD_OUT_PAGES = frozenset({"tokens.md", "kinds-of-learning.md"})
UNANSWERABLE = ("near_miss", "false_premise", "cross_topic", "off_topic")
KINDS = ("answerable", *UNANSWERABLE)
ELSEWHERE = "elsewhere"  # the file of questions that belong to no page
HELD_OUT_GROUPS = HELD_OUT_PAGES | {f"{ELSEWHERE}, held out"}
MAX_GOLD = 2
_KEEP_EVERY = 50  # searches after which what was found is kept, should the process end


class ExemplarError(ValueError):
    """A line of the seed set can't be used. `str()` names the file and the line and says why."""


@dataclass(frozen=True)
class Exemplar:
    """One question on a page. `gold` are the sentences of the page that answer it, `must_say` what an answer needs.

    Only `answerable` ones have these. A near miss and a false premise belong to a page that does not answer them; other
    subjects (`cross_topic`) and small talk (`off_topic`) belong to none, and `split` says which of them are held out.
    """

    id: str
    page: str
    kind: str
    question: str
    gold: tuple[str, ...] = ()
    answer: str = ""
    must_say: tuple[str, ...] = ()
    split: str = ""

    @property
    def answerable(self) -> bool:
        return self.kind == "answerable"

    @property
    def held_out(self) -> bool:
        return self.page in HELD_OUT_PAGES or self.split == "held_out"

    @property
    def group(self) -> str:
        """What stays on one side of the split with it."""
        return self.page or (f"{ELSEWHERE}, held out" if self.held_out else ELSEWHERE)

    @cached_property
    def key(self) -> str:
        """The question as its words alone: two exemplars with one key ask the same."""
        return " ".join(words(self.question))


def load_exemplars(folder: Path = FOLDER) -> tuple[Exemplar, ...]:
    """All exemplars, page by page in order. Raises ExemplarError for the first line that can't be used."""
    found: list[Exemplar] = []
    places: dict[str, str] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
            place = f"{file.name}:{number}"
            if not line.strip():
                raise ExemplarError(f"{place}: the line is empty")
            try:
                exemplar = _exemplar(json.loads(line))
                if exemplar.page != ("" if file.stem == ELSEWHERE else f"{file.stem}.md"):
                    raise ValueError(f"page {exemplar.page!r} belongs into another file")
                _check(exemplar)
                for name in (f"id {exemplar.id}", f"question {exemplar.key}"):
                    if name in places:
                        raise ValueError(f"the {name!r} stands in {places[name]} already")
                    places[name] = place
            except (ValueError, TypeError) as error:
                raise ExemplarError(f"{place}: {error}") from None
            found.append(exemplar)
    _keep_apart(found, places)
    return tuple(found)


def _exemplar(value: Any) -> Exemplar:
    if not isinstance(value, dict):
        raise ValueError("an exemplar is an object")
    names = [field.name for field in fields(Exemplar)]
    value = {"split": ""} | value
    if wrong := sorted(set(value) ^ set(names)):
        raise ValueError(f"keys missing or unknown: {', '.join(wrong)}")
    for name in names:
        items = value[name] if name in ("gold", "must_say") else [value[name]]
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ValueError(
                f"{name} must be {'a list of texts' if name in ('gold', 'must_say') else 'a text'}"
            )
    return Exemplar(**value | {"gold": tuple(value["gold"]), "must_say": tuple(value["must_say"])})


def _check(exemplar: Exemplar) -> None:
    if not exemplar.page:
        if exemplar.kind not in ("cross_topic", "off_topic") or exemplar.split not in ("", "held_out"):
            raise ValueError("without a page there are cross_topic and off_topic, held_out or not")
    elif exemplar.split:
        raise ValueError("the page decides the split")
    elif exemplar.page not in TRAIN_PAGES | HELD_OUT_PAGES:
        raise ValueError(f"page {exemplar.page!r} is kept free of exemplars, or is no page of the course")
    if exemplar.kind not in KINDS:
        raise ValueError(f"kind {exemplar.kind!r} is none of {', '.join(KINDS)}")
    if not exemplar.key:
        raise ValueError("the question has no words")
    if not exemplar.answerable:
        if exemplar.gold or exemplar.answer or exemplar.must_say:
            raise ValueError(f"a {exemplar.kind} has no gold, answer and must_say")
        return
    if not 1 <= len(exemplar.gold) <= MAX_GOLD:
        raise ValueError(f"an answerable question needs 1 to {MAX_GOLD} gold sentences")
    for sentence in exemplar.gold:
        if sentence not in sentences_of(exemplar.page):
            raise ValueError(f"gold is no sentence of the page: {sentence}")
    if not exemplar.answer.endswith((".", "!")):
        raise ValueError("the answer is not a whole sentence")
    for phrase in exemplar.must_say:
        if phrase.casefold() not in exemplar.answer.casefold():
            raise ValueError(f"the answer does not say {phrase!r}, which must_say asks for")
    if not exemplar.must_say:
        raise ValueError("must_say is empty")


def _keep_apart(exemplars: Sequence[Exemplar], places: Mapping[str, str]) -> None:
    """No answer of a held-out page may be taught on another page."""
    taught = {e.answer for e in exemplars if e.answerable and not e.held_out}
    for exemplar in exemplars:
        if exemplar.held_out and exemplar.answer in taught:
            raise ExemplarError(f"{places[f'id {exemplar.id}']}: a training page has the same answer")


@lru_cache(maxsize=64)
def sentences_of(page: str) -> frozenset[str]:
    """The sentences of a page of the built-in course, as notes quote them. Raises ValueError for no such page."""
    from retrieval.loaders import load_document
    from tutor.services import builtin_course

    file = builtin_course() / page
    if not file.is_file():
        raise ValueError(f"the course has no page {page}")
    document = load_document(page, file.read_bytes())
    return frozenset(s.text for section in document.sections for s in section.sentences)


@contextmanager
def course_tutor(settings: Settings) -> Iterator[Tutor]:
    """A tutor that knows the built-in course and nothing of the learner's: evidence must not depend on who trains.

    Its index lies under the home's cache; models are those of the settings. Raises as `build_services`.
    """
    from tutor.services import build_services

    alone = settings.model_copy(
        update={
            "home": settings.home / "cache" / "course",
            "database_url": None,
            "course": None,
            "builtin_course": True,
        }
    )
    services = build_services(alone, with_generator=False)
    try:
        yield services.tutor
    finally:
        services.close()


def find_evidence(
    tutor: Tutor,
    exemplars: Sequence[Exemplar],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    cache: Path | None = None,
) -> dict[str, tuple[Note, ...]]:
    """The notes that inference would send for each exemplar's question, by its id.

    A search takes a third of a second, so what was found is kept in the folder `cache`, in a file named by everything
    it depends on: the course, the models, the code of retrieval.
    """
    file = None if cache is None else cache / f"evidence-{_retrieval_key(tutor)[:16]}.json"
    found = _kept(file)
    missing = [e.question for e in exemplars if e.question not in found]
    for done, question in enumerate(missing):
        on_progress(len(exemplars) - len(missing) + done, len(exemplars))
        _, evidence = tutor.search(question)
        found[question] = tuple(
            Note(e.sentence.text, e.passage.source, e.passage.document) for e in evidence.sentences
        )
        if (done + 1) % _KEEP_EVERY == 0 or done + 1 == len(missing):
            _keep(file, found)
    on_progress(len(exemplars), len(exemplars))
    return {exemplar.id: found[exemplar.question] for exemplar in exemplars}


def _retrieval_key(tutor: Tutor) -> str:
    import retrieval
    from db.documents import document_hashes
    from tutor.services import COURSE_SOURCE

    retriever = tutor.retriever
    with tutor.database.session(readonly=True) as session:
        course = document_hashes(session, COURSE_SOURCE)
    code = hashlib.sha256()
    for file in sorted(Path(retrieval.__path__[0]).glob("*.*")):
        code.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    names = [m.name for m in (retriever.embedder, retriever.reader) if m is not None]
    parts = [course, names, tutor.settings.reranker, tutor.settings.passages, code.hexdigest()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _kept(file: Path | None) -> dict[str, tuple[Note, ...]]:
    if file is None:
        return {}
    try:
        return {name: tuple(Note(**note) for note in notes) for name, notes in read_json(file).items()}
    except TypeError:
        return {}  # it is only searched again


def _keep(file: Path | None, found: Mapping[str, Sequence[Note]]) -> None:
    if file is None:
        return
    write_json(file, {name: [asdict(note) for note in notes] for name, notes in found.items()})
