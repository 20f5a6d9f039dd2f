"""The study record: empty at first, then what was read, asked, answered and reviewed; its evidence; taking it along."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db import conversations, quizzes, reviews, study
from tutor.cards import Cards
from tutor.commands.study import local_zone

TOKENS = """---
title: Tokens
order: 20
prerequisites: [letters]
updated: 2026-11-22
tags: [test]
concepts: [token, vocabulary]
understand: Models read numbered pieces of text.
beginner: A piece of text.
confusion: A token is no word.
mental_model: Bricks.
think_first:
  - question: What is a token?
    reference: A token is a piece of text. It has a number.
    key_points:
      - A token is a piece of text.
      - It has a number.
next: [letters]
---

Opening words.

## What it is

A token is a piece of text that a model handles as one unit.

## Takeaways

- A piece of text handled as one unit is a **token**.
- The list of all tokens is the **vocabulary**.
- The program that cuts text is the **tokenizer**.
"""
LETTERS = """---
title: Letters
order: 10
concepts: [letter]
---

A letter is a sign.

## More

Signs make words.
"""
COURSE = {"tokens.md": TOKENS, "letters.md": LETTERS}


@pytest.fixture(autouse=True)
def _forget(server: Any) -> Iterator[None]:
    """Every test starts with a learner who has done nothing."""
    from db.portable import delete_learner_data

    yield
    with server.services.database.session() as session:
        delete_learner_data(session, server.services.learner_id)


def _answer(server: Any, answer: str | None, request: str) -> Any:
    key = server.services.lessons.gate("tokens.md").first.key
    return server.services.lessons.answer("tokens.md", key, answer, request_id=request)


def _read(server: Any, days: int, minutes: int, section: str) -> None:
    with server.services.database.session() as session:
        at = datetime.now(UTC) - timedelta(days=days)
        study.record_reading(
            session, server.services.learner_id, "tokens.md", section, seconds=60 * minutes, read=True, at=at
        )


def test_history_tells_what_was_read_asked_answered_and_reviewed(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    page = open_page("/history")
    assert page.locator(".empty").count() == 6
    assert "No streak yet." in page.inner_text(".streak")

    for days, minutes, section in ((0, 12, "what-it-is"), (2, 30, "top"), (20, 6, "takeaways")):
        _read(server, days, minutes, section)
    _answer(server, "A token is a piece of text.", "told-1")
    (card,) = server.rows(reviews.cards, server.services.learner_id)
    server.services.cards.rate(card.id, "again")
    chat = open_page("/chat")
    ask(chat, "What is a token?")

    page.reload()
    page.wait_for_selector("#log .chart")
    assert page.locator(".totals dd").all_inner_texts() == ["42 min", "2", "1", "1", "1", "2 of 7"]
    bars = [float(bar.get_attribute("height")) for bar in page.locator("#log .bar").all()]
    assert len(bars) == 7
    assert bars[6] / bars[4] == 12 / 30  # the axis starts at zero
    assert page.locator("#log .chart svg > text").all_text_contents()[:3] == ["0", "15", "30 min"]
    assert "1 day in a row" in page.inner_text(".streak")
    assert page.locator("#accuracy rect.is-partial").count() == 1
    assert "Answered" in page.inner_text(".asked-row")

    today = page.locator(".day").first
    assert "1 review" in today.inner_text()
    assert "1 forgotten" in today.inner_text()
    assert "Partly" in today.locator(".is-answers").inner_text()
    page.select_option("[name=kind]", "answers")
    page.wait_for_selector(".log-body:not(:has(.is-reviews))")
    assert page.locator(".day li").count() == 1
    assert page.url.endswith("kind=answers")
    page.select_option("[name=page]", "letters.md")
    page.wait_for_selector(".log-body .empty")

    page.goto(server.url + "/history?period=month")
    page.wait_for_selector(".bar >> nth=29")
    page.click("text=All time")
    page.wait_for_selector("[data-period=all][aria-current]")
    page.click(".asked-row a")
    page.wait_for_selector("#thread .question >> text=What is a token?")


def test_the_days_can_be_walked_by_keyboard_and_fit_a_phone(
    server: Any, open_page: Callable[..., Any]
) -> None:
    _read(server, 7, 12, "what-it-is")
    page = open_page("/history", width=390, height=844, phone=True, dark=True)
    assert page.locator(".heat tbody tr").count() == 7
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390
    page.focus(".heat-cell.is-today")
    page.keyboard.press("ArrowLeft")
    day = datetime.now(local_zone()) - timedelta(days=7)
    page.wait_for_selector(f".heat-told >> text={day.day} {day:%b}: 12 min")
    assert page.locator(".heat-cell:focus").get_attribute("class") == "heat-cell heat-2"


def test_evidence_is_shown_corrected_deleted_and_brought_back(
    server: Any, open_page: Callable[..., Any]
) -> None:
    learner = server.services.learner_id
    _answer(server, None, "evidence-1")
    page = open_page("/history")
    tile = page.locator(".tile >> text=token")
    tile.click()
    page.wait_for_selector(".evidence")
    assert "I don't know yet" in page.inner_text(".evidence .tag")
    assert "this builds on Letters" in page.inner_text(".next-step")  # unread, and a prerequisite
    assert page.inner_text(".tile[aria-expanded=true] .concept-score") == "0%"

    page.click("text=Correct it")
    page.check(".evidence input[value=correct]")
    page.click("text=Count it this way")
    page.wait_for_selector(".evidence .tag >> text=correct (your verdict)")
    assert (
        page.inner_text(".tile[aria-expanded=true] .concept-score") == "50%"
    )  # one of one and the imagined one
    (attempt,) = server.rows(quizzes.attempts, learner)
    assert attempt.override_verdict == "correct"

    delete = page.locator(".evidence [data-do=delete]")
    delete.click()
    assert len(server.rows(quizzes.attempts, learner)) == 1  # asked first
    delete.click()
    page.wait_for_selector(".concept-panel >> text=The answer is deleted")
    assert page.inner_text(".tile[aria-expanded=true] .concept-score") == "none"
    assert server.rows(quizzes.attempts, learner) == []
    (card,) = server.rows(reviews.cards, learner)
    assert card.memory.last_review is None  # scheduled as if it had never been answered
    page.click("text=Undo")
    page.wait_for_selector(".evidence .tag >> text=correct (your verdict)")
    assert page.inner_text(".tile[aria-expanded=true] .concept-score") == "50%"
    (card,) = server.rows(reviews.cards, learner)
    assert card.memory.last_review is not None


def test_a_held_back_answer_is_not_in_the_history(server: Any, open_page: Callable[..., Any]) -> None:
    with server.services.database.session() as session:
        talk = conversations.create_conversation(session, server.services.learner_id)
        turn = conversations.start_turn(session, talk.id, "What is a token?")
        empty: dict[str, Any] = {
            "messages": [],
            "passages": [],
            "follow_ups": [],
            "sentences": [],
            "citations": [],
        }
        conversations.complete_turn(
            session, turn.id, status="answered", query="", draft="", answer="The hidden answer.", timings_ms={},
            tokens={}, model={}, **empty,
        )  # fmt: skip
        conversations.set_socratic(session, turn.id, {"hint": "", "question": "", "revealed_at": None})
    page = open_page("/history")
    assert "until you have tried" in page.inner_text(".asked-row")
    assert "hidden answer" not in page.content()
    with server.services.database.session() as session:
        conversations.set_socratic(session, turn.id, {"revealed_at": "2026-11-22T12:00:00+00:00"})
    page.reload()
    page.wait_for_selector(".asked-row >> text=The hidden answer.")


def test_data_is_taken_along_deleted_and_restored(
    server: Any, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    learner = server.services.learner_id
    _answer(server, "A token is a piece of text.", "along-1")
    Cards(server.services.database, learner).open_page_cards("tokens.md")
    page = open_page("/history")
    with page.expect_download() as started:
        page.click("text=JSON")
    saved = tmp_path / started.value.suggested_filename
    started.value.save_as(saved)
    assert len(json.loads(saved.read_text("utf-8"))["cards"]) == 4
    for name in ("CSV", "Anki"):
        with page.expect_download() as started:
            page.click(f".exports >> text={name}")
        assert started.value.path().read_bytes()[:2] == b"PK"

    button = page.get_by_role("button", name="Delete my data")
    assert button.is_disabled()
    page.fill("[name=confirm]", "delete my data")
    button.click()
    page.wait_for_selector("[role=status] >> text=Deleted: ")
    assert server.rows(reviews.cards, learner) == []
    page.wait_for_selector("#mastery .empty")

    (tmp_path / "wrong.json").write_text('{"format": "study-tutor"', "utf-8")
    page.set_input_files("[type=file]", tmp_path / "wrong.json")
    page.click("text=Restore >> nth=-1")
    page.wait_for_selector(".status.error >> text=is not valid JSON")
    page.set_input_files("[type=file]", saved)
    page.click("text=Restore >> nth=-1")
    page.wait_for_selector("[role=status] >> text=1 answer, 4 cards")
    page.wait_for_selector(".tile")
    assert len(server.rows(reviews.cards, learner)) == 4


def test_the_routes_refuse_what_they_should(server: Any) -> None:
    def status(path: str, body: bytes | None = None, **headers: str) -> int:
        request = urllib.request.Request(server.url + path, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return int(error.code)

    _answer(server, "A token is a piece of text.", "refuse-1")
    confirm = json.dumps({"confirm": "delete my data"}).encode()
    assert status("/download?format=exe") == 422
    assert status("/download", **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert status("/restore", b" " * 20_000_001) == 413
    assert status("/restore", b"[" * 100_000) == 422
    assert status("/restore", b'{"format": "study-tutor", "version": 1}') == 422
    assert status("/forget", b'{"confirm": "yes"}') == 422
    assert status("/forget", confirm, Origin="https://evil.example") == 403
    assert len(server.rows(quizzes.attempts, server.services.learner_id)) == 1
    assert status("/forget", confirm) == 200
    assert server.rows(quizzes.attempts, server.services.learner_id) == []
