"""The Material page and its routes: files come in as a raw body, everything else is JSON.

What a file becomes is `tutor.material`'s, how the page looks `material_view.py`'s. Other sites' POSTs are turned away
by `guard.py`. The originals are not served by anything.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from json import JSONDecodeError, loads
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr
from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool

from retrieval.files import MAX_BYTES
from tutor.material import Material, Refused
from tutor.material_store import Incoming, too_large
from tutor.ui import layout, material_view
from tutor.ui.calls import OUR_FAULT, UNREADABLE, text_of, told
from tutor.ui.guard import same_site

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tutor.services import Services

MAX_WORD_BYTES = 20_000
MAX_ID = 200  # characters of a request's id
MAX_DRAINED = 4 * MAX_BYTES  # read and dropped after a refusal, so that a browser hears the answer
PIECE = 1024 * 1024
DISK_FULL = 507
NO_ROOM = "the disk is full; free some space and try again"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_T = TypeVar("_T")

log = logging.getLogger(__name__)


class MaterialPage:
    """The page, and the routes that its script calls."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self._turn = asyncio.Semaphore(1)  # who waits to be read waits here, not in a thread

    @classmethod
    def of(cls, services: Services) -> MaterialPage:
        """The page for what the services work with."""
        settings = services.settings
        embedder, root = services.retriever.embedder, settings.home / "material"
        return cls(Material(services.database, embedder, root, watched=settings.watch))

    def start(self) -> None:
        """Clear up what an earlier run left; what can't be cleared is told in the log, and the app goes on."""

        def tidy() -> dict[str, Any]:
            self.material.tidy()
            return {}

        if problem := told(tidy).get("error"):
            log.warning("the material folder could not be tidied: %s", problem)

    def stop(self) -> None:
        """End what reads foreign formats, without waiting for the file that it reads."""
        threading.Thread(target=self.material.close, name="material-end", daemon=True).start()

    def build(self, blocks: gr.Blocks) -> None:
        """Lay the page out and connect it."""
        layout.header("Material")
        body = layout.surface("material", "material")
        blocks.load(
            material_view.page, outputs=body, queue=False, show_progress="hidden", api_visibility="private"
        )

    def add_routes(self, app: FastAPI) -> None:
        """GET /material/list; POST /material/upload?collection=&path=&request_id= (raw body), /delete, /undo (JSON)."""
        app.add_api_route("/material/list", self.listed, methods=["GET"], response_model=None)
        app.add_api_route("/material/upload", self.upload, methods=["POST"], response_model=None)
        app.add_api_route("/material/delete", self.delete, methods=["POST"], response_model=None)
        app.add_api_route("/material/undo", self.undo, methods=["POST"], response_model=None)

    async def listed(self, request: Request) -> Response:
        """What is indexed, by collection, and what was deleted lately."""
        if not same_site(request.headers):
            return PlainTextResponse("This request came from another site.", status_code=403)
        return await self._answered(
            lambda: material_view.listing(self.material.collections(), self.material.deletions())
        )

    async def upload(
        self, request: Request, collection: str = "", path: str = "", request_id: str = ""
    ) -> Response:
        """Take in one file; answered when it is indexed, or with the reason why not."""
        body = _Body(request)
        request_id = request_id[:MAX_ID]
        if known := self.material.answer(request_id):
            await body.drain()
            return _json(known, 200)
        incoming: Incoming | None = None
        try:
            if body.declared > MAX_BYTES:
                raise too_large()
            incoming = self.material.receive(collection, path)
            async for piece in body:
                await run_in_threadpool(incoming.write, piece)
        except BaseException as error:
            if incoming is not None:
                incoming.discard()
            if isinstance(error, OSError) and error.errno in _FULL:
                error = Refused(NO_ROOM, DISK_FULL)
            if not isinstance(error, Refused):
                raise
            await body.drain()
            return _json({"error": str(error)}, error.status)
        arrived = incoming
        async with self._turn:  # `take` removes what it does not keep, whatever happens
            return await self._answered(lambda: self.material.take(arrived, request_id), apart=True)

    async def delete(self, request: Request) -> Response:
        """{source, file or null for all of it, request_id} -> {deletion, told}."""
        sent = await _sent(request)
        source, file = text_of(sent, "source"), (sent or {}).get("file")
        if not source or not isinstance(file, str | None):
            return _json({"error": UNREADABLE}, 422)
        return await self._answered(
            lambda: material_view.deleted(self.material.delete(source, file, _id(sent)))
        )

    async def undo(self, request: Request) -> Response:
        """{deletion, request_id} -> {source, file, told}."""
        sent = await _sent(request)
        deletion = text_of(sent, "deletion")
        if not deletion:
            return _json({"error": UNREADABLE}, 422)
        return await self._answered(
            lambda: material_view.restored(self.material.undo(deletion, _id(sent))), apart=True
        )

    async def _answered(self, work: Callable[[], dict[str, Any]], *, apart: bool = False) -> Response:
        """What `work` gives as JSON; with `apart`, for what may take minutes, in a thread of its own."""
        status = [200]

        def do() -> dict[str, Any]:
            try:
                return work()
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                status[0] = DISK_FULL
                raise Refused(NO_ROOM, DISK_FULL) from None
            except Refused as error:
                status[0] = error.status
                raise

        found = await (_in_thread(lambda: told(do)) if apart else run_in_threadpool(told, do))
        if "error" not in found:
            return _json(found, 200)
        unknown = 500 if found["error"] == OUR_FAULT else 503
        return _json(found, status[0] if status[0] != 200 else unknown)


class _Body:
    """The body of a request in pieces of about a megabyte."""

    def __init__(self, request: Request) -> None:
        self._stream = request.stream()
        length = request.headers.get("content-length", "")
        self.declared = int(length) if length.isdecimal() and len(length) < 18 else 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces, size = [], 0
        async for part in self._stream:
            pieces.append(part)
            size += len(part)
            if size >= PIECE:
                yield b"".join(pieces)
                pieces, size = [], 0
        yield b"".join(pieces)

    async def drain(self) -> None:
        """Read the rest, within reason, and drop it."""
        size = 0
        with suppress(Exception):  # the browser is gone: nobody waits for the answer
            async for part in self._stream:
                size += len(part)
                if size > MAX_DRAINED:
                    return


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run `work` in a daemon thread of its own: it neither takes one of the app's few, nor holds up its end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def tell(result: _T) -> None:
        if not done.cancelled():
            done.set_result(result)

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=run, name="material", daemon=True).start()
    return await done


async def _sent(request: Request) -> dict[str, Any] | None:
    """The JSON object that was sent, or None."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_WORD_BYTES:
            return None
        parts.append(part)
    try:
        sent = loads(b"".join(parts))
    except (JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None
    return sent if isinstance(sent, dict) else None


def _id(sent: dict[str, Any] | None) -> str | None:
    return text_of(sent, "request_id", MAX_ID) or None


def _json(found: dict[str, Any], status: int) -> JSONResponse:
    return JSONResponse(found, status_code=status, headers={"Cache-Control": "no-store"})
