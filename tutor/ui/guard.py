"""The door of the app: other web sites can't act through a learner's browser, and unused Gradio routes are shut.

Gradio by itself answers POSTs from any site, fetches any public URL it is given (`file=http...`), takes uploads and
keeps a usage page. None of that is part of this app.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SHUT = (
    "/monitoring",
    "/login",
    "/gradio_api/proxy=",
    "/gradio_api/upload",
    "/gradio_api/process_recording",
    "/gradio_api/deep_link",
    "/gradio_api/run-history",
    "/gradio_api/runs",
    "/gradio_api/custom_component",
    "/gradio_api/vibe",
    "/gradio_api/undo-vibe",
    "/gradio_api/profiling",
    "/gradio_api/file",
    "/gradio_api/stream",
)
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        b"object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    ),
)


class Guard:
    """ASGI middleware. `pages` are the paths of Gradio pages, whose `page` query value belongs to us."""

    def __init__(self, app: ASGIApp, pages: tuple[str, ...]) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with safe headers on the way back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if any(path.startswith(shut) for shut in _SHUT):
            await PlainTextResponse("Not found", status_code=404)(scope, receive, send)
            return
        if scope["method"] not in _SAFE_METHODS and not same_site(Headers(scope=scope)):
            await PlainTextResponse("This request came from another site.", status_code=403)(
                scope, receive, send
            )
            return
        if path in self._pages:
            # Gradio's page route takes ?page= for one of its own pages and fails on ours; the browser keeps them.
            scope = dict(scope, query_string=b"")

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        await self._app(scope, receive, with_headers)


def same_site(headers: Headers) -> bool:
    """Whether a request comes from our own pages, or from a program that is no browser."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        came_from = urlsplit(origin).netloc
    except ValueError:
        return False
    ours = {headers.get("host"), headers.get("x-forwarded-host")} - {None}
    return came_from in ours
