"""What one chat turn yields, in order. The browser, the command line and the API all read these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from retrieval.records import Passage
from tutor.generators.protocol import ModelIdentity, Usage

Status = Literal["answered", "quoted", "not_covered", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of the material that an answer rests on. `n` is the number shown in the answer, from 1."""

    n: int
    source: str
    document: str
    title: str
    heading: str
    quote: str
    start: int
    end: int


QUOTED_INSTEAD = "leaves out part of what it cites, which is quoted whole"
QUOTED_ALREADY = "says again what is quoted"


@dataclass(frozen=True, slots=True)
class AnswerSentence:
    """One sentence of an answer, or one the model drafted that is not shown (`supported` False).

    `origin` says whose words these are; `reasons` why a draft sentence is not shown.
    """

    text: str
    supported: bool
    citations: tuple[int, ...]
    origin: Literal["model", "material", "tutor"]
    reasons: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the check found it supported, be it shown or be its source quoted in its place."""
        return self.supported or self.reasons in ((QUOTED_INSTEAD,), (QUOTED_ALREADY,))


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The question is saved: nothing that happens from here on can lose it."""

    turn_id: int
    conversation_id: int


@dataclass(frozen=True, slots=True)
class PassagesFound:
    """The sources, on screen before the first word."""

    query: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class DraftDelta:
    """A piece of what the model writes, unchecked: for progress and logs, never shown as the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class SentenceChecked:
    """A sentence that may be shown, or (unsupported) that was dropped."""

    sentence: AnswerSentence
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnResult:
    """All that is known of a finished turn; what `ask` prints and the database keeps.

    `confidence` is how sure the tutor was that the material answers: not kept, so None for a turn read back.
    """

    turn_id: int
    conversation_id: int
    status: Status
    question: str
    query: str
    answer: str
    sentences: tuple[AnswerSentence, ...]
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    follow_ups: tuple[str, ...]
    timings_ms: dict[str, float]
    usage: Usage
    model: ModelIdentity
    error: str | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class TurnLogged:
    """The last event of every turn: what was committed."""

    result: TurnResult = field()


Event = TurnStarted | PassagesFound | DraftDelta | SentenceChecked | TurnLogged
