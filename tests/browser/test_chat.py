"""Asking: only checked sentences, citations that lead to their source, and every way to interrupt or repeat."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from db import conversations, feedback, registry

QUESTION = "Which piece of text does a model handle as one unit?"
PIECE = "A token is a piece of text that a model handles as one unit."
# Two sentences answer this one, so that a draft is not at its end with the first.
TWO_THINGS = "How is a token of text handled by a model and known by a tokenizer as a list?"
ENDLESS = "\nA model " + "handles one unit and " * 20
TOKEN = "A token is a piece of text that a model handles as one unit."


@pytest.fixture(autouse=True)
def _fresh_script(server: Any) -> None:
    server.script.draft = None
    server.script.delay = 0.0


def _turns(server: Any, page: Any) -> list[Any]:
    return server.rows(conversations.turns_of, int(page.url.split("c=")[1]))


def test_ask_then_follow_the_citation_to_the_very_sentence(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    server.script.draft = f"A token is never a piece of text. {TOKEN}"
    page = open_page("/chat")
    assert page.locator(".chip").all_inner_texts() == [
        "What does “step” mean?",
        "Is a token the same as a word?",
    ]
    ask(page, QUESTION)

    assert page.locator("#live .badge").inner_text() == "Checked against the material"
    assert TOKEN in page.inner_text("#live .answer")
    assert "never a piece" not in page.content()  # a refused sentence is never on the page ...
    assert TOKEN in page.inner_text("#sources .is-cited .quote")
    with page.expect_popup() as opened:
        page.click("#live .cite >> nth=0")
    reader = opened.value
    reader.wait_for_selector("#cite")
    assert "".join(reader.locator("mark").all_inner_texts()) == TOKEN
    assert reader.evaluate("e => document.querySelector('#cite').getBoundingClientRect().top") > 56

    page.click("summary:has-text('What happened')")
    page.wait_for_selector(".what-body table")
    told = page.inner_text(".what-body")
    assert "A token is never a piece of text." in told  # ... but is told when asked for
    assert "abababababab" in told
    assert QUESTION in page.locator(".message pre").last.inner_text()


def test_stop_keeps_what_was_shown_and_retry_replaces_it(server: Any, open_page: Callable[..., Any]) -> None:
    server.script.draft = PIECE + ENDLESS
    server.script.delay = 0.1
    page = open_page("/chat")
    page.fill("#question textarea", TWO_THINGS)
    page.click("#send")
    page.wait_for_selector(f"#live .answer >> text={PIECE}")
    page.wait_for_selector("#stop", state="visible")
    page.keyboard.press("Escape")
    page.wait_for_selector(".badge.is-interrupted")
    (stopped,) = _turns(server, page)
    assert stopped.status == "interrupted"
    assert stopped.completed_at is not None
    assert stopped.sentences[0]["text"] == PIECE
    assert page.is_visible("#send")

    server.script.draft, server.script.delay = None, 0.0
    page.click("[data-act=retry]")
    page.wait_for_selector("#live .badge.is-answered")
    (again,) = _turns(server, page)
    assert (again.question, again.replaces) == (TWO_THINGS, stopped.id)
    assert page.locator(".turn").count() == 1


def test_edit_the_last_question(server: Any, open_page: Callable[..., Any], ask: Callable[..., None]) -> None:
    page = open_page("/chat")
    ask(page, "What is a vocabulry?")
    page.click("[data-act=edit]")
    page.fill(".edit textarea", "What is a vocabulary?")
    page.click("text=Ask again")
    page.wait_for_selector("#live .question >> text=What is a vocabulary?")
    page.wait_for_selector("#live .badge")
    (turn,) = _turns(server, page)
    assert turn.question == "What is a vocabulary?"
    assert page.locator(".question").all_inner_texts() == ["What is a vocabulary?"]


def test_thumb_and_correction_are_stored_once_and_said_to_change_nothing_now(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    page = open_page("/chat")
    ask(page, QUESTION)
    page.click("#live [data-rating=down]")
    page.wait_for_selector("text=Saved for the next training run; nothing about the tutor changes now.")
    page.fill("[name=correction]", "A token is a <b>unit</b>.")
    page.click("text=Save correction")
    page.wait_for_selector("text=Your correction is saved")
    (turn,) = _turns(server, page)
    saved = server.rows(feedback.feedback_for_turn, server.services.learner_id, turn.id)
    assert (saved.rating, saved.correction, saved.fate) == ("down", "A token is a <b>unit</b>.", "queued")
    assert saved.messages == turn.messages

    page.reload()
    page.wait_for_selector("#thread .down[aria-pressed=true]")


def test_a_correction_being_written_outlasts_what_else_is_said(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    page = open_page("/chat")
    ask(page, QUESTION)
    page.click("#live [data-rating=down]")
    page.focus("#live [name=correction]")
    page.keyboard.type("A token is a unit")
    # The reason is on its way to the server while the learner goes on writing.
    page.evaluate("document.querySelector('#live [data-reason=wrong]').click()")
    page.keyboard.type(" of text.")
    page.wait_for_selector("#live [data-reason=wrong][aria-pressed=true]")
    page.keyboard.type(" It has a number.")
    assert page.input_value("#live [name=correction]") == "A token is a unit of text. It has a number."
    page.click("#live [data-rating=up]")
    page.wait_for_selector("#live .up[aria-pressed=true]")
    assert page.input_value("#live [name=correction]") == "A token is a unit of text. It has a number."
    page.click("#live >> text=Save correction")
    page.wait_for_selector("text=Your correction is saved")
    (turn,) = _turns(server, page)
    saved = server.rows(feedback.feedback_for_turn, server.services.learner_id, turn.id)
    assert saved.correction == "A token is a unit of text. It has a number."


def test_feedback_has_a_reason_a_visible_fate_and_a_way_back(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    page = open_page("/chat")
    ask(page, QUESTION)
    assert (
        page.inner_text("#live .thumb-note")
        == "A thumb is kept for the next training run. It changes nothing now."
    )
    page.click("#live [data-rating=down]")
    page.wait_for_selector("#live .promise >> text=Saved for the next training run")
    assert page.evaluate("document.activeElement.dataset.rating") == "down"
    (turn,) = _turns(server, page)

    def said() -> Any:
        return server.rows(feedback.feedback_for_turn, server.services.learner_id, turn.id)

    page.focus("#live [data-reason=too_long]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#live [data-reason=too_long][aria-pressed=true]")
    assert page.evaluate("document.activeElement.dataset.reason") == "too_long"
    page.click("#live [data-reason=wrong]")
    page.wait_for_selector("#live [data-reason=wrong][aria-pressed=true]")
    assert page.locator("#live .reason[aria-pressed=true]").count() == 1
    assert (said().rating, said().reason) == ("down", "wrong")
    page.click("#live [data-reason=wrong]")
    page.wait_for_selector("#live .reasons:not(:has([aria-pressed=true]))")
    assert said().reason is None

    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    with server.services.database.session() as session:
        data = registry.put_dataset(session, "d" * 64, "/d", {}, 0, [said().id])
        feedback.set_fate(session, [said().id], "in_dataset", dataset_id=data.id)
    page.reload()
    page.wait_for_selector(f"#thread .promise >> text=In data set {data.id}, made for training.")
    with server.services.database.session() as session:
        feedback.set_fate(session, [said().id], "rejected", reason="nothing says <i>what</i> is right")
    page.reload()
    page.wait_for_selector(
        "#thread .promise >> text=Left out of training: nothing says <i>what</i> is right."
    )

    page.click("#thread [data-act=unrate]")
    page.wait_for_selector("#thread .thumb-note")
    assert page.locator("#thread [aria-pressed=true]").count() == 0
    assert said() is None
    with server.services.database.session(readonly=True) as session:
        assert [d.withdrawn for d in registry.list_datasets(session)] == [1]
    page.click("#thread [data-rating=up]")
    page.wait_for_selector("#thread .up[aria-pressed=true]")
    assert page.locator("#thread .reason").count() == 0
    assert said().rating == "up"


def test_a_conversation_survives_a_restart_and_goes_on(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    page = open_page("/chat")
    ask(page, QUESTION)
    server.restart()
    page.reload()
    page.wait_for_selector("#thread .badge")
    assert TOKEN in page.inner_text("#thread .answer")
    ask(page, "What is a vocabulary?")
    assert [t.question for t in _turns(server, page)] == [QUESTION, "What is a vocabulary?"]
    assert page.locator(".question").all_inner_texts() == [QUESTION, "What is a vocabulary?"]


def test_a_reload_in_the_middle_stops_the_answer_and_offers_a_retry(
    server: Any, open_page: Callable[..., Any]
) -> None:
    server.script.draft = PIECE + ENDLESS
    server.script.delay = 0.1
    page = open_page("/chat")
    page.fill("#question textarea", TWO_THINGS)
    page.press("#question textarea", "Enter")
    page.wait_for_selector("[data-running]")
    page.wait_for_function("location.search.includes('c=')")
    page.reload()
    page.wait_for_selector("#thread .turn")
    deadline = time.monotonic() + 5  # the draft would take 8 s
    while "turns_in_flight 0.0" not in server.get("/metrics"):
        assert time.monotonic() < deadline, "the model went on writing for nobody"
        time.sleep(0.05)
    page.reload()
    page.wait_for_selector("#thread .badge.is-interrupted")
    assert page.is_visible("[data-act=retry]")
    (turn,) = _turns(server, page)
    assert turn.completed_at is not None
    assert len(turn.draft.split()) < 60


def test_not_covered_says_so_and_links_the_nearest_pages(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    page = open_page("/chat")
    ask(page, "Who won the football championship in 1998?")
    assert page.locator(".badge").inner_text() == "Not covered by the material"
    assert page.locator("#live .cite").count() == 0
    assert "page=" in page.get_attribute(".nearest a", "href")


def test_quoted_when_no_draft_sentence_holds(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    server.script.draft = "Elephants paint houses in winter."
    page = open_page("/chat")
    ask(page, QUESTION)
    assert page.locator(".badge").inner_text() == "In the material’s own words"
    assert TOKEN in page.inner_text("#live blockquote")
    assert "Elephants" not in page.content()


def test_an_empty_question_and_one_too_long_are_refused_in_one_line(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/chat")
    page.click("#send")
    page.wait_for_selector("[role=alert] >> text=The question is empty")
    page.fill("#question textarea", "x" * 2001)
    page.click("#send")
    page.wait_for_selector("[role=alert] >> text=2,001 characters")
    assert page.input_value("#question textarea") == "x" * 2001
    assert "c=" not in page.url


def test_conversations_are_renamed_and_deleted(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    page = open_page("/chat")
    ask(page, "What is a pace?")
    number = int(page.url.split("c=")[1])
    row = f".conversation[data-conversation='{number}']"
    assert page.inner_text(f"{row} .conversation-title") == "What is a pace?"
    page.click(f"{row} summary")
    page.fill(f"{row} [name=title]", "About <i>pace</i>")
    page.click(f"{row} >> text=Rename")
    page.wait_for_selector(f"{row} .conversation-title >> text=About <i>pace</i>")
    page.click(f"{row} summary")
    page.evaluate("window.confirm = () => true")
    page.click(f"{row} >> text=Delete")
    page.wait_for_selector(".welcome")
    assert server.rows(conversations.get_conversation, number) is None
    page.goto(f"{server.url}/chat?c={number}")
    page.wait_for_selector("text=This conversation is gone")


def test_by_keyboard_alone(server: Any, open_page: Callable[..., Any]) -> None:
    page = open_page("/chat?page=tokens.md")
    assert page.locator("h1").inner_text() == "Ask about “Tokens”"
    page.evaluate("document.querySelector('.skip').focus()")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "thread"
    page.keyboard.press("/")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("In one line.")
    assert page.input_value("#question textarea") == QUESTION + "\nIn one line."
    page.keyboard.press("Enter")
    page.wait_for_selector("#live .badge")
    for _ in range(30):
        if page.evaluate("document.activeElement.matches('#live .cite')"):
            break
        page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.matches('#live .cite')")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    with page.expect_popup() as opened:
        page.keyboard.press("Enter")
    opened.value.wait_for_selector("#cite")


def test_a_server_that_ends_in_the_middle_keeps_what_was_shown(
    server: Any, open_page: Callable[..., Any]
) -> None:
    server.script.draft = PIECE + ENDLESS
    server.script.delay = 0.1
    page = open_page("/chat")
    page.fill("#question textarea", TWO_THINGS)
    page.click("#send")
    page.wait_for_selector(f"#live .answer >> text={PIECE}")
    server.restart()
    page.reload()
    page.wait_for_selector("#thread .badge.is-interrupted")
    assert page.inner_text("#thread .answer").startswith(PIECE)


def test_a_lost_connection_is_told_where_the_answer_was_coming(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/chat")
    page.context.set_offline(True)
    page.fill("#question textarea", QUESTION)
    page.click("#send")
    page.wait_for_selector("#live >> text=The question was not taken")
    assert page.is_visible("#send")
    assert page.input_value("#question textarea") == QUESTION
    page.context.set_offline(False)
    page.reload()
    page.wait_for_selector(".welcome")
