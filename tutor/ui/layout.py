"""What all pages share: the theme, the header, and the style sheets and scripts they link."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from tutor.ui.markup import esc, join, url

STATIC = Path(__file__).parent / "static"
STATIC_ROUTE = "/ui"
TITLE = "Study Tutor"
PAGES = (
    ("Learn", ""),
    ("Chat", "chat"),
    ("Review", "review"),
    ("Material", "material"),
    ("Improve", "improve"),
    ("Lab", "lab"),
    ("History", "history"),
)
STYLES = ("app.css", "lesson.css", "study.css", "material.css", "improve.css", "lab.css")
SCRIPTS = (
    "app.js",
    "ledger.js",
    "lesson.js",
    "study.js",
    "material.js",
    "improve.js",
    "lab.js",
)  # app.js first: the others add to what it defines
_SYSTEM = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")


def theme() -> gr.themes.Base:
    """System fonts and the two page colours; everything else is in app.css."""
    return gr.themes.Base(
        font=[gr.themes.Font(name) for name in _SYSTEM], font_mono=[gr.themes.Font(name) for name in _MONO]
    ).set(
        body_background_fill="#fbfbf9",
        body_background_fill_dark="#131718",
        body_text_color="#1c2325",
        body_text_color_dark="#e2e6e4",
    )


def head() -> str:
    """Tags for every page's <head>."""
    styles = join(f'<link rel="stylesheet" href="{_versioned(name)}">' for name in STYLES)
    return (
        f"{styles}"
        f'<link rel="icon" type="image/svg+xml" href="{_versioned("icon.svg")}">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="same-origin">'
    )


def script() -> str:
    """The script tags that a page's component waits for before its own code runs."""
    return join(f'<script src="{_versioned(name)}"></script>' for name in SCRIPTS)


def header(current: str) -> gr.HTML:
    """The skip link and the way between pages. Gradio's own bar is hidden: it knows no current section."""
    gr.Navbar(visible=False)
    links = join(
        f'<a href="{esc(url(path))}"{" aria-current=" + chr(34) + "page" + chr(34) if name == current else ""}>'
        f"{name}</a>"
        for name, path in PAGES
    )
    return gr.HTML(
        '<a class="skip" href="#main">Skip to the content</a><header class="top"><div class="top-inner">'
        f'<a class="brand" href="{esc(url())}">{TITLE}</a><nav aria-label="Pages">{links}</nav></div></header>',
        elem_id="top",
        apply_default_css=False,
        js_on_load=None,
    )


def surface(elem_id: str, on_load: str, calls: Sequence[Callable[[Any], Any]] = ()) -> gr.HTML:
    """An HTML component that carries (part of) a page.

    `on_load` names the function of app.js that wakes it, "" for none; `calls` are what that function may call here.
    """
    return gr.HTML(
        "",
        elem_id=elem_id,
        apply_default_css=False,
        head=script(),
        js_on_load=f"window.studyTutor.{on_load}({{element, trigger, server, watch}});" if on_load else None,
        server_functions=[_function(call) for call in calls],
    )


def _function(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Gradio sets an attribute on what it may call, which a bound method does not take."""

    def call(sent: Any) -> Any:
        return method(sent)

    call.__name__ = method.__name__
    return call


@lru_cache(maxsize=8)
def _versioned(name: str) -> str:
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]
    return f".{STATIC_ROUTE}/{name}?v={digest}"
