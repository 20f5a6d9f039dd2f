"""A real app with a real database in this process, a model that writes what a test says, and Chromium to use it.

One server a module; the pages below are its course unless the module has a COURSE of its own. Every page object
records what it requests, and fails its test when a request leaves this machine, a script fails, or a dialog opens
that the test did not expect.
"""

from __future__ import annotations

import importlib.util
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.browser.improve_rows import WITHOUT_EXEMPLARS, Follower

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

SMALL = """---
title: Small steps
order: 10
concepts: [step, pace]
understand: A short page is read in short steps.
beginner: A step is small.
confusion: Steps are not leaps.
mental_model: A staircase.
---

A short beginning.

## First part

A pace is the length of one step. See [tokens](tokens.md#why-tokens-exist).

## Second part

Some more words here.
"""
TOKENS = """---
title: Tokens
order: 20
concepts: [token, vocabulary]
understand: Models read numbered pieces of text.
---

Opening words.

## What it is

A token is a **piece of text** that a model handles as one unit. Bread is baked daily in the village.

## Why tokens exist

A vocabulary is the fixed list of all tokens that a tokenizer knows. {filler}

| Property | Letters | Tokens |
| --- | --- | ---: |
| Vocabulary size | Small | Medium |

## Questions people ask

### Is a token the same as a word?

A token is often shorter than a word.
"""
COURSE = {"small.md": SMALL, "tokens.md": TOKENS.replace("{filler}", "\n\n".join(["A long wait. " * 60] * 4))}
HOSTILE = """# Zebra <img src=x onerror=alert(1)>

A zebra is a striped animal <script>alert(2)</script> of the plains.
![pixel](https://evil.example/pixel.png) [press](javascript:alert(3)) <https://evil.example/next>

## Stripes <svg onload=alert(4)>

A stripe is a band of <iframe src="https://evil.example/frame"></iframe> colour on a zebra.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here needs Chromium and Playwright; without them it says so and is skipped."""
    missing = None
    if not CHROMIUM.exists():
        missing = f"needs Chromium at {CHROMIUM} (Debian: apt-get install chromium)"
    elif importlib.util.find_spec("playwright") is None:
        missing = "needs Playwright (make setup-dev)"
    for item in items:
        if Path(str(item.path)).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


class Script:
    """What the model writes: `draft`, or the first note it was given; `delay` seconds a word."""

    draft: str | None = None
    delay = 0.0

    def __call__(self, adapter: str | None) -> Any:
        from tutor.generators.protocol import ModelIdentity
        from tutor.generators.scripted import ScriptedGenerator

        return ScriptedGenerator(self.write, self.delay, identity=ModelIdentity("scripted", None, "ab" * 32))

    def write(self, messages: Sequence[Any]) -> str:
        notes = re.findall(r"^- (.+)$", messages[-1]["content"], re.MULTILINE)
        return self.draft if self.draft is not None else notes[0]


class Server:
    """The app on a free port; `restart` keeps only what is in the home folder."""

    def __init__(self, home: Path, embedder: Any) -> None:
        self.home = home
        self.embedder = embedder
        self.script = Script()
        self.port = 0
        self.start()

    def start(self) -> None:
        from tutor import app
        from tutor.services import build_services
        from tutor.settings import Settings

        settings = Settings(home=self.home, course=self.home.parent / "course")
        self.services = build_services(settings, embedder=self.embedder, generator_for=self.script)
        self.server = app.Server(self.services, "127.0.0.1", self.port)
        self.url = self.server.url
        self.port = int(self.url.rsplit(":", 1)[1])
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 30
        while not self.server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive(), "the server did not stop"
        self.services.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path) as response:
            return response.read().decode()

    def rows(self, read: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What a function of `db` says now."""
        with self.services.database.session(readonly=True) as session:
            return read(session, *arguments, **options)

    def document_id(self, path: str) -> int:
        from db.documents import list_documents

        return next(d.id for d in self.rows(list_documents) if d.path == path)

    def ingest(self, folder: Path) -> None:
        from retrieval.ingest import ingest_paths

        ingest_paths(self.services.database, self.services.retriever.embedder, [folder])


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_embedder: Callable[..., Any],
) -> Iterator[Server]:
    """A running app over the module's COURSE (file name -> text), or the two pages above; one a module."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "course").mkdir()
    for name, text in getattr(request.module, "COURSE", COURSE).items():
        (folder / "course" / name).write_text(text, "utf-8")
    running = Server(folder / "home", make_embedder(dimension=512))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """open_page(path, width=1280, height=800, dark=False, phone=False) -> a page; all are watched."""
    contexts: list[Any] = []
    trouble: list[str] = []

    def watch(page: Any) -> None:
        page.on(
            "request", lambda r: r.url.startswith((server.url, "data:", "blob:")) or trouble.append(r.url)
        )
        page.on("pageerror", lambda error: trouble.append(f"script: {error}"))
        page.on("dialog", lambda dialog: (trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda m: m.type == "error" and "alert" in m.text and trouble.append(m.text))

    def opened(
        path: str, *, width: int = 1280, height: int = 800, dark: bool = False, phone: bool = False
    ) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            is_mobile=phone,
        )
        context.set_default_timeout(30_000)  # a busy machine loads slowly; nobody waits for it in vain
        contexts.append(context)
        context.on("page", watch)
        page = context.new_page()
        page.goto(server.url + path)
        page.wait_for_selector("body.is-ready")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture
def improve(open_page: Callable[..., Any], server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """improve(**options) -> the page; the model that answers is the one that is served; no console error."""
    told: list[str] = []
    monkeypatch.setattr(server.services.tutor, "generator_for", Follower(server))
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", WITHOUT_EXEMPLARS)

    def opened(**options: Any) -> Any:
        page = open_page("/improve", **options)
        page.on("console", lambda m: m.type == "error" and told.append(m.text))
        page.wait_for_selector(".now")
        return page

    yield opened
    assert [text for text in told if "ERR_CONNECTION_REFUSED" not in text] == []  # while the app restarts


@pytest.fixture
def ask(server: Server) -> Callable[..., None]:
    """ask(page, question): type it, send it, wait for the finished answer."""

    def asked(page: Any, question: str) -> None:
        page.fill("#question textarea", question)
        page.press("#question textarea", "Enter")
        page.wait_for_function(
            "q => { const t = document.querySelector('#live .turn'); return t && !t.hasAttribute('data-running') "
            "&& t.querySelector('.question').textContent === q && t.querySelector('.badge'); }",
            arg=question.strip(),
        )

    return asked
