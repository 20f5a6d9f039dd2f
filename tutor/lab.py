"""What the Lab page runs: one question in four ways, a note that retrieval reads at once, weights read from the disk.

Every run is a turn of `tutor.turn`, in a conversation that is put away afterwards: it costs what it costs and is the
learner's to export and delete, but stands in no list. Nothing here trains anything.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from db import conversations, documents, registry
from db.documents import StoredDocument
from db.errors import NotFound
from retrieval.ingest import ingest_folder
from tutor.generators.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, weight_files
from tutor.models import base_names, model_folder, weights_sha256, with_adapter
from tutor.turn import valid_question
from tutor.wire import InputError

if TYPE_CHECKING:
    from db.registry import Adapter, ServedAdapter
    from tutor.events import Event
    from tutor.services import Services

SOURCE = "lab"  # of the note, and the mark of a conversation that an experiment runs in
NOTE_PATH = "note.md"
MAX_NOTE = 2000
NOTE = """# The reading room

The reading room of the old observatory closes at five in the afternoon.
"""
NOTE_QUESTION = "When does the reading room of the old observatory close?"
QUESTION = "What is the difference between training and inference?"
Standing = Literal["served", "registered", "refused"]


@dataclass(frozen=True, slots=True)
class Pane:
    """One of the four ways: with or without the material, the base model alone or with an adapter."""

    key: str
    closed_book: bool
    adapted: bool


PANES = (
    Pane("base-closed", closed_book=True, adapted=False),
    Pane("base-open", closed_book=False, adapted=False),
    Pane("adapter-closed", closed_book=True, adapted=True),
    Pane("adapter-open", closed_book=False, adapted=True),
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The adapter of the panes, and how it stands."""

    name: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class WeightsRead:
    """A fingerprint as it was on the disk at one moment: how many bytes were read for it, and how long that took."""

    sha256: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """An adapter of the registry: its own file's hash, and that of the base it was trained on where it says so."""

    adapter: Adapter
    own_sha256: str
    base_sha256: str


class Lab:
    """The experiments, over what the app runs with. Safe to share between threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._database = services.database
        self._learner = services.learner_id
        self._lock = threading.Lock()
        self._running: set[int] = set()

    # ---- one question, four ways ----

    def chosen(self) -> Chosen | None:
        """The adapter to compare with: the served one, else the newest registered, else the newest refused."""
        with self._database.session(readonly=True) as session:
            served = registry.served_adapter(session)
            listed = registry.list_adapters(session)
        by_state = {adapter.state: adapter.name for adapter in reversed(listed)}  # the newest of each
        candidates: list[tuple[str | None, Standing]] = [
            (served.name if served else None, "served"),
            (by_state.get("registered"), "registered"),
            (by_state.get("refused"), "refused"),
        ]
        return next((Chosen(name, standing) for name, standing in candidates if name), None)

    @contextmanager
    def experiment(self, question: str) -> Iterator[int]:
        """A conversation to ask `question` in, put away when the block ends. Raises QuestionError."""
        question = valid_question(question, self._services.settings.max_question_chars)
        with self._database.session() as session:
            title = f"Lab: {question[:70]}"
            number = conversations.create_conversation(session, self._learner, title=title, page=SOURCE).id
        with self._lock:
            self._running.add(number)
        try:
            yield number
        finally:
            self._put_away(number)
            with self._lock:
                self._running.discard(number)

    def tidy(self) -> None:
        """Put away what an experiment left that the program did not survive."""
        with self._database.session(readonly=True) as session:
            listed = conversations.list_conversations(session, self._learner, 50, include_empty=True)
        with self._lock:
            running = set(self._running)
        for conversation in listed:
            if conversation.page == SOURCE and conversation.id not in running:
                self._put_away(conversation.id)

    def ask(
        self,
        question: str,
        conversation: int,
        *,
        closed_book: bool = False,
        adapter: str | None = None,
        after: int | None = None,
    ) -> Iterator[Event]:
        """One run as a stream of events. `after` is the experiment's previous turn: it is replaced, so that no run
        hears of another and all of them count as one question asked."""
        return self._services.tutor.answer(
            question,
            learner_id=self._learner,
            conversation_id=conversation,
            closed_book=closed_book,
            adapter=adapter,
            replaces=after,
        )

    def earlier(self, turn_id: int | None) -> conversations.Turn | None:
        """The learner's turn of an earlier experiment, or None."""
        if turn_id is None:
            return None
        with self._database.session(readonly=True) as session:
            found = conversations.get_turn(session, turn_id)
        return found if found is not None and found.learner_id == self._learner else None

    # ---- weights ----

    @property
    def has_weights(self) -> bool:
        """Whether the weights that answer are on this machine."""
        return self._services.settings.server_url is None

    @property
    def base(self) -> str:
        """The base model's name."""
        if not self.has_weights:
            return self._services.settings.server_model or "the server’s model"
        return base_names(self._services.settings)[0]

    def read_weights(self, name: str | None = None) -> tuple[WeightsRead, WeightsRead | None]:
        """The base's fingerprint and, given an adapter's name, that of both together: every byte is read now, no
        hash that was kept is used. Raises GeneratorError, NotFound."""
        settings = self._services.settings
        adapter = self._adapter(name)
        folder = model_folder(settings)
        began = time.perf_counter()
        sha256 = weights_sha256(folder, settings.models_dir, fresh=True)
        between = time.perf_counter()
        base = WeightsRead(sha256, _size(weight_files(folder)), between - began)
        if adapter is None:
            return base, None
        both = with_adapter(sha256, adapter)
        files = [Path(adapter.path) / file for file in (ADAPTER_WEIGHTS, ADAPTER_CONFIG)]
        return base, WeightsRead(both, _size(files), time.perf_counter() - between)

    def adapters(self) -> list[AdapterWeights]:
        """All registered adapters, newest first, with the hashes that they were registered with."""
        with self._database.session(readonly=True) as session:
            listed = registry.list_adapters(session)
        return [AdapterWeights(a, a.sha256, _base_sha256(a.manifest)) for a in listed]

    def served(self) -> str | None:
        """The name of the adapter that answers now; None for the base alone."""
        with self._database.session(readonly=True) as session:
            found = registry.served_adapter(session)
        return found.name if found else None

    # ---- the note ----

    def note(self) -> StoredDocument | None:
        """The note as it is in the index, or None."""
        with self._database.session(readonly=True) as session:
            listed = documents.list_documents(session, SOURCE, with_text=True)
        return next((document for document in listed if document.path == NOTE_PATH), None)

    def save_note(self, text: str) -> float:
        """Put the note into the index in place of the one that is there; the seconds that took.

        Raises InputError, EmbedderError, DatabaseError.
        """
        if not text.strip():
            raise InputError("the note is empty; write a sentence, or take the note away")
        if len(text) > MAX_NOTE:
            raise InputError(f"a note may have {MAX_NOTE} characters; this one has {len(text)}")
        began = time.perf_counter()
        embedder = self._services.retriever.embedder
        with tempfile.TemporaryDirectory(prefix="study-tutor-") as name:
            folder = Path(name)
            (folder / NOTE_PATH).write_bytes(text.encode("utf-8", "replace"))
            report = ingest_folder(self._database, embedder, folder, source=SOURCE)
        if report.rejected:
            raise InputError(f"the note can't be read: {report.rejected[0][1]}")
        return time.perf_counter() - began

    def remove_note(self) -> bool:
        """Take the note out of the index; False if there was none."""
        with self._database.session() as session:
            return bool(documents.delete_source(session, SOURCE))

    def _put_away(self, conversation: int) -> None:
        with self._database.session() as session:
            if conversations.get_conversation(session, conversation) is not None:
                conversations.delete_conversation(session, conversation)

    def _adapter(self, name: str | None) -> ServedAdapter | None:
        if name is None:
            return None
        with self._database.session(readonly=True) as session:
            found = registry.find_adapter(session, name)
        if found is None:
            raise NotFound(f"There is no adapter {name!r} any more; reload the page")
        return found


def _base_sha256(manifest: Mapping[str, Any]) -> str:
    """The hash of the base's weights that an adapter's manifest names, or ""."""
    base = manifest.get("base")
    found = base.get("weights_sha256") or base.get("sha256") if isinstance(base, Mapping) else None
    return str(found or manifest.get("base_sha256") or "")


def _size(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)


__all__ = ["NOTE", "NOTE_QUESTION", "PANES", "QUESTION", "SOURCE", "Lab", "Pane"]
