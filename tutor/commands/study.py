"""`history`: what was read, asked and answered, by day. `due`: the review cards that wait."""

from __future__ import annotations

import os
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutor.commands.common import Run, command, note
from tutor.wire import Json
from tutor.wire_study import attempt_json, due_json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    command(app, "history")(history)
    command(app, "due")(due)


def history(
    run: Run,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many days back.")] = 30,
    limit: Annotated[
        int, typer.Option(min=1, max=10000, help="How many questions and answers at most.")
    ] = 50,
) -> None:
    """Show pages read, questions asked and answered, and time spent, by day."""
    from tutor.services import learner_session

    settings = run.load()
    zone = local_zone()
    with learner_session(settings, readonly=True) as (session, learner_id):
        found = history_json(session, learner_id, zone=zone, now=datetime.now(zone), days=days, limit=limit)
    if run.json:
        run.emit({"learner": settings.learner} | found)
        return
    if not any(found[part] for part in ("days", "questions", "pages", "attempts")):
        note(f"Nothing yet in the last {days} days. Start reading with: study-tutor serve")
        return
    columns = ("day", "minutes", "pages", "sections", "questions", "answers", "reviews", "ratings")
    run.table(columns, [[day[column] for column in columns] for day in found["days"]])
    if found["pages"]:
        run.say("\nPages")
        run.table(
            ("page", "sections read", "minutes", "last read"),
            [
                [page["page"], page["sections_read"], page["minutes"], page["last_at"][:10]]
                for page in found["pages"]
            ],
        )
    if found["questions"]:
        run.say("\nQuestions, newest first")
        for item in found["questions"]:
            run.say(f"{_minute(item)}  [{item['status']}] {item['question']}")
    if found["attempts"]:
        run.say("\nAnswers, newest first")
        for item in found["attempts"]:
            run.say(f"{_minute(item)}  [{item['counted']}] {item['page']}: {item['question']}")


def history_json(
    session: Session, learner_id: int, *, zone: tzinfo, now: datetime, days: int, limit: int
) -> Json:
    """The study history as `history --json` prints it; times are ISO 8601 in `zone`, days are days there."""
    from db.conversations import recent_turns
    from db.quizzes import attempts
    from db.study import daily_totals, last_reading, reading_progress
    from tutor.socratic import is_held

    first_day = now.astimezone(zone).date() - timedelta(days=days - 1)
    since = datetime.combine(first_day, time(), tzinfo=zone).astimezone(UTC)
    pages: dict[str, list[Any]] = {}
    for section in reading_progress(session, learner_id):
        pages.setdefault(section.page, []).append(section)
    last = last_reading(session, learner_id)

    def local(at: datetime) -> str:
        return at.astimezone(zone).isoformat(timespec="seconds")

    return {
        "since": first_day.isoformat(),
        "days": [
            {
                "day": total.day.isoformat(),
                "minutes": round(total.seconds / 60, 1),
                "pages": total.pages,
                "sections": total.sections,
                "questions": total.questions,
                "answers": total.answers,
                "reviews": total.reviews,
                "ratings": total.ratings,
            }
            for total in daily_totals(session, learner_id, tz=zone, since=since)
        ],
        "pages": [
            {
                "page": page,
                "sections_read": sum(section.read for section in sections),
                "sections_seen": len(sections),
                "minutes": round(sum(section.seconds for section in sections) / 60, 1),
                "first_at": local(min(section.first_at for section in sections)),
                "last_at": local(max(section.last_at for section in sections)),
            }
            for page, sections in pages.items()
        ],
        "last_read": last and {"page": last.page, "section": last.section, "at": local(last.last_at)},
        "questions": [
            {
                "turn_id": turn.id,
                "conversation_id": turn.conversation_id,
                "at": local(turn.created_at),
                "question": turn.question,
                "answer": "" if is_held(turn) else turn.answer,
                "status": turn.status,
            }
            for turn in recent_turns(session, learner_id, limit, since=since)
        ],
        "attempts": [
            {"at": local(attempt.created_at)} | attempt_json(attempt)
            for attempt in attempts(session, learner_id, since=since, limit=limit)
        ],
    }


def due(
    run: Run,
    limit: Annotated[int, typer.Option(min=1, max=10000, help="How many cards at most.")] = 50,
    answers: Annotated[bool, typer.Option("--answers", help="Show the back of each card too.")] = False,
) -> None:
    """Show the review cards that are due, the longest overdue first."""
    from tutor.cards import Cards
    from tutor.services import learner_database

    with learner_database(run.load()) as (database, learner_id):
        found = due_json(Cards(database, learner_id).due(limit), backs=answers)
    if run.json:
        run.emit(found)
        return
    if not found["cards"]:
        later = f" The next card is due at {_here(found['next_due'])}." if found["next_due"] else ""
        note(f"Nothing is due.{later}")
        return
    for card in found["cards"]:
        run.say(f"{_here(card['due'])}  {card['page'] or 'own card'}: {card['front']}")
        if answers:
            run.say(f"{'':18}{card['back']}")
    run.say(f"\n{found['total']} due")


def local_zone() -> tzinfo:
    """This machine's time zone, with its rules for summer time where they can be found."""
    from zoneinfo import ZoneInfo

    place = str(Path("/etc/localtime").resolve())
    name = os.environ.get("TZ") or place.partition("zoneinfo/")[2]
    try:
        return ZoneInfo(name.removeprefix(":"))
    except (OSError, ValueError):  # unknown, or none: today's offset must do
        return datetime.now().astimezone().tzinfo or UTC


def _here(at: str) -> str:
    """A wire time as the clock on the wall shows it, to the minute."""
    return datetime.fromisoformat(at).astimezone(local_zone()).isoformat(" ", "minutes")[:16]


def _minute(item: Json) -> str:
    return str(item["at"])[:16].replace("T", " ")
