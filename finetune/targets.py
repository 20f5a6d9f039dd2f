"""What one item of feedback says: the answer it wants, the one it judges, or why nothing can be learned. Pure.

correction            -> the target, and better than the answer that was shown
should have abstained -> the target is to say that the notes do not answer
thumb up              -> what was shown is the target
thumb down alone      -> no target: a thumb for what was shown
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from finetune.cleaning import hides_something, normal, personal_data, strip_markup
from finetune.dataset import Example
from finetune.notes import Note, Sent, read_prompt
from retrieval.sentences import split_sentences
from tutor.answer import without_citations
from tutor.generators.protocol import Message
from tutor.prompt import ABSTAIN

MAX_CHARS = 600  # of a target: what is longer, the tutor could not write in one answer
SHOULD_ABSTAIN = "should_abstain"

_END_MARKS = ".!?…\"'”’)]:;"


@dataclass(frozen=True, slots=True)
class Item:
    """One rating with what is needed to learn from it.

    `group` keeps a conversation on one side of the split. `shown` are the sentences of the answer as shown, `notes`
    those of the prompt with their documents; `verified` says that they were read from the turn itself and not from an
    imported file. `status` is the turn's, None where there is no turn.
    """

    feedback_id: int
    learner_id: int
    group: str
    messages: tuple[Message, ...]
    answer: str
    rating: str
    at: datetime
    correction: str | None = None
    reason: str | None = None
    status: str | None = None
    shown: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    verified: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that can be learned from, cleaned. `target` are the sentences wanted, () for a thumb alone.

    `judged` is what the model was heard to say, "" where it is not usable; `held_out` is set by the split.
    """

    item: Item
    sent: Sent
    target: tuple[str, ...]
    judged: str
    held_out: bool = False

    @property
    def prompt(self) -> tuple[Message, ...]:
        return self.item.messages

    @property
    def completion(self) -> str | None:
        return " ".join(self.target) or None

    @property
    def kind(self) -> str:
        return "abstain" if self.completion == ABSTAIN else "answer"

    @property
    def liked(self) -> bool:
        """Is the target what was shown, and not a correction of it?"""
        return self.item.rating == "up" and self.completion is not None and not self.corrects

    @property
    def corrects(self) -> bool:
        return self.completion is not None and normal(self.completion) != normal(self.judged)

    @property
    def content(self) -> str:
        """A name made of what was said, the same in every database."""
        said = repr((self.sent, self.target, self.judged, self.item.rating))
        return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()

    def target_example(self) -> Example:
        """What is to be said."""
        assert self.completion is not None
        return self._example(self.completion, self.kind)

    def preference_examples(self) -> list[Example]:
        """The pair and the thumb that this item gives."""
        found = []
        if self.completion is not None and self.corrects and self.judged:
            found.append(replace(self.target_example(), rejected=self.judged))
        if self.judged:
            kind = "abstain" if self.judged == ABSTAIN else "answer"
            found.append(replace(self._example(self.judged, kind), label=self.item.rating == "up"))
        return found

    def _example(self, completion: str, kind: str) -> Example:
        number = self.item.feedback_id
        return Example(f"feedback-{number}", self.prompt, completion, self.item.group, kind, number)


def candidate_of(item: Item) -> Candidate | str:
    """The item as a candidate, or the reason why it is none, in words for the learner."""
    if not item.messages:
        return "no model was asked in this turn, so there is no prompt to learn from"
    sent = read_prompt(item.messages)
    if sent is None:
        return (
            "the question was sent without notes (closed book) or by another version, so there is nothing to "
            "check an answer against"
        )
    if hides_something(sent.question) or (
        not item.verified and any(hides_something(note) for note in sent.notes)
    ):
        return "the question or its notes hold invisible characters"
    if found := personal_data(sent.question):
        return f"the question holds {found}; nothing personal is trained on"
    if found := next(filter(None, map(personal_data, sent.notes)), None):
        return f"the passages of this answer hold {found}; nothing personal is trained on"

    shown = _shown(item)
    judged = "" if item.status in ("interrupted", "failed") else " ".join(shown)
    if judged and (found := personal_data(judged)):
        return f"the answer holds {found}; nothing personal is trained on"
    target = _target(item, shown)
    if isinstance(target, str):
        return target
    completion = " ".join(target)
    if found := personal_data(completion):
        return f"the correction holds {found}; nothing personal is trained on"
    if len(completion) > MAX_CHARS:
        what = "answer" if completion == judged else "correction"
        return f"the {what} has {len(completion)} characters, and an answer may have {MAX_CHARS}"
    if not target and not judged:
        return "the answer is empty"
    return Candidate(item, sent, target, judged)


def _shown(item: Item) -> tuple[str, ...]:
    """The sentences that the thumb was for; where the tutor declined, what the model had said."""
    if item.status == "not_covered":
        return (ABSTAIN,)
    if item.shown:
        return tuple(filter(None, (strip_markup(sentence) for sentence in item.shown)))
    return sentences_in(strip_markup(without_citations(item.answer)))


def _target(item: Item, shown: tuple[str, ...]) -> tuple[str, ...] | str:
    if item.rating == "down" and item.reason == SHOULD_ABSTAIN:
        return (ABSTAIN,)
    if (item.correction or "").strip():
        return _correction(item, shown)
    if item.rating == "down":
        return ()
    if item.status in ("interrupted", "failed"):
        return "the answer broke off, so it can't be learned from"
    return shown if any(shown) else "the answer is empty"


def _correction(item: Item, shown: Sequence[str]) -> tuple[str, ...] | str:
    text = strip_markup(item.correction or "")
    if not normal(text):
        return "the correction has no words"
    if normal(text) == normal(ABSTAIN):
        return (ABSTAIN,)
    if normal(text) == normal(" ".join(shown)):
        return (
            tuple(shown) if item.rating == "up" else "the correction says the same as the answer it corrects"
        )
    return sentences_in(text if text.endswith(tuple(_END_MARKS)) else f"{text}.")


def sentences_in(text: str) -> tuple[str, ...]:
    """A text as its sentences."""
    return tuple(text[start:end] for start, end in split_sentences(text)) if text else ()
