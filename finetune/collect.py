"""From the database to a data set: the one place where `finetune` looks into learners' rows. Start at `prepare`.

Reads and searches; what becomes of an item is decided by the pure modules behind `dataset.build_dataset`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from db import conversations
from db.feedback import Feedback, list_feedback
from finetune.cleaning import normal, strip_markup
from finetune.config import FinetuneConfig
from finetune.dataset import Checks, Dataset, Example, build_dataset
from finetune.exemplars import HELD_OUT_PAGES, course_tutor, find_evidence, load_exemplars, sentences_of
from finetune.notes import Note, as_evidence, read_prompt
from finetune.targets import Item
from tutor.generators.protocol import Message

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.conversations import Turn
    from retrieval.entailment import Judge
    from retrieval.records import Embedder, Vectors
    from tutor.services import Services
    from tutor.settings import Settings

Progress = Callable[[str, int, int], None]


def prepare(
    services: Services,
    config: FinetuneConfig,
    home: Path,
    *,
    with_exemplars: bool = True,
    since: datetime | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> Dataset:
    """The data set that the feedback so far and the exemplars make, for a job and for a dry run alike.

    `on_progress(what, done, total)` is told about the search for the exemplars' notes, which takes minutes the first
    time. Raises ExemplarError, EmbedderError, or a DatabaseError.
    """
    with services.database.session(readonly=True) as session:
        items = collect(session, since)
    exemplars = exemplar_examples(services.settings, config, home, on_progress) if with_exemplars else []
    grounding = Grounding(services.retriever.embedder, services.tutor.judge)
    return build_dataset(items, exemplars, config, Checks(grounding.against, common_words()))


def exemplar_examples(
    settings: Settings,
    config: FinetuneConfig,
    home: Path,
    on_progress: Progress = lambda what, done, total: None,
) -> list[Example]:
    """The seed set as examples, with the notes that retrieval finds in the built-in course."""
    from finetune.contexts import contexts

    exemplars = load_exemplars()
    with course_tutor(settings) as tutor:
        evidence = find_evidence(
            tutor,
            exemplars,
            lambda done, total: on_progress("searching for the exemplars", done, total),
            cache=home / "cache",
        )
    return contexts(exemplars, evidence, config.seed)


def collect(session: Session, since: datetime | None = None) -> list[Item]:
    """All feedback since `since` (aware UTC) that was not withdrawn, with the messages its turn's model was sent."""
    first_questions: dict[int, str] = {}
    return [
        _item(session, row, first_questions)
        for row in list_feedback(session, since=since)
        if row.fate != "withdrawn"
    ]


def _item(session: Session, row: Feedback, first_questions: dict[int, str]) -> Item:
    turn = None if row.turn_id is None else conversations.get_turn(session, row.turn_id)
    said: dict[str, Any] = {
        "feedback_id": row.id,
        "learner_id": row.learner_id,
        "rating": row.rating,
        "at": row.updated_at,
        "correction": row.correction,
        "reason": row.reason,
    }
    if turn is None:  # imported, or of another home: nothing but the row itself tells what was sent
        messages, group = cast(tuple[Message, ...], tuple(row.messages or ())), _group(row.question)
        notes = _notes(messages, ())
        return Item(**said, group=group, messages=messages, answer=row.answer, notes=notes)
    if turn.conversation_id not in first_questions:
        turns = conversations.turns_of(session, turn.conversation_id)
        first_questions[turn.conversation_id] = turns[0].question if turns else turn.question
    messages = cast(tuple[Message, ...], tuple(turn.messages))
    return Item(
        **said,
        group=_group(first_questions[turn.conversation_id]),
        messages=messages,
        answer=turn.answer,
        status=turn.status,
        shown=_shown(turn),
        notes=_notes(messages, turn.passages),
        verified=True,
    )


def _group(first_question: str) -> str:
    """A conversation is known by how it began: the same in every database, and one group for who asks the same."""
    return f"conversation about {normal(first_question)}"


def _shown(turn: Turn) -> tuple[str, ...]:
    return tuple(s["text"] for s in turn.sentences if s["supported"] and s["origin"] != "tutor")


def _notes(messages: Sequence[Mapping[str, Any]], passages: Sequence[Mapping[str, Any]]) -> tuple[Note, ...]:
    """The notes of these messages, each with the document whose passage holds its words."""
    sent = read_prompt(messages)
    if sent is None:
        return ()
    texts = [(f" {normal(strip_markup(p['text']))} ", p) for p in passages]
    return tuple(_note(text, texts) for text in sent.notes)


def _note(text: str, passages: Sequence[tuple[str, Mapping[str, Any]]]) -> Note:
    wanted = f" {normal(text)} "
    for words, passage in passages:
        if wanted in words:
            return Note(text, passage["source"], passage["document"])
    from tutor.services import COURSE_SOURCE

    for page in sorted(HELD_OUT_PAGES):  # what is held out stays so, whoever brings it in
        if text in sentences_of(page):
            return Note(text, COURSE_SOURCE, page)
    return Note(text)


class Grounding:
    """Answers whether notes support a sentence, as a turn decides it about a draft. Remembers vectors."""

    def __init__(self, embedder: Embedder, judge: Judge | None = None) -> None:
        self._embedder = embedder
        self._judge = judge
        self._vectors: dict[str, Vectors] = {}

    def against(self, sentence: str, notes: tuple[str, ...], question: str) -> tuple[str, ...]:
        """The reasons why the notes do not support the sentence; () where they do."""
        import numpy as np

        from retrieval.grounding import check_sentence, pairs_to_judge

        new = [text for text in dict.fromkeys((sentence, *notes)) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._embedder.encode(new), strict=True))
        evidence = as_evidence(notes, np.stack([self._vectors[note] for note in notes]))
        judged = self._judge.judge(pairs_to_judge(sentence, evidence)) if self._judge else None
        check = check_sentence(sentence, self._vectors[sentence], evidence, question, judged)
        return () if check.supported else check.reasons


@cache
def common_words() -> frozenset[str]:
    """Words so common that the shipped embedder's tokenizer knows them whole; none where it is not installed."""
    from retrieval.embedder import EmbedderError, shipped_folder
    from retrieval.fitted import BACKBONE

    try:
        file = shipped_folder(BACKBONE) / "tokenizer.json"
        vocabulary = json.loads(file.read_text("utf-8"))["model"]["vocab"]
    except (EmbedderError, OSError, ValueError, KeyError):
        return frozenset()
    return frozenset(word for word in vocabulary if word.isalpha() and len(word) > 1)
