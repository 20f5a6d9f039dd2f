"""The web app: the three pages and the named endpoints, mounted with /healthz, /readyz and /metrics on one FastAPI.

Everything is built once, from `Services`. What keeps strangers out of a local app stands in `guard.py`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import warnings
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

# Gradio reads these when it is imported: no look-ups, no usage statistics.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles

from tutor.failures import BusyError
from tutor.ui import layout
from tutor.ui.api import Api
from tutor.ui.chat import ChatPage
from tutor.ui.guard import Guard
from tutor.ui.history import HistoryPage
from tutor.ui.learn import LearnPage
from tutor.ui.library import Library
from tutor.ui.live import LiveTurns
from tutor.ui.metrics import Metrics

if TYPE_CHECKING:
    from tutor.services import Services

MAX_REPORT_BYTES = 20_000
QUEUE_SIZE = 64
HANDLERS = 16
"""Handlers that may run at once; those that make a model write share two (`tutor.ui.chat.GENERATING`)."""


class PortBusy(BusyError):  # noqa: N818
    """Another program listens on the port. `str()` is one line with what to do."""


class Readiness:
    """Loads the models in the background and knows whether they are there."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.embedder = self.generator = False
        self.problem: str | None = None

    def start(self) -> None:
        """Begin loading; returns at once."""
        threading.Thread(target=self._load, name="warm-up", daemon=True).start()

    @property
    def ready(self) -> bool:
        return self.embedder and self.generator

    def _load(self) -> None:
        try:
            self._services.retriever.embedder.encode(["warm"])
            self.embedder = True
            self._services.tutor.generator_for(None)
            self.generator = True
        except Exception as error:  # noqa: BLE001 - /readyz and the first turn tell it
            self.problem = " ".join(str(error).split()) or type(error).__name__


def create_app(services: Services) -> FastAPI:
    """The app, ready to be served. Loads no model itself: that begins when the server starts."""
    metrics = Metrics()
    live = LiveTurns(metrics)
    library = Library()
    readiness = Readiness(services)
    learn = LearnPage(services, library)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        readiness.start()
        yield
        live.stop_all()

    app = FastAPI(title=layout.TITLE, docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.mount(layout.STATIC_ROUTE, _Static(directory=layout.STATIC), name="ui")

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        state = {"ready": readiness.ready, "embedder": readiness.embedder, "generator": readiness.generator}
        if readiness.problem:
            state["problem"] = readiness.problem  # type: ignore[assignment]
        return JSONResponse(state, status_code=200 if readiness.ready else 503)

    @app.get("/metrics")
    def show_metrics() -> PlainTextResponse:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.post("/progress")
    async def progress(request: Request) -> Response:
        return await _progress(request, learn)

    blocks = _pages(services, library, live, learn)
    blocks.queue(default_concurrency_limit=HANDLERS, max_size=QUEUE_SIZE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="SSR mode is not supported")
        gr.mount_gradio_app(
            app,
            blocks,
            path="/",
            theme=layout.theme(),
            head=layout.head(),
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            show_error=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            max_file_size="1kb",
        )
    app.add_middleware(Guard, pages=("/", *(f"/{path}" for _, path in layout.PAGES if path)))
    return app


def serve(services: Services, host: str, port: int) -> None:
    """Serve until interrupted; says where on stderr once it listens. Raises PortBusy."""
    listening = _listen(host, port)
    config = uvicorn.Config(
        create_app(services), log_level="warning", timeout_graceful_shutdown=3, server_header=False
    )
    _Server(config, listening).run(sockets=[listening])


class _Server(uvicorn.Server):
    """uvicorn, saying where it is once it answers."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket) -> None:
        super().__init__(config)
        self._address = listening.getsockname()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            host = f"[{self._address[0]}]" if ":" in self._address[0] else self._address[0]
            print(
                f"Study Tutor is at http://{host}:{self._address[1]} (Ctrl-C ends it)",
                file=sys.stderr,
                flush=True,
            )


class _Static(StaticFiles):
    """Our files carry their hash in the link, so a browser may keep them."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def _pages(services: Services, library: Library, live: LiveTurns, learn: LearnPage) -> gr.Blocks:
    with gr.Blocks(title=layout.TITLE, analytics_enabled=False, fill_width=True) as blocks:
        learn.build(blocks)
        Api(services, live).build()
    with blocks.route("Chat", "/chat"):
        ChatPage(services, library, live).build(blocks)
    with blocks.route("History", "/history"):
        HistoryPage(services, library).build(blocks)
    return blocks


async def _progress(request: Request, learn: LearnPage) -> Response:
    """What the reader's script reports: {page, sections}; answered with the study path as it looks now."""
    from json import JSONDecodeError, loads

    from starlette.concurrency import run_in_threadpool

    body = await request.body()
    if len(body) > MAX_REPORT_BYTES:
        return PlainTextResponse("too large", status_code=413)
    try:
        report = loads(body)
    except (JSONDecodeError, UnicodeDecodeError, RecursionError):
        report = None
    path = await run_in_threadpool(learn.record, report) if isinstance(report, dict) else None
    return HTMLResponse(path) if path is not None else PlainTextResponse("nothing to record", status_code=422)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    if os.name == "posix":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise PortBusy(
            f"port {port} on {host} can't be used ({error.strerror}); stop the program that uses it, "
            "or choose another with --port"
        ) from None
    return listening


__all__ = ["PortBusy", "create_app", "serve"]
