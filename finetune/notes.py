"""The notes of a prompt: read out of messages as they were sent, and put into messages as inference sends them.

Shared by what learners' feedback and the exemplars become. The wording of the messages is `tutor.prompt`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.evidence import EvidenceSentence
from retrieval.records import Passage, Sentence, Vectors
from tutor.generators.protocol import Message
from tutor.prompt import SYSTEM, build_messages

_PROMPT = re.compile(r"Notes:\n(?P<notes>- .*?)\n\nQuestion: (?P<question>.*)", re.DOTALL)
_NO_VECTOR = np.zeros(0, dtype=np.float32)
_NO_PASSAGE = Passage(0, 0, "", "", "", (), 0, 0, "", (), 1, 0.0, 0.0, 0.0, _NO_VECTOR)


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence that a prompt quotes, and where it stands: `source` and `document` are "" where nobody knows."""

    text: str
    source: str = ""
    document: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a prompt says: its notes, in order, and the question."""

    notes: tuple[str, ...]
    question: str


def read_prompt(messages: Sequence[Mapping[str, Any]]) -> Sent | None:
    """The notes and the question of messages in the form that inference sends now; None for any other form."""
    if [m.get("role") for m in messages] != ["system", "user"] or messages[0].get("content") != SYSTEM:
        return None
    match = _PROMPT.fullmatch(str(messages[1].get("content", "")))
    if match is None:
        return None
    lines = match["notes"].split("\n")
    if not all(line.startswith("- ") for line in lines):
        return None
    return Sent(tuple(line[2:] for line in lines), match["question"])


def write_prompt(question: str, notes: Iterable[str]) -> tuple[Message, ...]:
    """The messages that inference would send for this question and these notes."""
    return tuple(build_messages(question, as_evidence([*notes])))


def as_evidence(notes: Sequence[str], vectors: Vectors | None = None) -> list[EvidenceSentence]:
    """Bare notes as evidence. `vectors` (one row a note) are needed only where sentences are checked against it."""
    rows: Iterable[Any] = [_NO_VECTOR] * len(notes) if vectors is None else vectors
    return [
        EvidenceSentence(Sentence(0, len(text), text), _NO_PASSAGE, 1.0, vector)
        for text, vector in zip(notes, rows, strict=True)
    ]
