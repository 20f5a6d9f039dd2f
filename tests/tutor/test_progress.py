"""How far a learner has come, read from the database, and evidence that is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from db import quizzes, reviews, study
from db.documents import NewDocument, put_document
from db.errors import NotFound
from db.session import Database
from tutor import scheduling
from tutor.progress import concept_mastery, delete_evidence, replay_card, study_pages, weak_concepts
from tutor.study import StudyPage

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = "tokens.md#q-1"


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.session() as opened:
        yield opened


@pytest.fixture
def me(session: Session) -> int:
    _put(session, "tokens.md", "Tokens", 40, ["model"], ["token", "vocabulary"])
    _put(session, "model.md", "What a model is", 10, [], ["model"])
    _put(session, "notes.md", "Own notes", 1, [], ["note"], source="files")
    return study.learner(session, "local").id


def _put(
    session: Session,
    path: str,
    title: str,
    order: int,
    needs: list[str],
    concepts: list[str],
    source: str = "course",
) -> None:
    text = f"# {title}\n\nAn opening.\n\n## First part\n\nWords here.\n\n### Detail\n\nMore.\n\n## Last part\n\nEnd.\n"
    meta = {"order": order, "prerequisites": needs, "concepts": concepts}
    put_document(session, NewDocument(source, path, title, "text/markdown", path, text, meta, (), "e1", 2))


def _read(session: Session, me: int, page: str, *sections: str, seconds: float = 20.0) -> None:
    for section in sections:
        study.record_reading(session, me, page, section, seconds=seconds, read=True, at=NOW)


def _answer(session: Session, me: int, at: datetime, verdict: str = "correct") -> tuple[int, int]:
    """An answer with its card and review, as a lesson writes them: (attempt id, card id)."""
    attempt = quizzes.save_attempt(
        session,
        me,
        page="tokens.md",
        question_key=KEY,
        question="Why?",
        reference="So.",
        answer="Hm.",
        verdict=verdict,
        score=1.0,
        key_points=[],
        concepts=["token"],
        grader="test",
        at=at,
    )
    card = reviews.put_card(
        session,
        me,
        card_key=KEY,
        origin="question",
        front="Why?",
        back="So.",
        concepts=["token"],
        due=at,
        at=at,
    )
    _rate(session, me, card.id, scheduling.rating_for(verdict, 0, unknown=False), at, attempt.id)
    return attempt.id, card.id


def _rate(
    session: Session, me: int, card_id: int, rating: int, at: datetime, attempt: int | None = None
) -> int:
    card = reviews.get_card(session, me, card_id)
    assert card is not None
    after = scheduling.review(card.memory, rating, at)
    saved = reviews.save_review(
        session,
        me,
        card_id,
        rating=rating,
        memory=after.memory,
        lapsed=after.lapsed,
        at=at,
        attempt_id=attempt,
    )
    return saved.id


def _score(session: Session, me: int, concept: str = "token") -> float | None:
    return next(c.score for c in concept_mastery(session, me, NOW) if c.concept == concept)


def test_the_path_is_the_course_in_order_with_states(session: Session, me: int) -> None:
    _read(session, me, "model.md", "top", "first-part", "last-part", "gone-since")
    study.record_reading(session, me, "tokens.md", "top", seconds=14.0, read=False, at=NOW)
    assert study_pages(session, me) == [
        StudyPage("model.md", "What a model is", (), "read"),
        StudyPage("tokens.md", "Tokens", ("model.md",), "new"),
    ]
    study.record_reading(session, me, "tokens.md", "top", seconds=2.0, read=False, at=NOW)
    assert study_pages(session, me)[1].state == "started"


def test_weak_concepts_are_the_lowest_of_those_with_evidence(session: Session, me: int) -> None:
    assert weak_concepts(session, me, NOW) == []
    _answer(session, me, NOW)
    _read(session, me, "model.md", "top")
    assert [c.concept for c in weak_concepts(session, me, NOW)] == ["model", "token"]
    assert [c.concept for c in weak_concepts(session, me, NOW, limit=1)] == ["model"]
    assert _score(session, me) == 0.5
    assert _score(session, me, "vocabulary") is None


def test_a_deleted_answer_is_gone_from_the_score_and_from_the_schedule(session: Session, me: int) -> None:
    _answer(session, me, NOW - 5 * DAY)
    attempt, card = _answer(session, me, NOW - DAY, "incorrect")
    delete_evidence(session, me, "attempt", attempt, NOW)
    after = reviews.get_card(session, me, card)
    assert after is not None
    assert (after.memory, after.lapses) == scheduling.replay([(3, NOW - 5 * DAY)], NOW - 5 * DAY)
    assert [e.outcome for e in concept_mastery(session, me, NOW)[1].evidence] == ["correct"]
    quizzes.restore_attempt(session, me, attempt)
    both = [(3, NOW - 5 * DAY), (1, NOW - DAY)]
    restored = replay_card(session, me, card)
    assert (restored.memory, restored.lapses) == scheduling.replay(both, NOW - 5 * DAY)


def test_a_deleted_review_is_replayed_out_of_the_card(session: Session, me: int) -> None:
    card = reviews.put_card(
        session,
        me,
        card_key="t",
        origin="takeaway",
        front="A ____.",
        back="token",
        concepts=["token"],
        due=NOW,
        at=NOW,
    )
    log = [(3, NOW - 9 * DAY), (3, NOW - 8 * DAY), (1, NOW - 3 * DAY), (3, NOW - 2 * DAY)]
    ids = [_rate(session, me, card.id, rating, at) for rating, at in log]
    lapsed = reviews.get_card(session, me, card.id)
    assert lapsed is not None
    assert lapsed.lapses == 1
    delete_evidence(session, me, "review", ids[2], NOW)
    after = reviews.get_card(session, me, card.id)
    assert after is not None
    assert (after.memory, after.lapses) == scheduling.replay([*log[:2], log[3]], card.created_at)
    assert after.lapses == 0
    for number in (0, 1, 3):
        delete_evidence(session, me, "review", ids[number], NOW)
    assert _score(session, me) is None
    assert reviews.count_due(session, me, NOW) == 1


def test_reading_taken_back_makes_the_page_new(session: Session, me: int) -> None:
    _read(session, me, "tokens.md", "top", "first-part")
    assert _score(session, me) == pytest.approx(0.15 * 2 / 3)
    delete_evidence(session, me, "reading", "tokens.md", NOW)
    assert _score(session, me) is None
    assert study_pages(session, me)[1].state == "new"


def test_only_the_learners_own_evidence_can_be_taken_back(session: Session, me: int) -> None:
    attempt, card = _answer(session, me, NOW)
    review = reviews.reviews(session, me, card_id=card)[0].id
    other = study.learner(session, "other").id
    for kind, ref in (("attempt", attempt), ("review", review)):
        with pytest.raises(NotFound):
            delete_evidence(session, other, kind, ref, NOW)
    with pytest.raises(NotFound):
        replay_card(session, other, card)
    with pytest.raises(ValueError, match="not 'hearsay'"):
        delete_evidence(session, me, "hearsay", 1, NOW)
    assert _score(session, me) == 0.5
