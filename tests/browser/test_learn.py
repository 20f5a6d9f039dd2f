"""Reading: the path, the reader, what counts as read, and a cited sentence in view."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from db import study

IN_VIEW = "e => { const b = e.getBoundingClientRect(); return b.top >= 56 && b.bottom <= innerHeight; }"


def test_reading_is_saved_shown_and_continued(server: Any, open_page: Callable[..., Any]) -> None:
    page = open_page("/", height=900)
    assert page.locator(".path-card .path-title").all_inner_texts() == ["Small steps", "Tokens"]
    assert page.locator(".continue-label").inner_text() == "Start here"

    page.click("a.continue")
    page.wait_for_selector("#reader")
    assert page.title() == "Small steps · Study Tutor"
    assert "A staircase." in page.inner_text(".lead")
    page.wait_for_selector("section[data-section=first-part][data-read]")
    page.wait_for_selector("#path .is-read[aria-current]")  # all three short sections fit on the screen

    rows = {
        row.section: row
        for row in server.rows(study.reading_progress, server.services.learner_id, "small.md")
    }
    assert set(rows) == {"top", "first-part", "second-part"}
    assert all(row.read for row in rows.values())
    assert 2 < sum(row.seconds for row in rows.values()) < 20  # shared time, not counted three times

    page.goto(server.url + "/")
    page.wait_for_selector(".home")
    assert page.locator(".continue-title").inner_text() == "Tokens"
    assert page.locator(".path-state").first.inner_text().startswith("Read")
    page.goto(server.url + "/?page=small.md")
    page.wait_for_selector("section[data-section=second-part][data-read]", timeout=1500)


def test_what_is_below_the_screen_is_not_read_and_leaving_saves_seconds(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/?page=tokens.md")
    page.wait_for_timeout(1600)
    page.click(".top >> text=History")  # leaves: the report goes out as a beacon
    page.wait_for_selector("[data-title=History]")
    deadline = time.monotonic() + 5
    rows: dict[str, Any] = {}
    while not rows and time.monotonic() < deadline:
        rows = {
            r.section: r for r in server.rows(study.reading_progress, server.services.learner_id, "tokens.md")
        }
    assert "top" in rows
    assert "questions-people-ask" not in rows
    assert not any(row.read for row in rows.values())


def test_a_cited_sentence_is_marked_and_in_view(server: Any, open_page: Callable[..., Any]) -> None:
    from db.documents import find_document

    text = server.rows(find_document, "course", "tokens.md").text
    for quote, shown in (
        ("A token is often shorter than a word.", ["A token is often shorter than a word."]),
        ("| Vocabulary size | Small | Medium |", ["Vocabulary size", "Small", "Medium"]),
    ):
        start = text.index(quote)
        page = open_page(f"/?page=tokens.md&cite={start}-{start + len(quote)}")
        assert page.locator("mark").all_inner_texts() == shown
        page.wait_for_function(f"({IN_VIEW})(document.querySelector('#cite'))")


def test_links_between_pages_and_any_document_by_its_id(
    server: Any, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("Own notes, first line.\n\nA second paragraph.", "utf-8")
    server.ingest(tmp_path)
    number = server.document_id("notes.txt")

    page = open_page("/?page=small.md")
    page.click("text=tokens >> visible=true")
    page.wait_for_selector("#reader[data-page='tokens.md']")
    page.wait_for_function(f"({IN_VIEW})(document.querySelector('#s-why-tokens-exist'))")
    page.click(".turn-page .prev")
    page.wait_for_selector("#reader[data-page='small.md']")
    page.click(".plain-list >> text=notes")
    page.wait_for_selector("#reader p >> text=A second paragraph.")
    assert f"doc={number}" in page.url

    page.goto(server.url + "/?page=nowhere.md")
    page.wait_for_selector("text=This page is not here")
