"""What a person sees at an address that leads nowhere: a page with the ways on, where Gradio sends JSON."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tutor.ui import layout
from tutor.ui.markup import esc, join, url
from tutor.ui.plain_page import plain_page


class Lost:
    """ASGI middleware. Programs, which don't ask for HTML, still get the JSON; what we say ourselves stays as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and replace a "not found" that was meant for a program."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        if "text/html" not in Headers(scope=scope).get("accept", ""):
            await self._app(scope, receive, send)
            return
        replaced = False

        async def looked_at(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 404:
                kind = Headers(raw=list(message.get("headers", ()))).get("content-type", "")
                replaced = kind.startswith("application/json")  # what says its own reason stays
            if not replaced:
                await send(message)

        await self._app(scope, receive, looked_at)
        if replaced:
            await HTMLResponse(lost_page(scope["path"]), status_code=404)(scope, receive, send)


def lost_page(path: str) -> str:
    """The page for an address of the app that doesn't exist."""
    links = join(f'<li><a href="{esc(url(to))}">{name}</a></li>' for name, to in layout.PAGES)
    body = (
        "<h1>There is no such page</h1>"
        f'<p class="empty">Nothing is at <code>{esc(path)}</code>. These pages are here:</p>'
        f"<ul>{links}</ul>"
    )
    return plain_page("No such page", body, layout.head(), levels=max(0, path.count("/") - 1))
