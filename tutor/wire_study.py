"""Lessons, cards and quizzes <-> the JSON that programs rely on, as `tutor.wire` does it for turns. Pure.

A question or a card going out holds no answer unless the caller says that it was asked for. Times are ISO 8601 with
their offset. Coming in: `read_answers` for `grade`, `read_labelled` for `eval grading`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tutor.agreement import LABELS
from tutor.lesson_values import MAX_ANSWER_CHARS
from tutor.wire import InputError, Json, read_objects, text_field

if TYPE_CHECKING:
    from db.quizzes import Attempt
    from db.reviews import Card
    from tutor.lesson_values import DueQueue, PointResult, Posed, QuizItem, QuizState, Rated, Result
    from tutor.pages import Question
    from tutor.quiz import Grade


def posed_json(posed: Posed) -> Json:
    """A page's question as it may be shown before it is answered."""
    return {
        "key": posed.key,
        "page": posed.page,
        "title": posed.title,
        "number": posed.number,
        "question": posed.question,
        "hints": list(posed.hints),
        "hints_left": posed.hints_left,
        "request_id": posed.request_id,
    }


def answers_json(question: Question) -> Json:
    """What `posed_json` keeps back."""
    return {"reference": question.reference, "key_points": list(question.key_points)}


def grade_json(grade: Grade, id: Any = None) -> Json:
    """What `grade` prints for one answer."""
    return {
        "id": id,
        "verdict": grade.verdict,
        "score": round(float(grade.score), 4),
        "key_points": [
            {"text": point.text, "hit": point.hit, "evidence": point.evidence} for point in grade.points
        ],
        "feedback": grade.feedback,
    }


def result_json(result: Result) -> Json:
    """A graded answer with everything that may be known after it. `verdict` is the grader's, `counted` what holds."""
    return {
        "attempt_id": result.attempt_id,
        "key": result.key,
        "page": result.page,
        "title": result.title,
        "question": result.question,
        "answer": result.answer,
        "verdict": result.verdict,
        "counted": result.counted,
        "score": round(float(result.score), 4),
        "key_points": [_point_json(point) for point in result.points],
        "feedback": result.feedback,
        "reference": result.reference,
        "hints": result.hints,
        "card_id": result.card_id,
        "due": time_json(result.due),
        "next_step": result.next_step and {"page": result.next_step[0], "title": result.next_step[1]},
        "override_reason": result.override_reason,
        "at": time_json(result.at),
        "repeated": result.repeated,
    }


def attempt_json(attempt: Attempt) -> Json:
    """An answer as the history lists it; times are left to the caller."""
    return {
        "attempt_id": attempt.id,
        "quiz_id": attempt.quiz_id,
        "page": attempt.page,
        "key": attempt.question_key,
        "question": attempt.question,
        "answer": attempt.answer,
        "verdict": attempt.verdict,
        "counted": attempt.counted,
        "score": round(float(attempt.score), 4),
        "hints": attempt.hints,
        "override_reason": attempt.override_reason if attempt.override_verdict else None,
    }


def quiz_json(quiz: QuizState) -> Json:
    """A quiz as far as it is done; tasks without an answer hold none."""
    return {
        "id": quiz.id,
        "kind": quiz.kind,
        "title": quiz.title,
        "finished": quiz.finished,
        "counts": dict(quiz.counts),
        "items": [_item_json(item) for item in quiz.items],
    }


def card_json(card: Card, *, back: bool) -> Json:
    """A review card; with `back` only where its answer was asked for."""
    shown: Json = {
        "id": card.id,
        "key": card.card_key,
        "origin": card.origin,
        "page": card.page,
        "concepts": list(card.concepts),
        "front": card.front,
    }
    if back:
        shown["back"] = card.back
    return shown | {
        "due": time_json(card.memory.due),
        "last_review": time_json(card.memory.last_review),
        "stability": card.memory.stability,
        "difficulty": card.memory.difficulty,
        "lapses": card.lapses,
        "suspended": card.suspended,
    }


def due_json(queue: DueQueue, *, backs: bool = False) -> Json:
    """The cards that are due; `total` counts those beyond the limit too."""
    return {
        "now": time_json(queue.now),
        "total": queue.total,
        "next_due": time_json(queue.next_due),
        "cards": [card_json(card, back=backs) for card in queue.cards],
    }


def rated_json(rated: Rated) -> Json:
    """A committed rating: `id` is the review's. After it the card's back may be seen."""
    return {
        "id": rated.review_id,
        "card": card_json(rated.card, back=True),
        "due": time_json(rated.card.memory.due),
        "interval_seconds": round(rated.interval.total_seconds()),
        "repeated": rated.repeated,
    }


def time_json(at: datetime | None) -> str | None:
    """ISO 8601 to the second, with the offset the value carries."""
    return None if at is None else at.isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """One answer to grade; `error` is set, and the rest empty, when the line can't be used.

    `answer` is "" for "I don't know". `labels` are people's verdicts by their names, `label` the agreed one; `split`
    and `group` (the question it belongs to) come with labelled files only.
    """

    number: int
    id: Any
    question: str = ""
    reference: str = ""
    key_points: tuple[str, ...] = ()
    answer: str = ""
    label: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    split: str = ""
    group: str = ""
    error: str | None = None


def read_answers(lines: Iterable[bytes]) -> Iterator[AnswerLine]:
    """The answers of a batch, in order. Keys we don't know are left alone: labelled files carry more."""
    for number, value in read_objects(lines):
        if isinstance(value, InputError):
            yield AnswerLine(number, None, error=str(value))
            continue
        try:
            yield AnswerLine(number, value.get("id"), **_answer_fields(value))
        except InputError as error:
            yield AnswerLine(number, value.get("id"), error=f"line {number}: {error}")


def read_labelled(lines: Iterable[bytes]) -> list[AnswerLine]:
    """The answers of a labelled file. Raises InputError at the first bad line: numbers need all of them.

    Without `label` the first labeller's verdict is the one to meet; without `question_id` the question's words name it.
    """
    read: list[AnswerLine] = []
    for number, value in read_objects(lines):
        if isinstance(value, InputError):
            raise value
        try:
            fields = _answer_fields(value) | _label_fields(value)
        except InputError as error:
            raise InputError(f"line {number}: {error}") from None
        read.append(AnswerLine(number, value.get("id"), **fields))
    if not read:
        raise InputError("the file holds no labelled answer")
    return read


def _answer_fields(value: Mapping[str, Any]) -> Json:
    points = value.get("key_points")
    if not isinstance(points, list) or not points:
        raise InputError("key_points must be a list of at least one text")
    listed = [text_field({"key_points": point}, "key_points", required=True) or "" for point in points]
    fields = {
        "question": text_field(value, "question", required=True) or "",
        "reference": text_field(value, "reference", required=True) or "",
        "answer": (text_field(value, "answer", required="answer" not in value) or "").strip(),
    }
    if not all(point.strip() for point in listed):
        raise InputError("key_points holds an empty text")
    if len(fields["answer"]) > MAX_ANSWER_CHARS:
        spent = len(fields["answer"])
        raise InputError(f"answer has {spent:,} characters, and the limit is {MAX_ANSWER_CHARS:,}")
    return fields | {"key_points": tuple(listed)}


def _label_fields(value: Mapping[str, Any]) -> Json:
    given = value.get("labels", {})
    if not isinstance(given, dict):
        raise InputError('labels must be an object such as {"a": "correct", "b": "partial"}')
    labels = tuple((name, _label(f"labels.{name}", said)) for name, said in sorted(given.items()))
    if "label" not in value and not labels:
        raise InputError("label is missing")
    label = _label("label", value["label"]) if "label" in value else labels[0][1]
    group = value.get("question_id", value.get("question"))
    return {
        "label": label,
        "labels": labels,
        "group": str(group),
        "split": text_field(value, "split") or "",
    }


def _label(name: str, said: Any) -> str:
    if said not in LABELS:
        raise InputError(f"{name} must be {', '.join(reversed(LABELS[1:]))} or {LABELS[0]}, not {said!r}")
    return str(said)


def _item_json(item: QuizItem) -> Json:
    return {
        "number": item.number,
        "kind": item.kind,
        "key": item.key,
        "page": item.page,
        "title": item.title,
        "prompt": item.prompt,
        "request_id": item.request_id,
        "result": result_json(item.result) if item.result else None,
    }


def _point_json(point: PointResult) -> Json:
    quote = point.quote and {
        "page": point.quote.page,
        "text": point.quote.text,
        "start": point.quote.start,
        "end": point.quote.end,
    }
    return {
        "text": point.text,
        "hit": point.hit,
        "contradicted": point.contradicted,
        "evidence": point.evidence,
        "quote": quote,
    }
