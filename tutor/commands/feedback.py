"""`feedback list|import|export|remove|opt-out|opt-in`: ratings and corrections, and whether they may be trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutor import failures
from tutor.commands.common import Run, command, note, open_lines, write_file
from tutor.wire import FeedbackLine, InputError, Json, feedback_from_json, read_objects, to_line

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.feedback import Feedback


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    feedback = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    command(feedback, "list")(feedback_list)
    command(feedback, "import")(feedback_import)
    command(feedback, "export")(feedback_export)
    command(feedback, "remove")(feedback_remove)
    command(feedback, "opt-out")(opt_out)
    command(feedback, "opt-in")(opt_in)
    app.add_typer(feedback, name="feedback", help="Ratings and corrections, and their use in training.")


def feedback_list(run: Run) -> None:
    """List ratings and corrections, and what became of each."""
    rows = _feedback(run)
    if run.json:
        run.emit([_listed(row) for row in rows])
    elif rows:
        columns = ("id", "rating", "reason", "question", "correction", "fate", "data set", "adapter")
        run.table(
            columns,
            [
                [
                    *(row.id, row.rating, row.reason or "", row.question[:60], (row.correction or "")[:60]),
                    *(row.fate, row.dataset_id or "", row.adapter or ""),
                ]
                for row in rows
            ],
        )
    else:
        note("No feedback yet.")


def feedback_export(
    run: Run, file: Annotated[Path, typer.Argument(help='JSON Lines file to write; "-" is stdout.')]
) -> None:
    """Write ratings and corrections as JSON Lines."""
    lines = [to_line(feedback_json(row)) + "\n" for row in _feedback(run)]
    write_file(file, "".join(lines).encode(), force=True)
    if str(file) == "-":
        return
    if run.json:
        run.emit({"exported": len(lines), "path": str(file)})
    else:
        run.say(f"{len(lines)} exported to {file}")


def feedback_import(
    run: Run, file: Annotated[Path, typer.Argument(help='JSON Lines file to read; "-" is stdin.')]
) -> int:
    """Read ratings and corrections; reading a file twice changes nothing."""
    from tutor.services import learner_session

    settings = run.load()
    with open_lines(file) as lines, learner_session(settings) as (session, learner_id):
        report = import_lines(session, learner_id, lines)
    rejected = report["rejected"]
    if run.json:
        run.emit(report)
    else:
        run.say(f"{report['imported']} imported, {report['unchanged']} unchanged, {len(rejected)} rejected")
        for item in rejected:
            note(f" rejected  line {item['line']}: {item['reason']}")
    return failures.BAD_INPUT if rejected else failures.DONE


def feedback_remove(
    run: Run, number: Annotated[int, typer.Argument(help="Its id, see `feedback list`.", show_default=False)]
) -> None:
    """Delete one rating for good; data sets and adapters made from it are marked."""
    from db.errors import NotFound
    from db.feedback import delete_feedback, list_feedback
    from tutor.services import learner_session

    with learner_session(run.load()) as (session, learner_id):
        mine = number in [row.id for row in list_feedback(session, learner_id=learner_id)]
        if not mine or not delete_feedback(session, number):
            raise NotFound(f"There is no feedback {number}; see: study-tutor feedback list")
    if run.json:
        run.emit({"removed": number})
    else:
        run.say(f"feedback {number} is removed")


def opt_out(run: Run) -> None:
    """Keep your ratings out of training; data sets and adapters made from them are marked."""
    _opt(run, out=True)


def opt_in(run: Run) -> None:
    """Let your ratings be used for training (again)."""
    _opt(run, out=False)


def _opt(run: Run, *, out: bool) -> None:
    from db.feedback import set_opt_out
    from tutor.services import learner_session

    with learner_session(run.load()) as (session, learner_id):
        number = set_opt_out(session, learner_id, out)
    if run.json:
        run.emit({"opted_out": out, "concerned": number})
    else:
        state = "are kept out of training" if out else "may be used for training"
        run.say(f"your ratings {state} from now on ({number} so far)")


def import_lines(session: Session, learner_id: int, lines: Iterable[bytes]) -> Json:
    """Save every line that can be used; {imported, unchanged, rejected: [{line, reason}]}."""
    from db.errors import NotFound
    from db.feedback import list_feedback

    before = {row.id: row for row in list_feedback(session, learner_id=learner_id)}
    said = {_content(row, row.turn_id) for row in before.values()}
    counts = {"imported": 0, "unchanged": 0}
    rejected: list[Json] = []
    for number, value in read_objects(lines):
        try:
            if isinstance(value, InputError):
                raise value
            line = feedback_from_json(value)
        except InputError as error:
            rejected.append({"line": number, "reason": str(error).removeprefix(f"line {number}: ")})
            continue
        turn_id = _our_turn(session, learner_id, line)
        if _content(line, turn_id) in said:
            counts["unchanged"] += 1
            continue
        try:
            row = _save(session, learner_id, line, turn_id)
        except (ValueError, NotFound) as error:  # such as a request_id that is too long
            rejected.append({"line": number, "reason": str(error)})
            continue
        counts["unchanged" if before.get(row.id) == row else "imported"] += 1
        before[row.id] = row
        said.add(_content(row, row.turn_id))
    return {**counts, "rejected": rejected}


def feedback_json(row: Feedback) -> Json:
    """One line of a feedback file; keys without a value are left out."""
    line = {
        "request_id": row.request_id,
        "turn_id": row.turn_id,
        "question": row.question,
        "answer": row.answer,
        "messages": list(row.messages) if row.messages else None,
        "rating": row.rating,
        "correction": row.correction,
        "comment": row.comment,
        "reason": row.reason,
    }
    return {key: value for key, value in line.items() if value is not None}


def _feedback(run: Run) -> list[Feedback]:
    from db.feedback import list_feedback
    from tutor.services import learner_session

    with learner_session(run.load(), readonly=True) as (session, learner_id):
        return sorted(list_feedback(session, learner_id=learner_id), key=lambda row: row.id)


def _listed(row: Feedback) -> Json:
    fate: Json = {"fate": row.fate, "fate_reason": row.fate_reason}
    fate |= {"dataset_id": row.dataset_id, "adapter": row.adapter}
    times = {"created_at": row.created_at.isoformat(), "updated_at": row.updated_at.isoformat()}
    return {"id": row.id, **feedback_json(row), **fate, **times}


def _our_turn(session: Session, learner_id: int, line: FeedbackLine) -> int | None:
    """The line's turn, if it is ours: the file may come from another home, where turn 5 is another one."""
    from db.conversations import get_turn

    turn = None if line.turn_id is None else get_turn(session, line.turn_id)
    ours = turn is not None and turn.learner_id == learner_id
    same = turn is not None and (turn.question, turn.answer) == (line.question, line.answer)
    return line.turn_id if ours and same else None


def _content(said: Feedback | FeedbackLine, turn_id: int | None) -> tuple[str | int | None, ...]:
    more = (said.correction or None, said.comment or None, *([said.reason] if said.reason else ()))
    return (turn_id, said.question, said.answer, said.rating, *more)


def _save(session: Session, learner_id: int, line: FeedbackLine, turn_id: int | None) -> Feedback:
    from db.feedback import save_feedback

    digest = hashlib.sha256(repr((learner_id, *_content(line, line.turn_id))).encode()).hexdigest()
    return save_feedback(
        session,
        learner_id,
        question=line.question,
        answer=line.answer,
        rating=line.rating,
        turn_id=turn_id,
        messages=None if line.messages is None else [dict(message) for message in line.messages],
        correction=line.correction,
        comment=line.comment,
        reason=line.reason,
        request_id=line.request_id or f"import-{digest[:32]}",
    )
