"""Days that count, streaks, the heatmap and accuracy by week."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from db.quizzes import Attempt
from db.session import Database
from db.study import DayTotal, daily_totals, learner, record_event
from tutor.activity import Streak, WeekAccuracy, accuracy, counts, streak, weeks

TODAY = date(2026, 11, 22)  # a Sunday
DAY = timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")


def _day(day: date, seconds: float = 0, questions: int = 0, answers: int = 0, reviews: int = 0) -> DayTotal:
    return DayTotal(day, seconds, 1, 0, questions, 0, answers, reviews)


def _good(*ages: int) -> list[DayTotal]:
    return [_day(TODAY - age * DAY, seconds=300) for age in ages]


def test_a_day_counts_from_five_minutes_or_three_answers_on() -> None:
    assert counts(_day(TODAY, seconds=300))
    assert not counts(_day(TODAY, seconds=299, answers=2))
    assert counts(_day(TODAY, questions=1, answers=1, reviews=1))


def test_a_streak_outlives_a_today_that_has_not_begun_but_no_gap() -> None:
    assert streak(_good(0, 1, 2), TODAY) == Streak(3, 3, today_counts=True)
    assert streak(_good(1, 2), TODAY) == Streak(2, 2, today_counts=False)
    assert streak(_good(2, 3, 4), TODAY) == Streak(0, 3, today_counts=False)
    assert streak([*_good(0, 2, 3), _day(TODAY - DAY, seconds=60)], TODAY) == Streak(1, 2, today_counts=True)
    assert streak([], TODAY) == Streak(0, 0, today_counts=False)
    assert streak(_good(-1, -2), TODAY) == Streak(0, 0, today_counts=False)  # a clock was set wrong


@given(st.sets(st.integers(0, 40)))
def test_the_streak_is_the_run_of_days_that_ends_today_or_yesterday(ages: set[int]) -> None:
    found = streak(_good(*ages), TODAY)
    first = 0 if 0 in ages else 1
    assert found.current == next(n for n in range(43) if first + n not in ages)
    assert found.current <= found.longest <= len(ages)
    assert found.today_counts == (0 in ages)


@given(
    start=st.sampled_from([date(2026, 3, 27), date(2026, 10, 23), date(2026, 11, 10)]),
    hours=st.lists(st.integers(0, 23), min_size=5, max_size=5),
    missing=st.integers(0, 9),
)
def test_a_streak_in_berlin_survives_the_nights_of_23_and_25_hours(
    start: date, hours: list[int], missing: int
) -> None:
    studied = [day for day in range(5) if day != missing]
    moments = [datetime.combine(start + day * DAY, time(hours[day], 30), tzinfo=BERLIN) for day in studied]
    totals = [_day(moment.astimezone(UTC).astimezone(BERLIN).date(), seconds=400) for moment in moments]
    gap = missing if missing < 5 else -1
    expected = 4 - gap if gap != 4 else 4
    assert streak(totals, start + 4 * DAY).current == (5 if gap == -1 else expected)


def test_days_from_the_database_fall_on_the_learners_calendar_across_daylight_saving(
    database: Database,
) -> None:
    with database.session() as session:
        me = learner(session, "local").id
        for day, hour in ((24, 23), (25, 1), (25, 23), (26, 0)):  # clocks go back in the night to the 25th
            at = datetime(2026, 10, day, hour, 30, tzinfo=BERLIN)
            record_event(session, me, "reading", page="p.md", seconds=300, at=at)
        days = daily_totals(session, me, tz=BERLIN)
    assert [(day.day.day, day.seconds) for day in days] == [(24, 300), (25, 600), (26, 300)]
    assert streak(days, date(2026, 10, 26)).current == 3


def test_the_heatmap_is_whole_weeks_from_monday_to_the_week_of_today() -> None:
    saturday = date(2026, 11, 21)
    totals = [
        _day(date(2026, 11, 9), seconds=10),
        _day(date(2026, 11, 10), seconds=300),
        _day(date(2026, 11, 11), answers=9),
        _day(date(2026, 11, 12), seconds=1800),
        _day(date(2026, 11, 22), seconds=9999),  # after today
    ]
    grid = weeks(totals, saturday, n=2)
    assert [len(week) for week in grid] == [7, 7]
    assert grid[0][0].day == date(2026, 11, 9)
    assert grid[-1][-1].day == date(2026, 11, 22)
    assert [cell.level for cell in grid[0]] == [1, 2, 3, 4, 0, 0, 0]
    assert {cell.level for cell in grid[1]} == {0}
    assert grid[0][1].total == totals[1]
    assert grid[1][6].total is None


def test_accuracy_counts_the_verdict_that_holds_in_the_learners_own_week() -> None:
    late_sunday = datetime(2026, 11, 15, 23, 30, tzinfo=UTC)  # Monday the 16th in Berlin
    given = [
        _attempt(late_sunday, "correct"),
        _attempt(late_sunday, "incorrect", override="partial"),
        _attempt(datetime(2026, 11, 9, 12, tzinfo=UTC), "incorrect"),
        _attempt(datetime(2026, 11, 9, 12, tzinfo=UTC), "correct", deleted=True),
        _attempt(datetime(2026, 8, 1, tzinfo=UTC), "correct"),
    ]
    assert accuracy(given, BERLIN, TODAY, weeks=3) == [
        WeekAccuracy(date(2026, 11, 2), 0, 0, 0),
        WeekAccuracy(date(2026, 11, 9), 0, 0, 1),
        WeekAccuracy(date(2026, 11, 16), 1, 1, 0),
    ]


def _attempt(at: datetime, verdict: str, override: str | None = None, deleted: bool = False) -> Attempt:
    return Attempt(
        id=1,
        learner_id=1,
        request_id=None,
        quiz_id=None,
        page="p.md",
        question_key="p.md#q-1",
        question="Why?",
        reference="Because.",
        answer="So.",
        verdict=verdict,
        score=0.5,
        key_points=[],
        concepts=["token"],
        grader="test",
        hints=0,
        seconds=1.0,
        override_verdict=override,
        override_reason=None,
        overridden_at=at if override else None,
        deleted_at=at if deleted else None,
        created_at=at,
    )
