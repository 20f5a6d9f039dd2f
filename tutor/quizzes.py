"""Quizzes: a handful of tasks answered one after the other, without hints and without the tutor.

A quiz is state in the database, begun once and finished on any device. What may be asked is chosen here; grading,
attempts and schedules are `tutor.lessons`'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, cast

from db import documents, quizzes, reviews
from db.errors import NotFound
from retrieval.sentences import split_sentences
from tutor.lesson_values import ItemKind, LessonError, QuizItem, QuizKind, QuizState
from tutor.lessons import Task
from tutor.pages import concepts_in, questions, takeaways, texts
from tutor.progress import COURSE
from tutor.quiz import grade_term, grade_unknown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.documents import StoredDocument
    from db.quizzes import Quiz
    from db.reviews import Card
    from tutor.lessons import Lessons

MAX_ITEMS = 30
MAX_SAVED_POINTS = 4
_KINDS: dict[str, ItemKind] = {"question": "question", "takeaway": "term", "answer": "recall"}


class Quizzes:
    """One learner's quizzes. Safe to share between threads."""

    def __init__(self, lessons: Lessons) -> None:
        self._lessons = lessons
        self._database = lessons.database
        self._learner = lessons.learner_id

    def start(
        self,
        kind: QuizKind,
        *,
        page: str | None = None,
        concept: str | None = None,
        count: int = 6,
        request_id: str | None = None,
    ) -> QuizState:
        """Begin a quiz on a page, on a concept, or on the cards that are due (mixed over pages).

        A repeated request gives the first quiz. Raises LessonError when there is nothing to ask.
        """
        count = max(1, min(count, MAX_ITEMS))
        now = self._lessons.now()
        with self._database.session() as session:
            known = quizzes.find_quiz_by_request(session, self._learner, request_id) if request_id else None
            if known is not None:
                return self._state(session, known)
            if kind == "page":
                document = documents.find_document(session, COURSE, page or "")
                if document is None:
                    raise LessonError(f"there is no course page {page!r}")
                title, items = document.title, _of_page(document)
            elif kind == "concept":
                title, items = concept or "", self._about(session, concept or "")
            elif kind == "due":
                cards = reviews.due_cards(session, self._learner, now)
                title, items = (
                    "What is due",
                    interleaved(_item(_KINDS[c.origin], c.card_key, c.page) for c in cards),
                )
            else:
                raise LessonError(f"a quiz is about a page, a concept or what is due, not {kind!r}")
            if not items:
                raise LessonError(
                    "nothing is due now" if kind == "due" else f"there is nothing to ask about {title!r}"
                )
            started = quizzes.start_quiz(
                session,
                self._learner,
                kind=kind,
                page=page if kind == "page" else None,
                title=title,
                items=items[:count],
                request_id=request_id,
                at=now,
            )
        return self.get(started.id)

    def get(self, quiz_id: int) -> QuizState:
        """A quiz as far as it is done. Tasks whose page or card is gone are left out. Raises NotFound."""
        with self._database.session(readonly=True) as session:
            return self._state(session, self._quiz(session, quiz_id))

    def answer(
        self,
        quiz_id: int,
        number: int,
        answer: str | None,
        *,
        request_id: str | None = None,
        seconds: float = 0.0,
    ) -> QuizState:
        """Answer one task; None is "I don't know". Answering it again changes nothing. Raises LessonError, NotFound."""
        with self._database.session(readonly=True) as session:
            quiz = self._quiz(session, quiz_id)
            item = next((i for i in self._state(session, quiz).items if i.number == number), None)
            if item is None:
                raise LessonError(f"this quiz has no task {number}")
            task = self._task(session, item)
        if item.result is None:
            self._lessons.record(task, answer, request_id or item.request_id, seconds, quiz_id)
        state = self.get(quiz_id)
        if state.finished:
            with self._database.session() as session:
                quizzes.finish_quiz(session, self._learner, quiz_id, self._lessons.now())
        return state

    def _quiz(self, session: Session, quiz_id: int) -> Quiz:
        quiz = quizzes.get_quiz(session, self._learner, quiz_id)
        if quiz is None:
            raise NotFound(f"Quiz {quiz_id} doesn't exist (any more).")
        return quiz

    def _state(self, session: Session, quiz: Quiz) -> QuizState:
        results = self._lessons.results_of_quiz(session, quiz.id)
        items = []
        for number, stored in enumerate(quiz.items, start=1):
            kind, key, page = stored["kind"], stored["key"], stored.get("page") or ""
            document = documents.find_document(session, COURSE, page) if page else None
            prompt = self._prompt(session, kind, key, document)
            if prompt is None:
                continue
            items.append(
                QuizItem(
                    number=number,
                    kind=kind,
                    key=key,
                    page=page,
                    title=document.title if document else "",
                    prompt=prompt,
                    request_id=self._lessons.request_id(session, "quiz", quiz.id, quiz.created_at, number),
                    result=results.get(key),
                )
            )
        counts = Counter(item.result.counted for item in items if item.result)
        return QuizState(
            quiz.id,
            cast(QuizKind, quiz.kind),
            quiz.title,
            tuple(items),
            {verdict: counts[verdict] for verdict in ("correct", "partial", "incorrect")},
        )

    def _prompt(self, session: Session, kind: str, key: str, document: StoredDocument | None) -> str | None:
        if kind == "recall":
            card = reviews.find_card(session, self._learner, key)
            return card.front if card else None
        if document is None:
            return None
        if kind == "question":
            return next((q.question for q in questions(document.path, document.meta) if q.key == key), None)
        return next((t.front for t in takeaways(document.path, document.text) if t.key == key), None)

    def _task(self, session: Session, item: QuizItem) -> Task:
        if item.kind == "recall":
            card = reviews.find_card(session, self._learner, item.key)
            if card is None:
                raise NotFound("This card was deleted meanwhile.")
            return self._saved_task(card)
        document = documents.find_document(session, COURSE, item.page)
        if document is None:
            raise LessonError(f"there is no course page {item.page!r} any more")
        if item.kind == "question":
            question = next(q for q in questions(document.path, document.meta) if q.key == item.key)
            return self._lessons.question_task(document, question)
        takeaway = next(t for t in takeaways(document.path, document.text) if t.key == item.key)
        return Task(
            takeaway.key,
            "takeaway",
            document.path,
            takeaway.front,
            takeaway.sentence,
            concepts_in(takeaway.sentence, _concepts(document)),
            lambda answer: grade_term(answer, takeaway.term),
        )

    def _saved_task(self, card: Card) -> Task:
        points = tuple(card.back[a:b] for a, b in split_sentences(card.back))[:MAX_SAVED_POINTS]

        def grade(answer: str) -> Any:
            if not answer:
                return grade_unknown(points)
            return self._lessons.grader.grade(card.front, card.back, points, answer)

        return Task(card.card_key, "answer", card.page, card.front, card.back, tuple(card.concepts), grade)

    def _about(self, session: Session, concept: str) -> list[dict[str, Any]]:
        wanted = concept.casefold()
        found: list[dict[str, Any]] = []
        for listed in documents.list_documents(session, COURSE, with_text=True):
            concepts = _concepts(listed)
            if wanted not in {c.casefold() for c in concepts}:
                continue
            for question in questions(listed.path, listed.meta):
                said = " ".join([question.question, question.reference, *question.key_points])
                if wanted in {c.casefold() for c in concepts_in(said, concepts)}:
                    found.append(_item("question", question.key, listed.path))
            for takeaway in takeaways(listed.path, listed.text):
                if wanted in {c.casefold() for c in concepts_in(takeaway.sentence, concepts)}:
                    found.append(_item("term", takeaway.key, listed.path))
        return found


def interleaved(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks with their pages taken in turn, in the order in which each page first comes."""
    by_page: dict[str | None, list[dict[str, Any]]] = {}
    for item in items:
        by_page.setdefault(item["page"], []).append(item)
    return [item for item in chain.from_iterable(zip_longest(*by_page.values())) if item is not None]


def _of_page(document: StoredDocument) -> list[dict[str, Any]]:
    asked = [_item("question", q.key, document.path) for q in questions(document.path, document.meta)]
    terms = [_item("term", t.key, document.path) for t in takeaways(document.path, document.text)]
    return [item for item in chain.from_iterable(zip_longest(asked, terms)) if item is not None]


def _item(kind: ItemKind, key: str, page: str | None) -> dict[str, Any]:
    return {"kind": kind, "key": key, "page": page}


def _concepts(document: StoredDocument) -> Sequence[str]:
    return texts(document.meta.get("concepts"))
