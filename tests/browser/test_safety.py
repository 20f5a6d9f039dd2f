"""What documents, questions and drafts hold stays text; nothing is fetched from outside; every screen fits.

That no request leaves the machine and no dialog opens is checked by `open_page` for every test of this folder.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[press](javascript:alert(1)) ![x](https://evil.example/p.png)",
    "\"><svg onload=alert(1)> ' onmouseover='alert(1)",
]
DANGEROUS = (
    '() => document.querySelectorAll("#main script, #main img, #main iframe, #main svg[onload], #chat script, '
    "#chat img, #chat iframe, [onerror], [onload], [onmouseover], a[href^='javascript' i]\").length"
)


@pytest.fixture(scope="module", autouse=True)
def _zebra(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sys

    hostile = sys.modules[type(server).__module__].HOSTILE
    folder = tmp_path_factory.mktemp("own")
    (folder / "zebra.md").write_text(hostile, "utf-8")
    server.ingest(folder)
    return folder


def test_a_hostile_document_is_read_as_text(server: Any, open_page: Callable[..., Any]) -> None:
    page = open_page(f"/?doc={server.document_id('zebra.md')}")
    assert "<script>alert(2)</script>" in page.inner_text("#reader")
    assert page.evaluate(DANGEROUS) == 0
    links = [a.get_attribute("href") for a in page.locator("#page-body a").all()]
    assert links == ["https://evil.example/next"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_question_draft_and_source_are_inert(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None], payload: str
) -> None:
    server.script.draft = (
        f"A zebra is a striped animal {payload} of the plains. {payload} A stripe is a band."
    )
    page = open_page("/chat")
    ask(page, f"What is a zebra? {payload}")
    assert payload in page.inner_text("#live .question")
    page.click("summary:has-text('What happened')")
    page.wait_for_selector(".what-body table")
    assert page.evaluate(DANGEROUS) == 0
    page.goto(server.url + "/history")
    page.wait_for_selector(".asked-row")
    assert page.evaluate(DANGEROUS) == 0


def test_a_phone_shows_every_page_without_sideways_scrolling(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    from db.study import record_reading  # a minute read, so that the history has its chart

    with server.services.database.session() as session:
        record_reading(
            session,
            server.services.learner_id,
            "tokens.md",
            "intro",
            seconds=60,
            read=True,
            at=datetime.now(UTC),
        )
    page = open_page("/chat", width=360, height=740, phone=True)
    server.script.draft = "A token is a piece of text that a model handles as one unit."
    ask(page, "What is a token? " + "Donaudampfschifffahrtsgesellschaft" * 4)
    page.click("summary:has-text('What happened')")
    page.wait_for_selector(".what-body table")
    _fits(page)
    box = page.locator("#send").bounding_box()
    assert box["y"] + box["height"] <= 740  # the question box stays within reach
    for path in ("/", "/?page=tokens.md", f"/?doc={server.document_id('zebra.md')}", "/history?period=all"):
        page.goto(server.url + path)
        page.wait_for_selector("body.is-ready")
        _fits(page)
    small = page.evaluate(
        "() => [...document.querySelectorAll('.top a, .tabs a')]"
        ".filter(e => e.getBoundingClientRect().height < 44).length"
    )
    assert small == 0


def test_dark_mode_is_dark_from_the_first_paint(open_page: Callable[..., Any], server: Any) -> None:
    page = open_page("/?page=tokens.md", dark=True)
    background, ink = page.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('#reader p')).color]"
    )
    assert background == "rgb(19, 23, 24)"
    assert min(int(n) for n in ink[4:-1].split(",")) > 150
    assert "19, 23, 24" in server.get("/") or "#131718" in server.get("/")


def _fits(page: Any) -> None:
    # screen.width: a phone's innerWidth grows with what sticks out.
    wide = page.evaluate(
        "() => document.documentElement.scrollWidth > screen.width ? [...document.querySelectorAll('#main *, #chat *')]"
        ".filter(e => e.getBoundingClientRect().right > screen.width + 1).map(e => e.tagName + '.' + e.className) : []"
    )
    assert wide == []
