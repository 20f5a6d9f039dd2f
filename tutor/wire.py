"""Values <-> the JSON that programs rely on, to the letter. Pure, and imports nothing heavy.

Going out: `turn_json`, `search_json`, `passage_json`, `citation_json`, `sentence_json`. With `detail=True` the last
three add what only our own database and pages need. Coming in: `read_batch` and `feedback_from_json`, which report
a bad line by raising or returning one readable sentence and never stop at it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.records import Passage
    from tutor.events import AnswerSentence, Citation, TurnResult
    from tutor.generators.protocol import Message

TURN_STAGES = ("retrieve", "first_text", "generate", "verify", "total")

LARGEST_ID = 2**63 - 1
"""The largest id a database row can have."""

Json = dict[str, Any]


class InputError(ValueError):
    """What came in can't be used. `str()` is one line saying what and why."""


def to_line(value: Any) -> str:
    """One JSON document on one line, letters of all scripts as they are."""
    return json.dumps(value, ensure_ascii=False)


def passage_json(passage: Passage, *, detail: bool = False) -> Json:
    """A ranked passage. `start`/`end` are character offsets in the document."""
    found: Json = {
        "rank": passage.rank,
        "score": round(float(passage.score), 6),
        "document": passage.document,
        "title": passage.title,
        "heading": passage.heading,
        "text": passage.text,
        "start": passage.start,
        "end": passage.end,
    }
    if detail:
        found |= {
            "source": passage.source,
            "chunk_id": passage.chunk_id,
            "document_id": passage.document_id,
            "dense": round(float(passage.dense), 6),
            "lexical": round(float(passage.lexical), 6),
        }
    return found


def citation_json(citation: Citation, *, detail: bool = False) -> Json:
    """A cited sentence of the material; `detail` adds the source, which with the document finds the page."""
    cited: Json = {
        "n": citation.n,
        "document": citation.document,
        "title": citation.title,
        "heading": citation.heading,
        "quote": citation.quote,
        "start": citation.start,
        "end": citation.end,
    }
    return cited | {"source": citation.source} if detail else cited


def sentence_json(sentence: AnswerSentence, *, detail: bool = False) -> Json:
    """A checked sentence; `detail` adds whose words it is and why it was refused."""
    said: Json = {
        "text": sentence.text,
        "supported": sentence.supported,
        "citations": list(sentence.citations),
    }
    return said | {"origin": sentence.origin, "reasons": list(sentence.reasons)} if detail else said


def search_json(
    passages: Iterable[Passage],
    *,
    covered: bool,
    timings_ms: Mapping[str, float],
    id: Any = None,
    question: str | None = None,
) -> Json:
    """What `search` prints for one question."""
    asked = {} if question is None else {"question": question}
    return {
        "id": id,
        **asked,
        "passages": [passage_json(passage) for passage in passages],
        "covered": bool(covered),
        "timings_ms": milliseconds(timings_ms),
    }


def turn_json(result: TurnResult, id: Any = None) -> Json:
    """What `ask` prints for one question. `error` is there only when the model failed."""
    turn: Json = {
        "id": id,
        "turn_id": result.turn_id,
        "status": result.status,
        "answer": result.answer,
        "sentences": [sentence_json(sentence) for sentence in result.sentences],
        "citations": [citation_json(citation) for citation in result.citations],
        "passages": [passage_json(passage) for passage in result.passages],
        "follow_ups": list(result.follow_ups),
        "timings_ms": milliseconds({stage: result.timings_ms.get(stage) for stage in TURN_STAGES}),
        "tokens": {"prompt": result.usage.prompt, "completion": result.usage.completion},
        "model": {
            "base": result.model.base,
            "adapter": result.model.adapter,
            "weights_sha256": result.model.weights_sha256,
        },
    }
    return turn | {"error": result.error} if result.error else turn


def milliseconds(timings: Mapping[str, float | None]) -> dict[str, float | None]:
    """Stage -> milliseconds, to a tenth; None where the stage did not happen."""
    return {stage: None if spent is None else round(float(spent), 1) for stage, spent in timings.items()}


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One question of a batch; `error` is set, and the rest empty, when the line can't be used."""

    number: int
    id: Any
    question: str = ""
    history: tuple[Message, ...] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class FeedbackLine:
    """One line of a feedback file."""

    question: str
    answer: str
    rating: str
    turn_id: int | None = None
    messages: tuple[Message, ...] | None = None
    correction: str | None = None
    comment: str | None = None
    request_id: str | None = None
    reason: str | None = None


def read_objects(lines: Iterable[bytes]) -> Iterator[tuple[int, Json | InputError]]:
    """(line number from 1, object or what is wrong with the line), blank lines left out."""
    for number, raw in enumerate(lines, start=1):
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if not text:
                continue
            value = json.loads(text)
        except UnicodeDecodeError:
            yield number, InputError(f"line {number}: not UTF-8 text")
        except json.JSONDecodeError as error:
            yield number, InputError(f"line {number}: not valid JSON ({error.msg}, column {error.colno})")
        except (ValueError, RecursionError):  # a number of 5,000 digits, brackets nested 10,000 deep
            yield number, InputError(f"line {number}: JSON too large or too deeply nested")
        else:
            wrong = InputError(f"line {number}: expected a JSON object, found {_kind(value)}")
            yield number, value if isinstance(value, dict) else wrong


def read_batch(lines: Iterable[bytes]) -> Iterator[BatchLine]:
    """The questions of a batch, in order. Keys we don't know are left alone: labelled files carry more."""
    for number, value in read_objects(lines):
        if isinstance(value, InputError):
            yield BatchLine(number, None, error=str(value))
            continue
        try:
            question = text_field(value, "question", required=True) or ""
            yield BatchLine(number, value.get("id"), question, _messages(value, "history"))
        except InputError as error:
            yield BatchLine(number, value.get("id"), error=f"line {number}: {error}")


def feedback_from_json(value: Mapping[str, Any]) -> FeedbackLine:
    """Check one feedback object. Raises InputError."""
    rating = value.get("rating")
    if rating not in ("up", "down"):
        raise InputError('rating must be "up" or "down"')
    turn_id = value.get("turn_id")
    if turn_id is not None and (isinstance(turn_id, bool) or not isinstance(turn_id, int)):
        raise InputError(f"turn_id must be a whole number, not {_kind(turn_id)}")
    if turn_id is not None and not 0 < turn_id <= LARGEST_ID:
        raise InputError(f"turn_id must be from 1 to {LARGEST_ID}")
    return FeedbackLine(
        question=text_field(value, "question", required=True) or "",
        answer=text_field(value, "answer", required=True) or "",
        rating=rating,
        turn_id=turn_id,
        messages=_messages(value, "messages", roles=("system", "user", "assistant")),
        correction=text_field(value, "correction"),
        comment=text_field(value, "comment"),
        request_id=text_field(value, "request_id"),
        reason=text_field(value, "reason"),
    )


def _messages(
    value: Mapping[str, Any], key: str, roles: Sequence[str] = ("user", "assistant")
) -> tuple[Message, ...] | None:
    given = value.get(key)
    if given is None:
        return None
    if not isinstance(given, list):
        raise InputError(f"{key} must be a list of {{role, content}}, not {_kind(given)}")
    checked: list[Message] = []
    for item in given:
        if not isinstance(item, dict) or item.get("role") not in roles:
            raise InputError(f"{key} needs objects {{role, content}} with role {' or '.join(roles)}")
        checked.append({"role": item["role"], "content": text_field(item, "content", required=True) or ""})
    return tuple(checked)


def text_field(value: Mapping[str, Any], key: str, *, required: bool = False) -> str | None:
    """The text under `key`, None where there is none. Raises InputError for another kind, or if it is required."""
    text = value.get(key)
    if text is None and not required:
        return None
    if not isinstance(text, str):
        raise InputError(f"{key} is missing" if text is None else f"{key} must be text, not {_kind(text)}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{key} holds half a character (a lone surrogate), which no text file can") from None
    return text


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names[type(value)]
