"""Think first: a page's questions, hints, graded answers, appeals. Effects at the edge, decisions elsewhere.

Grading (`tutor.quiz`), scheduling (`tutor.scheduling`) and what a page asks (`tutor.pages`) are pure. An answer is
graded before any transaction; attempt, card and schedule are then written in one, so a kill leaves all or nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from db import documents, quizzes, reviews, study
from db.errors import NotFound
from tutor import progress, scheduling
from tutor.lesson_values import MAX_ANSWER_CHARS, Gate, LessonError, PointResult, Posed, Quote, Result
from tutor.pages import Question, concepts_in, questions, texts
from tutor.progress import COURSE
from tutor.quiz import Grade, Grader, feedback_line, grade_unknown
from tutor.study import next_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from db.documents import StoredDocument
    from db.quizzes import Attempt
    from db.session import Database
    from retrieval.records import Embedder

QUOTE_COSINE = 0.4  # a page's sentence less like the key point than this does not say it
VERDICTS = ("correct", "partial", "incorrect")


@dataclass(frozen=True, slots=True)
class Task:
    """Something to answer in one's own words: where it comes from, how to grade it, what card it makes."""

    key: str
    origin: str
    page: str | None
    question: str
    reference: str
    concepts: tuple[str, ...]
    grade: Callable[[str], Grade]


class Lessons:
    """One learner's questions and answers. Safe to share between threads."""

    def __init__(
        self, database: Database, learner_id: int, grader: Grader, clock: Callable[[], datetime] | None = None
    ) -> None:
        """`clock` gives the present as an aware UTC time; tests pass their own."""
        self.database = database
        self.learner_id = learner_id
        self.grader = grader
        self.now = clock or (lambda: datetime.now(UTC))

    def gate(self, page: str) -> Gate:
        """What stands before a page: open once its first question has an answer, or when it asks nothing."""
        with self.database.session(readonly=True) as session:
            document = documents.find_document(session, COURSE, page)
            asked = questions(page, document.meta) if document else ()
            if document is None or not asked:
                return Gate(open=True, first=None)
            latest: dict[str, Attempt] = {}
            for attempt in quizzes.attempts(session, self.learner_id, page=page):
                latest.setdefault(attempt.question_key, attempt)
            posed = [self._posed(session, document, question) for question in asked]
            results = {
                q.key: self._result(session, latest[q.key], document.title) for q in asked if q.key in latest
            }
        return Gate(asked[0].key in latest, posed[0], tuple(posed[1:]), results)

    def hint(self, page: str, key: str) -> tuple[str, ...]:
        """Show one more step of the ladder; all that were shown since the last attempt. Raises LessonError."""
        with self.database.session() as session:
            _, question = self._question(session, page, key)
            shown = quizzes.hint_level(session, self.learner_id, key)
            if shown < len(question.hints):
                shown += 1
                quizzes.record_hint(
                    session, self.learner_id, page=page, question_key=key, level=shown, at=self.now()
                )
        return question.hints[:shown]

    def answer(
        self, page: str, key: str, answer: str | None, *, request_id: str, seconds: float = 0.0
    ) -> Result:
        """Grade and keep an answer to a page's question; None is "I don't know yet". Raises LessonError."""
        with self.database.session(readonly=True) as session:
            document, question = self._question(session, page, key)
        return self.record(self.question_task(document, question), answer, request_id, seconds)

    def question_task(self, document: StoredDocument, question: Question) -> Task:
        """A page's question as a task."""

        def grade(answer: str) -> Grade:
            return self.grader.grade(question.question, question.reference, question.key_points, answer)

        said = " ".join([question.question, question.reference, *question.key_points])
        about = concepts_in(said, texts(document.meta.get("concepts")))
        return Task(
            question.key,
            "question",
            document.path,
            question.question,
            question.reference,
            tuple(about),
            lambda answer: grade(answer) if answer else grade_unknown(question.key_points),
        )

    def record(
        self,
        task: Task,
        answer: str | None,
        request_id: str,
        seconds: float = 0.0,
        quiz_id: int | None = None,
    ) -> Result:
        """Grade an answer to a task, then write attempt, card and schedule together. Raises LessonError."""
        answer = _valid(answer)
        with self.database.session(readonly=True) as session:
            known = quizzes.find_attempt_by_request(session, self.learner_id, request_id)
            if known is not None:
                return self._result(session, known, None, repeated=True)
            hints = quizzes.hint_level(session, self.learner_id, task.key)
        grade = task.grade(answer or "")
        points = self._with_quotes(task.page, grade)
        now = self.now()
        with self.database.session() as session:
            attempt = quizzes.save_attempt(
                session,
                self.learner_id,
                page=task.page or "",
                question_key=task.key,
                question=task.question,
                reference=task.reference,
                answer=answer,
                verdict=grade.verdict,
                score=grade.score,
                key_points=[asdict(point) for point in points],
                concepts=list(task.concepts),
                grader=grade.grader,
                hints=hints,
                seconds=seconds,
                at=now,
                quiz_id=quiz_id,
                request_id=request_id,
            )
            self._schedule(session, task, attempt, now)
            return self._result(session, attempt, None)

    def override(self, attempt_id: int, verdict: str | None, reason: str = "") -> Result:
        """Let the learner's own verdict count, or take that back with None; the card is scheduled anew.

        The grader's verdict stays beside it, as calibration data. Raises LessonError, NotFound.
        """
        if verdict is not None and verdict not in VERDICTS:
            raise LessonError(f"a verdict is one of {', '.join(VERDICTS)}, not {verdict!r}")
        with self.database.session() as session:
            attempt = quizzes.override_attempt(
                session,
                self.learner_id,
                attempt_id,
                verdict=verdict,
                reason=reason.strip()[:1000],
                at=self.now(),
            )
            rating = scheduling.rating_for(attempt.counted, attempt.hints, unknown=attempt.answer is None)
            reviews.rerate_attempt(session, self.learner_id, attempt_id, rating)
            card = reviews.find_card(session, self.learner_id, attempt.question_key)
            if card is not None:
                progress.replay_card(session, self.learner_id, card.id)
            return self._result(session, attempt, None)

    def result(self, attempt_id: int) -> Result:
        """An earlier answer as it was graded. Raises NotFound."""
        with self.database.session(readonly=True) as session:
            attempt = quizzes.get_attempt(session, self.learner_id, attempt_id)
            if attempt is None:
                raise NotFound(f"Answer {attempt_id} doesn't exist (any more).")
            return self._result(session, attempt, None)

    def results_of_quiz(self, session: Session, quiz_id: int) -> dict[str, Result]:
        """The answers given in a quiz, by task."""
        given = quizzes.attempts(session, self.learner_id, quiz_id=quiz_id)
        return {attempt.question_key: self._result(session, attempt, None) for attempt in given}

    def _schedule(self, session: Session, task: Task, attempt: Attempt, now: datetime) -> None:
        known = reviews.find_card(session, self.learner_id, task.key)
        if known is not None:  # with the words the learner may have given it
            card = reviews.get_card(session, self.learner_id, known.id, lock=True) or known
        else:
            card = reviews.put_card(
                session,
                self.learner_id,
                card_key=task.key,
                origin=task.origin,
                front=task.question,
                back=task.reference,
                page=task.page,
                concepts=task.concepts,
                due=now,
                at=now,
            )
        rating = scheduling.rating_for(attempt.counted, attempt.hints, unknown=attempt.answer is None)
        after = scheduling.review(card.memory, rating, now)
        reviews.save_review(
            session,
            self.learner_id,
            card.id,
            rating=rating,
            memory=after.memory,
            lapsed=after.lapsed,
            seconds=0.0,  # counted with the attempt
            at=now,
            attempt_id=attempt.id,  # a rival with the same request may have written it: then this changes nothing
        )

    def _question(self, session: Session, page: str, key: str) -> tuple[StoredDocument, Question]:
        document = documents.find_document(session, COURSE, page)
        if document is None:
            raise LessonError(f"there is no course page {page!r}")
        for question in questions(page, document.meta):
            if question.key == key:
                return document, question
        raise LessonError("this question is no longer on the page; reload it")

    def _posed(self, session: Session, document: StoredDocument, question: Question) -> Posed:
        shown = quizzes.hint_level(session, self.learner_id, question.key)
        earlier = quizzes.attempts(session, self.learner_id, question_key=question.key, include_deleted=True)
        return Posed(
            key=question.key,
            page=document.path,
            title=document.title,
            number=question.number,
            question=question.question,
            hints=question.hints[:shown],
            hints_left=len(question.hints) - shown,
            request_id=self.request_id(session, question.key, len(earlier)),
        )

    def request_id(self, session: Session, *what: object) -> str:
        """The same for the same learner and parts; another's, here or in an imported database, never collides."""
        learner = study.get_learner(session, self.learner_id)
        parts = "|".join(str(part) for part in (learner.name, learner.created_at.isoformat(), *what))
        return f"lesson-{hashlib.sha256(parts.encode()).hexdigest()[:32]}"

    def _result(
        self, session: Session, attempt: Attempt, title: str | None, *, repeated: bool = False
    ) -> Result:
        if title is None:
            document = documents.find_document(session, COURSE, attempt.page)
            title = document.title if document else attempt.page
        card = reviews.find_card(session, self.learner_id, attempt.question_key)
        ahead = None
        if attempt.counted == "incorrect":
            step = next_step(attempt.page, progress.study_pages(session, self.learner_id))
            ahead = (step.path, step.title) if step else None
        points = tuple(_point(stored) for stored in attempt.key_points)
        return Result(
            attempt_id=attempt.id,
            key=attempt.question_key,
            page=attempt.page,
            title=title,
            question=attempt.question,
            answer=attempt.answer,
            verdict=attempt.verdict,
            counted=attempt.counted,
            score=attempt.score,
            points=points,
            feedback=feedback_line(attempt.verdict, points, unknown=attempt.answer is None),
            reference=attempt.reference,
            hints=attempt.hints,
            card_id=card.id if card else None,
            due=card.memory.due if card else None,
            next_step=ahead,
            override_reason=attempt.override_reason if attempt.override_verdict else None,
            at=attempt.created_at,
            repeated=repeated,
        )

    def _with_quotes(self, page: str | None, grade: Grade) -> tuple[PointResult, ...]:
        said = tuple(point.text for point in grade.points)
        quotes: Sequence[Quote | None] = [None] * len(said)
        if page and said:
            with self.database.session(readonly=True) as session:
                document = documents.find_document(session, COURSE, page)
                chunks = documents.document_chunks(session, document.id) if document else []
            quotes = page_quotes(page, chunks, said, self.grader.embedder)
        return tuple(
            PointResult(point.text, point.hit, point.contradicted, point.evidence, quote)
            for point, quote in zip(grade.points, quotes, strict=True)
        )


def page_quotes(
    page: str, chunks: Sequence[documents.StoredChunk], points: tuple[str, ...], embedder: Embedder
) -> list[Quote | None]:
    """For each key point the sentence of the page that says it best, by cosine of the stored sentence vectors."""
    sentences, rows = [], []
    for chunk in chunks:
        if chunk.embedder != embedder.name or not chunk.sentences:
            continue
        vectors = np.frombuffer(chunk.sentence_vectors, dtype="<f4").reshape(len(chunk.sentences), -1)
        for (start, end, text, kind), vector in zip(chunk.sentences, vectors, strict=True):
            if kind not in ("code", "heading") and not text.rstrip().endswith("?") and len(text.split()) >= 4:
                sentences.append((start, end, text))
                rows.append(vector)
    if not sentences:
        return [None] * len(points)
    alike = embedder.encode(list(points)) @ np.stack(rows).T
    found: list[Quote | None] = []
    for row in alike:
        best = int(row.argmax())
        start, end, text = sentences[best]
        found.append(Quote(page, text, start, end) if row[best] >= QUOTE_COSINE else None)
    return found


def _valid(answer: str | None) -> str | None:
    if answer is None:
        return None
    text = answer.strip()
    if not text:
        raise LessonError("write an answer first, or choose “I don't know yet”")
    if len(text) > MAX_ANSWER_CHARS:
        raise LessonError(
            f"an answer has at most {MAX_ANSWER_CHARS:,} characters; this one has {len(text):,}"
        )
    return text


def _point(stored: dict[str, Any]) -> PointResult:
    quote = stored.get("quote")
    return PointResult(
        text=str(stored.get("text", "")),
        hit=stored.get("hit") is True,
        contradicted=stored.get("contradicted") is True,
        evidence=stored.get("evidence"),
        quote=Quote(**quote) if isinstance(quote, dict) else None,
    )
