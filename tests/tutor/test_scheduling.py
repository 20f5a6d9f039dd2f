"""When cards are due: FSRS with its published defaults, whatever the clock and the calendar do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import fsrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.reviews import Memory
from tutor import scheduling
from tutor.scheduling import curve, new_memory, previews, replay, retrievability, review

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
RATING = st.sampled_from([1, 2, 3, 4])
JUMP = st.integers(-400 * 86_400, 400 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
STEPS = st.lists(st.tuples(RATING, JUMP), max_size=12)
LEARNED = Memory(state=2, step=None, stability=10.0, difficulty=5.0, due=NOW + 10 * DAY, last_review=NOW)


def test_a_new_card_is_learned_in_ten_minutes_and_then_in_days() -> None:
    first = review(new_memory(NOW), 3, NOW).memory
    assert (first.state, first.due - NOW) == (1, timedelta(minutes=10))
    assert first.stability == 2.3065  # the published initial stability of "good", in days
    second = review(first, 3, first.due).memory
    assert (second.state, second.step, second.due - first.due) == (2, None, 2 * DAY)


def test_forgetting_counts_as_a_lapse_only_once_the_card_was_learned() -> None:
    lapse = review(LEARNED, 1, LEARNED.due)
    assert lapse.lapsed
    assert (lapse.memory.state, lapse.memory.due - LEARNED.due) == (3, timedelta(minutes=10))
    assert not review(lapse.memory, 1, lapse.memory.due).lapsed  # forgotten again while relearning
    assert not review(new_memory(NOW), 1, NOW).lapsed
    assert not review(LEARNED, 2, LEARNED.due).lapsed


def test_the_forgetting_curve_is_smooth_and_90_percent_at_the_stability() -> None:
    assert retrievability(LEARNED, NOW) == 1.0
    assert retrievability(LEARNED, NOW + 10 * DAY) == pytest.approx(0.9)
    # by hand: f = 0.9 ** (-1 / 0.1542) - 1 = 0.98035; (1 + 0.98035 * 0.5) ** -0.1542 = 0.94034
    assert retrievability(LEARNED, NOW + 5 * DAY) == pytest.approx(0.94034, abs=1e-5)
    assert retrievability(LEARNED, NOW + 5.5 * DAY) < retrievability(LEARNED, NOW + 5 * DAY)
    assert retrievability(new_memory(NOW), NOW + DAY) == 0.0
    assert retrievability(LEARNED, NOW - DAY) == 1.0
    drawn = curve(LEARNED, NOW, days=20, points=3)
    assert [day for day, _ in drawn] == [0, 10, 20]
    assert drawn[1][1] == pytest.approx(0.9)


@given(st.floats(0.01, 1000), st.integers(0, 4000))
def test_the_curve_agrees_with_fsrs_on_whole_days(stability: float, days: int) -> None:
    memory = Memory(2, None, stability, 5.0, NOW, NOW)
    card = fsrs.Card(card_id=1, state=fsrs.State.Review, stability=stability, difficulty=5.0, last_review=NOW)
    theirs = fsrs.Scheduler().get_card_retrievability(card, NOW + days * DAY)
    assert retrievability(memory, NOW + days * DAY) == pytest.approx(theirs)


@given(STEPS)
def test_no_jump_of_the_clock_loses_or_negates_an_interval(steps: list[tuple[int, timedelta]]) -> None:
    memory, now = new_memory(NOW), NOW
    for rating, jump in steps:
        now += jump
        before, choices = memory, previews(memory, now)
        memory = review(memory, rating, now).memory
        assert memory.last_review is not None
        assert memory.due > memory.last_review >= now
        assert before.last_review is None or memory.last_review >= before.last_review
        assert memory.stability is not None
        assert memory.stability > 0
        assert memory.difficulty is not None
        assert 1 <= memory.difficulty <= 10
        assert memory.due - max(now, before.last_review or now) == choices[list(choices)[rating - 1]]
        assert timedelta(0) < choices["again"] <= choices["hard"] <= choices["good"] <= choices["easy"]
        assert 0 < retrievability(memory, now) <= 1


@given(STEPS)
def test_replaying_a_log_is_reviewing_step_by_step(steps: list[tuple[int, timedelta]]) -> None:
    memory, lapses, now, log = new_memory(NOW), 0, NOW, []
    for rating, jump in steps:
        now += jump
        log.append((rating, now))
        reviewed = review(memory, rating, now)
        memory, lapses = reviewed.memory, lapses + reviewed.lapsed
    assert replay(log, NOW) == (memory, lapses)


def test_daylight_saving_changes_no_interval() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    evening = datetime(2026, 3, 28, 20, 0, tzinfo=berlin)  # the night has 23 hours
    after = review(LEARNED, 3, evening).memory
    assert after == review(LEARNED, 3, evening.astimezone(UTC)).memory
    assert after.due.tzinfo is UTC
    # 23 h 30 min later is less than a day, though the wall clock shows half an hour more than one
    assert retrievability(after, datetime(2026, 3, 29, 20, 30, tzinfo=berlin)) == pytest.approx(
        retrievability(after, evening.astimezone(UTC) + timedelta(hours=23, minutes=30))
    )


@pytest.mark.parametrize("rating", [0, 5])
def test_what_makes_no_sense_is_refused(rating: int) -> None:
    with pytest.raises(ValueError, match="a rating is 1"):
        review(LEARNED, rating, NOW)
    naive = NOW.replace(tzinfo=None)
    for call in (
        lambda: new_memory(naive),
        lambda: review(LEARNED, 3, naive),
        lambda: retrievability(LEARNED, naive),
    ):
        with pytest.raises(ValueError, match="without time zone"):
            call()


def test_a_card_whose_memory_was_lost_starts_anew() -> None:
    lost = Memory(state=2, step=None, stability=None, difficulty=None, due=NOW, last_review=None)
    assert review(lost, 3, NOW).memory.state == 1


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (-5, "now"), (0, "now"), (0.2, "1 min"), (10, "10 min"), (59.7, "1 h"), (330, "6 h"), (1430, "1 d"),
        (8 * 1440, "8 d"), (29.6 * 1440, "1 mo"), (91 * 1440, "3 mo"), (365.25 * 1440, "1 y"), (550 * 1440, "1.5 y"),
    ],
)  # fmt: skip
def test_intervals_read_as_learners_say_them(minutes: float, text: str) -> None:
    assert scheduling.interval_text(timedelta(minutes=minutes)) == text


@pytest.mark.parametrize(
    ("verdict", "hints", "unknown", "rating"),
    [
        ("correct", 0, False, 3), ("correct", 1, False, 3), ("correct", 2, False, 2), ("correct", 3, False, 2),
        ("partial", 0, False, 2), ("incorrect", 0, False, 1), ("incorrect", 0, True, 1), ("correct", 0, True, 1),
    ],
)  # fmt: skip
def test_what_an_answer_earns(verdict: str, hints: int, unknown: bool, rating: int) -> None:
    assert scheduling.rating_for(verdict, hints, unknown) == rating


def test_the_fourth_lapse_makes_a_leech() -> None:
    assert [scheduling.is_leech(lapses) for lapses in (0, 3, 4, 5)] == [False, False, True, True]
