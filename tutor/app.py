"""The web app: the pages and the named endpoints, mounted with /healthz, /readyz and /metrics on one FastAPI.

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
from starlette.routing import Mount

from tutor.failures import BusyError
from tutor.ui import layout, my_data
from tutor.ui.api import Api
from tutor.ui.chat import ChatPage
from tutor.ui.guard import Guard
from tutor.ui.history import HistoryPage
from tutor.ui.improve import ImprovePage
from tutor.ui.lab import LabPage
from tutor.ui.learn import LearnPage
from tutor.ui.library import Library
from tutor.ui.live import LiveTurns
from tutor.ui.lost import Lost
from tutor.ui.material import MaterialPage
from tutor.ui.metrics import Metrics
from tutor.ui.review import ReviewPage
from tutor.watching import Watching

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
            self._services.retriever.retrieve(
                "warm"
            )  # the embedder, the index, and the reader if anything is indexed
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
    material = MaterialPage.of(services)
    improve = ImprovePage(services)
    watch = services.settings.watch
    watching = Watching(services.database, services.retriever.embedder, watch) if watch else None

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        readiness.start()
        material.start()
        if watching:
            watching.start()
        if services.generators:
            services.generators.start()
        yield
        live.stop_all()
        material.stop()
        improve.stop()

    app = FastAPI(title=layout.TITLE, docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.mount(layout.STATIC_ROUTE, _Static(directory=layout.STATIC), name="ui")

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        state = {"ready": readiness.ready, "embedder": readiness.embedder, "generator": readiness.generator}
        if problem := readiness.problem or (services.generators and services.generators.problem):
            state["problem"] = problem  # type: ignore[assignment]
        return JSONResponse(state, status_code=200 if readiness.ready else 503)

    @app.get("/metrics")
    def show_metrics() -> PlainTextResponse:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.post("/progress")
    async def progress(request: Request) -> Response:
        return await _progress(request, learn)

    my_data.add_routes(app, services)
    material.add_routes(app)
    improve.add_routes(app)
    blocks = _pages(services, library, live, learn, material, improve)
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

    def let_go() -> None:
        live.stop_all(wait=0)
        if watching:
            watching.stop()
        if services.generators:
            services.generators.stop()
        for route in app.routes:
            if isinstance(route, Mount) and isinstance(route.app, gr.routes.App):
                route.app.stop_event.set()

    app.state.let_go = let_go
    app.add_middleware(Lost)
    app.add_middleware(Guard, pages=("/", *(f"/{path}" for _, path in layout.PAGES if path)))
    return app


def serve(services: Services, host: str, port: int) -> None:
    """Serve until interrupted; says where on stderr once it listens. Raises PortBusy."""
    Server(services, host, port).run()


class Server(uvicorn.Server):
    """The app on a port, held from the start. `run` returns when it was told to stop (`should_exit`, Ctrl-C)."""

    def __init__(self, services: Services, host: str, port: int) -> None:
        """Raises PortBusy. Port 0 takes a free one."""
        self._socket = _listen(host, port)
        self._app = create_app(services)
        super().__init__(
            uvicorn.Config(self._app, log_level="warning", timeout_graceful_shutdown=3, server_header=False)
        )
        name, number = self._socket.getsockname()[:2]
        self.url = f"http://{f'[{name}]' if ':' in name else name}:{number}"

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on the port that is held."""
        super().run(sockets=sockets or [self._socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where."""
        await super().startup(sockets=sockets)
        if self.started:
            print(f"Study Tutor is at {self.url} (Ctrl-C ends it)", file=sys.stderr, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop. Open pages keep a connection each, which Gradio ends only when told to."""
        self._app.state.let_go()
        await super().shutdown(sockets=sockets)


class _Static(StaticFiles):
    """Our files carry their hash in the link, so a browser may keep them."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def _pages(
    services: Services,
    library: Library,
    live: LiveTurns,
    learn: LearnPage,
    material: MaterialPage,
    improve: ImprovePage,
) -> gr.Blocks:
    with gr.Blocks(title=layout.TITLE, analytics_enabled=False, fill_width=True) as blocks:
        learn.build(blocks)
        Api(services, live).build()
    with blocks.route("Chat", "/chat"):
        ChatPage(services, library, live).build(blocks)
    with blocks.route("Review", "/review"):
        ReviewPage(services, library).build(blocks)
    with blocks.route("Material", "/material"):
        material.build(blocks)
    with blocks.route("Improve", "/improve"):
        improve.build(blocks)
    with blocks.route("Lab", "/lab"):
        LabPage(services, library, live).build(blocks)
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
