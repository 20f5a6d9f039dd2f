"""A page that stands for itself, without Gradio: a report, or the answer to an address that leads nowhere. Pure."""

from __future__ import annotations

from tutor.ui.markup import esc


def plain_page(title: str, body: str, styles: str, *, levels: int, kind: str = "") -> str:
    """The whole document. `body` is HTML, `styles` the link tags of the app; `levels` says how far below the app's
    root its address is, so that relative links lead where they do elsewhere."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><base href="{"../" * levels or "./"}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{esc(title)} · Study Tutor</title>{styles}</head><body>"
        '<script>document.body.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches)</script>'
        f'<main class="page {kind}" id="main"><article class="sheet wide">{body}</article></main></body></html>'
    )
