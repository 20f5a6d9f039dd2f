"""Everything of the learner's as a file, back from it, and gone: the routes, and their place on the History page.

What belongs to a learner is `db.portable`'s, what the files look like `tutor.exporting`'s. Other sites' POSTs are
turned away by `guard.py` before they get here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool

from tutor import exporting
from tutor.ui.calls import OUR_FAULT, told
from tutor.ui.guard import same_site
from tutor.ui.markup import count, esc, join, url

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tutor.services import Services

MAX_RESTORE_BYTES = 20_000_000
MAX_WORD_BYTES = 1000
CONFIRM = "delete my data"
_FORMATS = (
    ("json", "JSON", "everything; can be restored"),
    ("csv", "CSV", "a zip of tables for a spreadsheet"),
    ("anki", "Anki", "your cards as a deck"),
)
_TABLES = {
    "conversations": "conversation",
    "turns": "question",
    "feedback": "rating",
    "reading": "section",
    "quizzes": "quiz",
    "attempts": "answer",
    "cards": "card",
    "reviews": "review",
    "events": "event",
}


def section() -> str:
    """Export, restore and delete as HTML."""
    exports = join(
        f'<li><a class="button quiet" href="./download?format={key}" download>{name}</a>'
        f'<span class="hint">{what}</span></li>'
        for key, name, what in _FORMATS
    )
    return (
        "<p>Everything you did here is kept on this machine only, and is yours. Whether your ratings may be used to "
        f'train the tutor, you say on the page <a href="{esc(url("improve"))}">Improve</a>.</p>'
        f'<h3>Export</h3><ul class="exports">{exports}</ul>'
        '<h3>Restore</h3><form class="data-form" data-do="restore-file"><label for="restore-file">A JSON export. What '
        "it holds is added; what is here already stays as it is.</label>"
        '<input class="field" type="file" id="restore-file" name="file" accept=".json,application/json" required>'
        '<button type="submit" class="button quiet">Restore</button><p class="status" role="status"></p></form>'
        f'<h3>Delete</h3><form class="data-form" data-do="forget" data-confirm="{CONFIRM}"><label for="forget-word">'
        "Reading, answers, cards, conversations and ratings are deleted for good. Export first if in doubt. "
        "What was trained on your ratings is marked for retraining. "
        f"Then type <strong>{CONFIRM}</strong> to confirm.</label>"
        '<input class="field" id="forget-word" name="confirm" autocomplete="off" autocapitalize="none" '
        'spellcheck="false"><button type="submit" class="button quiet danger" disabled>Delete my data</button>'
        '<p class="status" role="status"></p></form>'
    )


def add_routes(app: FastAPI, services: Services) -> None:
    """GET /download?format=json|csv|anki, POST /restore (a JSON export), POST /forget ({"confirm": CONFIRM})."""

    @app.get("/download")
    def download(request: Request, format: str = "json") -> Response:
        if not same_site(request.headers):
            return PlainTextResponse("This request came from another site.", status_code=403)
        if format not in exporting.FORMATS:
            known = ", ".join(exporting.FORMATS)
            return PlainTextResponse(f"The format is one of {known}.", status_code=422)
        with services.database.session(readonly=True) as session:
            made = exporting.make_export(session, services.learner_id, format, datetime.now(UTC))
        headers = {
            "Content-Disposition": f'attachment; filename="{made.filename}"',
            "Cache-Control": "no-store",
        }
        return Response(made.data, media_type=made.media_type, headers=headers)

    @app.post("/restore")
    async def restore(request: Request) -> JSONResponse:
        raw = await _body(request, MAX_RESTORE_BYTES)
        if raw is None:
            most = MAX_RESTORE_BYTES // 1_000_000
            return _answer({"error": f"A file of more than {most} MB is no export of this program."}, 413)
        return await _work(lambda: _restore(services, raw))

    @app.post("/forget")
    async def forget(request: Request) -> JSONResponse:
        raw = await _body(request, MAX_WORD_BYTES)
        return await _work(lambda: _forget(services, raw or b""))


def _restore(services: Services, raw: bytes) -> dict[str, Any]:
    from db.portable import import_learner
    from tutor.commands.data import parse_export

    data = parse_export(raw, "this file")
    with services.database.session() as session:
        added = import_learner(session, services.learner_id, data)
    return {
        "added": added,
        "told": f"Restored: {_counted(added) or 'nothing new; all of it was here already'}.",
    }


def _forget(services: Services, raw: bytes) -> dict[str, Any]:
    from db.portable import delete_learner_data
    from tutor.commands.data import parse_export
    from tutor.lab_bench import bench_file

    sent = parse_export(raw, "this request")
    if not isinstance(sent, dict) or sent.get("confirm") != CONFIRM:
        return {"error": f"Type “{CONFIRM}” to confirm. Nothing was deleted."}
    with services.database.session() as session:
        deleted = delete_learner_data(session, services.learner_id)
    bench_file(services.settings.home, services.learner_id).unlink(missing_ok=True)
    return {"deleted": deleted, "told": f"Deleted: {_counted(deleted) or 'there was nothing'}."}


async def _work(work: Callable[[], dict[str, Any]]) -> JSONResponse:
    found = await run_in_threadpool(told, work)
    status = 200 if "error" not in found else 500 if found["error"] == OUR_FAULT else 422
    return _answer(found, status)


def _answer(found: dict[str, Any], status: int) -> JSONResponse:
    return JSONResponse(found, status_code=status, headers={"Cache-Control": "no-store"})


async def _body(request: Request, most: int) -> bytes | None:
    """The body, or None as soon as it is more than `most` bytes."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


def _counted(rows: Mapping[str, int]) -> str:
    named = [(_TABLES.get(table, table), number) for table, number in rows.items() if number]
    return ", ".join(count(number, one, "quizzes" if one == "quiz" else None) for one, number in named)
