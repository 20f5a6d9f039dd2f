"""The Improve page: what the browser may ask for, and the routes of reports. Its looks: `improve_view.py` and its kin.

What the browser may do is a method each, with the one value it sent; each answers with parts to draw or {error}.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from db.errors import NotFound
from tutor.improve import Improve, Overview
from tutor.ui import (
    improve_job_view,
    improve_queue_view,
    improve_report_view,
    improve_view,
    improve_vote_view,
    layout,
)
from tutor.ui.calls import UNREADABLE, number_of, text_of, told, value

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tutor.services import Services

PREVIEW_WAIT_S = (
    2.0  # a call that the browser repeats as long as the answer is not there; short, so that the app can end
)
MAX_REPORT_BYTES = 2_000_000
MAX_EXPORT_BYTES = 256 * 1024**2
MAX_MINUTES = 24 * 60


class ImprovePage:
    """Handlers of the Improve page."""

    def __init__(self, services: Services) -> None:
        self.improve = Improve(services.database, services.settings, services.learner_id)
        self._tutor = services.tutor
        self._generators = services.generators

    def stop(self) -> None:
        """The app ends; a training goes on."""
        self.improve.close()

    def build(self, blocks: gr.Blocks) -> None:
        """Lay the page out and connect it."""
        layout.header("Improve")
        calls = [
            self.parts,
            self.fingerprint,
            self.preview,
            self.start,
            self.cancel,
            self.resume,
            self.promote,
            self.rollback,
            self.undo,
            self.opt_out,
            self.vote,
            self.ballot,
        ]
        body = layout.surface("improve", "improve", calls)
        blocks.load(self.open, outputs=body, queue=False, show_progress="hidden", api_visibility="private")

    def add_routes(self, app: FastAPI) -> None:
        """GET /improve/report/NAME (a page), GET /improve/export/NAME (the adapter's folder as a zip)."""
        app.add_api_route("/improve/report/{name}", self.report, methods=["GET"], response_model=None)
        app.add_api_route("/improve/export/{name}", self.export, methods=["GET"], response_model=None)

    def open(self) -> str:
        """The page as it is now."""
        return improve_view.page(self._drawn(self.improve.overview()))

    def parts(self, sent: Any) -> dict[str, Any]:
        """{known: {part: digest}} -> {parts: {part: {html, digest}} of those that differ, busy, stage}."""
        return self._after(sent, lambda: None)

    def fingerprint(self, _: Any) -> dict[str, Any]:
        """What really answers: {adapter, sha256, problem}. Waits for the model to be loaded."""

        def work() -> dict[str, Any]:
            identity = self._tutor.generator_for(None).identity
            problem = self._generators.problem if self._generators else None
            return {"adapter": identity.adapter, "sha256": identity.weights_sha256, "problem": problem or ""}

        return told(work)

    def preview(self, sent: Any) -> dict[str, Any]:
        """{asked} -> {html, wait}; with `wait` the browser asks once more."""

        def work() -> dict[str, Any]:
            overview = self.improve.overview()
            if overview.busy:
                return {"html": improve_queue_view.preview_waiting(), "wait": False}
            questions = {row.id: row.question for row in overview.feedback}
            found = self.improve.preview(PREVIEW_WAIT_S, asked=value(sent, "asked") is True)
            wait = found is not None and found.state == "working"
            return {"html": improve_queue_view.preview(found, questions), "wait": wait}

        return told(work)

    def start(self, sent: Any) -> dict[str, Any]:
        """Begin a training of at most {minutes} (null: no limit)."""
        minutes = value(sent, "minutes")
        if minutes is not None and not (
            isinstance(minutes, int) and not isinstance(minutes, bool) and 0 < minutes <= MAX_MINUTES
        ):
            return {"error": UNREADABLE}
        return self._after(sent, lambda: self.improve.start(minutes))

    def cancel(self, sent: Any) -> dict[str, Any]:
        """Stop {job}."""
        return self._with_job(sent, self.improve.cancel)

    def resume(self, sent: Any) -> dict[str, Any]:
        """Go on with {job}."""
        return self._with_job(sent, self.improve.resume)

    def promote(self, sent: Any) -> dict[str, Any]:
        """Serve {name} from now on."""
        return self._after(sent, lambda: self.improve.promote(text_of(sent, "name", 200)))

    def rollback(self, sent: Any) -> dict[str, Any]:
        """Serve what was served before."""
        return self._after(sent, self.improve.rollback)

    def undo(self, sent: Any) -> dict[str, Any]:
        """Take back a rollback from {name} ("" is the base model)."""
        return self._after(sent, lambda: self.improve.undo(text_of(sent, "name", 200) or None))

    def opt_out(self, sent: Any) -> dict[str, Any]:
        """{out}: keep this learner's ratings out of training, or let them in again."""
        out = value(sent, "out")
        if not isinstance(out, bool):
            return {"error": UNREADABLE}
        return self._after(sent, lambda: self.improve.opt_out(out))

    def vote(self, sent: Any) -> dict[str, Any]:
        """{adapter, item, choice} -> {html} with the names."""
        name, item = text_of(sent, "adapter", 200), text_of(sent, "item", 40)

        def work() -> dict[str, Any]:
            found = self.improve.vote(name, item, text_of(sent, "choice", 10))
            return {"html": improve_vote_view.vote(found, item)}

        return told(work)

    def ballot(self, sent: Any) -> dict[str, Any]:
        """{adapter} -> {html}: the next question without a vote."""
        name = text_of(sent, "adapter", 200)
        return told(lambda: {"html": improve_vote_view.vote(self.improve.result(name))})

    def report(self, name: str) -> Response:
        """An adapter's report as a page."""
        styles = layout.head()

        def work() -> dict[str, Any]:
            text = _read(self.improve.folder(name) / "report.md")
            if text is None:
                raise NotFound(f"There is no report beside {name}.")
            return {"html": improve_report_view.report_page(name, text, styles)}

        found = told(work)
        if "error" in found:
            return HTMLResponse(improve_report_view.missing_page(found["error"], styles), status_code=404)
        return HTMLResponse(found["html"], headers={"Cache-Control": "no-store"})

    def export(self, name: str) -> Response:
        """An adapter's folder as a zip, in the layout that peft reads."""
        found = told(lambda: {"zip": _zipped(self.improve.folder(name))})
        if "error" in found:
            return PlainTextResponse(found["error"], status_code=404)
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name)
        headers = {"Content-Disposition": f'attachment; filename="{safe}.zip"', "Cache-Control": "no-store"}
        return Response(found["zip"], media_type="application/zip", headers=headers)

    def _with_job(self, sent: Any, act: Callable[[int], Any]) -> dict[str, Any]:
        number = number_of(sent, "job")
        return {"error": UNREADABLE} if number is None else self._after(sent, lambda: act(number))

    def _after(self, sent: Any, act: Callable[[], Any]) -> dict[str, Any]:
        """What `act` changed of the page that the browser knows."""

        def work() -> dict[str, Any]:
            act()
            overview = self.improve.overview()
            known = value(sent, "known")
            known = known if isinstance(known, dict) else {}
            parts = self._drawn(overview)
            return {
                "parts": {
                    name: {"html": html, "digest": digest}
                    for name, (digest, html) in parts.items()
                    if known.get(name) != digest
                },
                "busy": overview.busy,
                "stage": improve_job_view.stage_told(overview.job),
            }

        return told(work)

    def _drawn(self, overview: Overview) -> dict[str, tuple[str, str]]:
        """Part -> (digest, HTML). Two parts are not drawn anew when only their HTML differs: the preview has a call of
        its own, and under a ballot that is being looked at nothing may change before the next adapter."""
        found = overview.result
        drawn = {
            "served": improve_view.served(overview.served, overview.versions),
            "queue": improve_queue_view.queue(overview),
            "job": improve_job_view.job(overview.job, overview.jobs[1:]),
            "live": improve_job_view.live(overview.job),
            "result": improve_report_view.result(found) if found else improve_report_view.no_result(),
        }
        preview = improve_queue_view.preview_waiting() if overview.busy else improve_queue_view.preview(None)
        return {
            **{name: (_digest(html), html) for name, html in drawn.items()},
            "preview": ("later" if overview.busy else self.improve.key(), preview),
            "vote": (found.adapter.name if found else "", improve_vote_view.vote(found) if found else ""),
        }


def _digest(html: str) -> str:
    return hashlib.sha256(html.encode("utf-8", "replace")).hexdigest()[:12]


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_REPORT_BYTES).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _zipped(folder: Path) -> bytes:
    """The plain files of a folder, stored as they are: weights don't shrink. Raises NotFound."""
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not files or sum(path.stat().st_size for path in files) > MAX_EXPORT_BYTES:
        raise NotFound("Its files are not there, or too many for a download; see its folder.")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            archive.write(path, path.name)
    return made.getvalue()
