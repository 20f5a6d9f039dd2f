"""Mastery from evidence rows: worked by hand, and what must hold for any history."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.quizzes import Attempt
from db.reviews import Card, Memory, Review
from tutor.mastery import ConceptMastery, PageConcepts, mastery
from tutor.scheduling import new_memory, replay, retrievability

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
PAGE = PageConcepts("tokens.md", "Tokens", ("token",), 9, 0, 0.0, None)
READ = replace(PAGE, sections_read=3, reading_seconds=290.0, read_at=NOW - DAY)
VERDICTS = ("correct", "partial", "incorrect")


def _attempt(
    number: int,
    verdict: str = "correct",
    *,
    key: str = "q1",
    age: float = 0,
    hints: int = 0,
    deleted: bool = False,
) -> Attempt:
    at = NOW - age * DAY
    return Attempt(
        id=number,
        learner_id=1,
        request_id=None,
        quiz_id=None,
        page="tokens.md",
        question_key=key,
        question="Why tokens?",
        reference="Because.",
        answer="So.",
        verdict=verdict,
        score=0.5,
        key_points=[],
        concepts=["Token"],
        grader="test",
        hints=hints,
        seconds=1.0,
        override_verdict=None,
        override_reason=None,
        overridden_at=None,
        deleted_at=at if deleted else None,
        created_at=at,
    )


def _card(number: int, key: str, log: list[tuple[int, datetime]]) -> Card:
    memory, lapses = replay(log, NOW - 999 * DAY)
    return _card_with(number, key, memory, lapses)


def _card_with(number: int, key: str, memory: Memory, lapses: int = 0) -> Card:
    return Card(
        id=number,
        learner_id=1,
        card_key=key,
        origin="takeaway",
        page="tokens.md",
        turn_id=None,
        concepts=["token"],
        front="A ____ is a piece of text.",
        back="token",
        memory=memory,
        lapses=lapses,
        suspended=False,
        created_at=NOW - 999 * DAY,
        updated_at=NOW - 999 * DAY,
    )


def _review(number: int, card: int, rating: int, at: datetime, attempt: int | None = None) -> Review:
    return Review(number, card, attempt, None, rating, 1.0, {}, at)


def _one(
    *attempts: Attempt,
    cards: list[Card] | None = None,
    reviews: list[Review] | None = None,
    page: PageConcepts = PAGE,
) -> ConceptMastery:
    (found,) = mastery([page], attempts, cards or [], reviews or [], NOW)
    return found


def test_one_correct_answer_is_half_a_bar() -> None:
    found = _one(_attempt(1))
    assert found.score == found.recall == 0.5  # 1 / (1 item + 1)
    (evidence,) = found.evidence
    assert (evidence.kind, evidence.id, evidence.text, evidence.outcome) == (
        "attempt",
        1,
        "Why tokens?",
        "correct",
    )
    assert (evidence.quality, evidence.retention, evidence.points) == (1.0, 1.0, 0.5)


def test_the_last_three_outcomes_of_an_item_weigh_1_a_half_a_quarter() -> None:
    found = _one(
        _attempt(1, "correct", age=9),
        _attempt(2, "incorrect", age=3),
        _attempt(3, "correct", age=2, hints=1),
        _attempt(4, "partial", age=1),
    )
    # (0.5 * 1 + 0.85 * 0.5 + 0 * 0.25) / 1.75 = 0.528571..., halved for the imaginary item
    assert found.score == pytest.approx(0.925 / 1.75 / 2)
    assert [e.id for e in found.evidence] == [4, 3, 2, 1]
    assert found.evidence[3].points == 0.0
    assert found.evidence[1].outcome == "correct, 1 hint"


def test_what_fades_is_weighed_by_its_retrievability() -> None:
    learned = Memory(2, None, 10.0, 5.0, NOW, NOW - 10 * DAY)
    found = _one(_attempt(1, age=10), cards=[_card_with(7, "q1", learned)])
    assert found.score == pytest.approx(0.9 / 2)
    assert found.evidence[0].retention == pytest.approx(0.9)


def test_a_review_that_came_with_an_answer_is_counted_once() -> None:
    card = _card_with(7, "q1", Memory(2, None, 10.0, 5.0, NOW, NOW))
    with_answer = _review(1, 7, 1, NOW - DAY, attempt=1)
    own = _review(2, 7, 3, NOW)
    assert _one(_attempt(1, age=1), cards=[card], reviews=[with_answer]).score == 0.5
    # the review of now weighs 1 with 0.9, the answer of yesterday a half with 1
    assert _one(_attempt(1, age=1), cards=[card], reviews=[own, with_answer]).score == pytest.approx(
        1.4 / 1.5 / 2
    )
    assert _one(_attempt(1, deleted=True), cards=[card], reviews=[with_answer]).score is None


def test_a_card_that_was_never_reviewed_is_no_evidence() -> None:
    unseen = _card_with(8, "t1", new_memory(NOW))
    assert _one(cards=[unseen]).score is None
    assert _one(_attempt(1), cards=[unseen]).score == 0.5


def test_reading_adds_at_most_fifteen_percent_of_what_is_missing() -> None:
    found = _one(page=READ)
    assert found.score == pytest.approx(0.15 / 3)
    assert (found.evidence[0].kind, found.evidence[0].outcome) == ("reading", "3 of 9 sections, 5 min")
    both = _one(_attempt(1), page=READ)
    assert both.score == pytest.approx(0.5 + 0.5 * 0.05)
    assert (both.recall, both.read_share) == (0.5, pytest.approx(1 / 3))


def test_a_concept_on_two_pages_is_one_entry_at_the_first() -> None:
    other = PageConcepts("rag.md", "RAG", ("index", "TOKEN"), 1, 1, 30.0, NOW)
    found = mastery([READ, other], [_attempt(1)], [], [], NOW)
    assert [(c.concept, c.page) for c in found] == [("token", "tokens.md"), ("index", "rag.md")]
    assert found[0].read_share == pytest.approx(4 / 10)
    assert [e.page for e in found[0].evidence if e.kind == "reading"] == ["rag.md", "tokens.md"]
    assert found[1].score == pytest.approx(0.15)


def test_the_learners_own_verdict_counts_and_is_named() -> None:
    overridden = replace(_attempt(1, "incorrect"), override_verdict="correct", overridden_at=NOW)
    assert _one(overridden).evidence[0].outcome == "correct (your verdict)"
    assert _one(overridden).score == 0.5
    unknown = replace(_attempt(1, "incorrect"), answer=None)
    assert _one(unknown).evidence[0].outcome == "I don't know yet"


KEY = st.sampled_from(["q1", "q2", "t1"])
AGE = st.floats(-30, 400)  # some rows come from a clock that was ahead
ATTEMPTS = st.lists(
    st.tuples(KEY, st.sampled_from(VERDICTS), AGE, st.integers(0, 3), st.booleans()), max_size=8
)
REVIEWS = st.lists(st.tuples(KEY, st.integers(1, 4), AGE), max_size=8)
PAGES = st.sampled_from([PAGE, READ, replace(READ, sections_read=9), replace(PAGE, sections_total=0)])


def _history(
    answered: list[tuple[str, str, float, int, bool]], rated: list[tuple[str, int, float]]
) -> tuple[list[Attempt], list[Card], list[Review]]:
    attempts = [
        _attempt(number, verdict, key=key, age=age, hints=hints, deleted=deleted)
        for number, (key, verdict, age, hints, deleted) in enumerate(answered)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(key for key, _, _ in rated))}
    reviews = [
        _review(n, numbers[key], rating, NOW - age * DAY) for n, (key, rating, age) in enumerate(rated)
    ]
    cards = []
    for key, number in numbers.items():
        log = sorted((r for r in reviews if r.card_id == number), key=lambda r: r.reviewed_at)
        cards.append(_card(number, key, [(r.rating, r.reviewed_at) for r in log]))
    return attempts, cards, reviews


@given(ATTEMPTS, REVIEWS, PAGES, st.floats(0, 5000))
def test_scores_stay_in_bounds_add_up_and_never_grow_by_waiting(
    answered: list[tuple[str, str, float, int, bool]],
    rated: list[tuple[str, int, float]],
    page: PageConcepts,
    days: float,
) -> None:
    attempts, cards, reviews = _history(answered, rated)
    (found,) = mastery([page], attempts, cards, reviews, NOW)
    anything = any(not a.deleted_at for a in attempts) or bool(reviews) or page.sections_read > 0
    assert (found.score is not None) == anything
    if found.score is not None:
        assert 0 <= found.score <= 1
        assert sum(e.points for e in found.evidence) == pytest.approx(found.score)
        assert all(e.points >= 0 and 0 <= e.quality <= 1 and 0 <= e.retention <= 1 for e in found.evidence)
        (later,) = mastery([page], attempts, cards, reviews, NOW + days * DAY)
        assert later.score is not None
        assert later.score <= found.score + 1e-12


@given(ATTEMPTS, REVIEWS, PAGES, KEY)
def test_a_further_correct_answer_never_lowers_the_score(
    answered: list[tuple[str, str, float, int, bool]],
    rated: list[tuple[str, int, float]],
    page: PageConcepts,
    key: str,
) -> None:
    attempts, cards, reviews = _history(answered, rated)
    (before,) = mastery([page], attempts, cards, reviews, NOW)
    remembered = [
        replace(card, memory=replay([(3, NOW)], NOW)[0]) if card.card_key == key else card for card in cards
    ]
    for known in (cards, remembered):  # with the schedule as it was, and with the card just reviewed
        (after,) = mastery([page], [*attempts, _attempt(99, key=key)], known, reviews, NOW)
        assert after.score is not None
        assert after.score >= (before.score or 0.0) - 1e-12
    assert all(retrievability(c.memory, NOW) == 1.0 for c in remembered if c.card_key == key)
