"""The study record: progress adds up, days are the learner's own days, times are aware."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from db import conversations, feedback, study
from db.session import Database
from db.study import DayTotal, SectionRead


@pytest.fixture
def me(database: Database) -> int:
    with database.session() as session:
        return study.learner(session, "me").id


def _utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def test_a_learner_is_made_once_even_by_rivals(database: Database) -> None:
    barrier, ids = threading.Barrier(6), []

    def enter() -> None:
        barrier.wait()
        with database.session() as session:
            ids.append(study.learner(session, "🙂 \0").id)

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6
    assert len(set(ids)) == 1
    with database.session(readonly=True) as session:
        assert study.learner(session, "🙂 \0").name == "🙂 \ufffd"
    with pytest.raises(ValueError, match="name"), database.session() as session:
        study.learner(session, "")


def test_reading_adds_up_and_read_sticks(database: Database, me: int) -> None:
    noon = _utc(2025, 3, 1, 12)
    with database.session() as session:
        assert study.last_reading(session, me) is None
        study.record_reading(session, me, "tokens", "intro", seconds=20, read=False, at=noon)
        study.record_reading(
            session, me, "tokens", "intro", seconds=15, read=True, at=noon + timedelta(minutes=1)
        )
        study.record_reading(
            session, me, "loss", "top", seconds=5, read=False, at=noon + timedelta(minutes=2)
        )
        study.record_reading(
            session, me, "tokens", "intro", seconds=4, read=False, at=noon - timedelta(hours=1)
        )
    with database.session(readonly=True) as session:
        intro = SectionRead("tokens", "intro", 39.0, _utc(2025, 3, 1, 11), _utc(2025, 3, 1, 12, 1), True)
        top = SectionRead("loss", "top", 5.0, _utc(2025, 3, 1, 12, 2), _utc(2025, 3, 1, 12, 2), False)
        assert study.reading_progress(session, me) == [intro, top]
        assert study.reading_progress(session, me, "loss") == [top]
        assert study.last_reading(session, me) == top
        assert study.reading_progress(session, me + 1) == []
        finished = study.events(session, me, kinds={study.SECTION_READ})
        assert [(event.page, event.ref, event.at) for event in finished] == [
            ("tokens", "intro", intro.last_at)
        ]


def test_reading_ticks_within_a_quarter_hour_are_one_event(database: Database, me: int) -> None:
    with database.session() as session:
        for minute in (0, 7, 14, 15, 29):
            at = _utc(2025, 3, 1, 12, minute, 59)
            study.record_reading(session, me, "tokens", "intro", seconds=10, read=False, at=at)
        found = study.events(session, me, kinds=[study.READING])
    assert [(event.at.minute, event.seconds) for event in found] == [(15, 20.0), (0, 30.0)]


def test_a_pages_reading_can_be_forgotten(database: Database, me: int) -> None:
    noon = _utc(2025, 3, 1, 12)
    with database.session() as session:
        for page, section in (("tokens", "a"), ("tokens", "b"), ("loss", "a")):
            study.record_reading(session, me, page, section, seconds=9, read=True, at=noon)
        asked = study.record_event(session, me, "chat", page="tokens", at=noon)
        assert study.delete_reading(session, me + 1, "tokens") == 0
        assert study.delete_reading(session, me, "tokens") == 2
        assert study.delete_reading(session, me, "tokens") == 0
        assert [section.page for section in study.reading_progress(session, me)] == ["loss"]
        left = [(event.kind, event.page) for event in study.events(session, me)]
    assert asked.page == "tokens"
    assert sorted(left) == [("chat", "tokens"), ("reading", "loss"), ("section_read", "loss")]


def test_events_are_filtered_by_time_and_kind(database: Database, me: int) -> None:
    day = _utc(2025, 3, 1)
    with database.session() as session:
        for hour, kind in ((1, "quiz"), (2, "chat"), (3, "quiz")):
            at = (day + timedelta(hours=hour)).astimezone(timezone(timedelta(hours=5, minutes=45)))
            study.record_event(session, me, kind, page="p", data={"n": hour}, seconds=2.5, at=at)
        now = study.record_event(session, me, "chat", ref="\0🙂")
    assert now.ref == "\ufffd🙂"
    assert abs(datetime.now(UTC) - now.at) < timedelta(minutes=1)
    with database.session(readonly=True) as session:

        def hours(**more: object) -> list[int]:
            found = study.events(session, me, until=_utc(2025, 3, 2), **more)  # type: ignore[arg-type]
            assert all(event.at.tzinfo is UTC for event in found)
            return [event.data["n"] for event in found]

        assert hours() == [3, 2, 1]
        assert hours(kinds=["quiz"]) == [3, 1]
        assert hours(kinds=[]) == []
        assert hours(since=_utc(2025, 3, 1, 2)) == [3, 2]
        assert hours(limit=1) == [3]
        assert [event.data["n"] for event in study.events(session, me, until=_utc(2025, 3, 1, 3))] == [2, 1]


def test_days_are_the_learners_own_across_midnight_and_clock_changes(database: Database, me: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")  # on 30 March 2025 the clock jumps from 02:00 (+1) to 03:00 (+2)
    with database.session() as session:
        for at in (
            _utc(2025, 3, 29, 22, 59),  # 23:59 on the 29th
            _utc(2025, 3, 29, 23, 0),  # midnight: the 30th
            _utc(2025, 3, 30, 21, 59),  # 23:59 on the 30th, which had 23 hours
            _utc(2025, 3, 30, 22, 0),  # the 31st
        ):
            study.record_reading(session, me, "tokens", "intro", seconds=60, read=True, at=at)
        study.record_reading(session, me, "loss", "top", seconds=30, read=True, at=_utc(2025, 3, 30, 1, 0))
        study.record_event(
            session, me, "quiz", page="loss", seconds=9, at=_utc(2025, 10, 26, 0, 30)
        )  # 02:30 +2
        study.record_event(
            session, me, "quiz", page="loss", seconds=9, at=_utc(2025, 10, 26, 1, 30)
        )  # 02:30 +1
    with database.session(readonly=True) as session:
        totals = study.daily_totals(session, me, tz=berlin)
        in_utc = study.daily_totals(session, me, tz=UTC)
        later = study.daily_totals(session, me, tz=berlin, since=_utc(2025, 3, 30, 22, 0))
        assert study.daily_totals(session, me + 1, tz=UTC) == []
    assert totals == [
        DayTotal(date(2025, 3, 29), 60.0, 1, 1, 0, 0),
        DayTotal(date(2025, 3, 30), 150.0, 2, 1, 0, 0),
        DayTotal(date(2025, 3, 31), 60.0, 1, 0, 0, 0),
        DayTotal(date(2025, 10, 26), 18.0, 1, 0, 0, 0),
    ]
    assert [(total.day.day, total.seconds) for total in in_utc] == [(29, 120.0), (30, 150.0), (26, 18.0)]
    assert later == totals[2:]


def test_questions_and_ratings_are_counted_retries_are_not(database: Database, me: int) -> None:
    with database.session() as session:
        conversation = conversations.create_conversation(session, me)
        asked = conversations.start_turn(session, conversation.id, "A?")
        conversations.start_turn(session, conversation.id, "A, again?", replaces=asked.id)
        conversations.start_turn(session, conversation.id, "B?")
        for rating in ("up", "down"):  # the second changes the first
            feedback.save_feedback(session, me, question="A?", answer="", rating=rating, turn_id=asked.id)
        conversations.delete_conversation(session, conversation.id)
        today = asked.created_at.date()
        session.execute(text("UPDATE turns SET created_at = (SELECT min(created_at) FROM turns)"))
        session.execute(text("UPDATE feedback SET created_at = (SELECT min(created_at) FROM turns)"))
        totals = study.daily_totals(session, me, tz=UTC)
    assert totals == [DayTotal(today, 0.0, 0, 0, 2, 1)]


def test_naive_times_and_impossible_seconds_are_refused(database: Database, me: int) -> None:
    naive = datetime(2025, 3, 1)
    with database.session() as session:
        for call in (
            lambda: study.record_event(session, me, "quiz", at=naive),
            lambda: study.record_reading(session, me, "p", "s", seconds=1, read=True, at=naive),
            lambda: study.events(session, me, since=naive),
            lambda: study.daily_totals(session, me, tz=UTC, since=naive),
            lambda: conversations.recent_turns(session, me, 5, naive),
        ):
            with pytest.raises(ValueError, match="time zone"):
                call()
        for seconds in (-1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="seconds"):
                study.record_event(session, me, "quiz", seconds=seconds)
        assert study.events(session, me) == []
        assert study.reading_progress(session, me) == []
