"""The Socratic switch: nothing of the answer reaches the browser before a try or a wish to see it; then all does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from db import conversations

QUESTION = "Which piece of text does a model handle as one unit?"
TOKEN = "A token is a piece of text that a model handles as one unit."
DRAFT = "A token is text that a model handles as one unit."
# Two sentences answer this one, so that a draft is not at its end with the first.
TWO_THINGS = "How is a token of text handled by a model and known by a tokenizer as a list?"
SHOWN = (TOKEN, DRAFT)
STORED = (
    "ab" * 6,
    "Use only the notes",
    "**piece of text**",
    "Bread is baked daily",
    "A vocabulary is the fixed list",
)
SECRETS = (*SHOWN, *STORED, "cite=")


@pytest.fixture(autouse=True)
def _fresh(server: Any) -> Iterator[None]:
    """Every test starts without conversations, and with a model that writes one true sentence."""
    from db.portable import delete_learner_data

    server.script.draft, server.script.delay = DRAFT, 0.0
    yield
    with server.services.database.session() as session:
        delete_learner_data(session, server.services.learner_id)


class Sent:
    """Every byte of every body that the server sends from now on, event streams included, to whatever page."""

    def __init__(self, server: Any) -> None:
        self.parts: list[bytes] = []
        config = server.server.config
        app = config.loaded_app

        async def tapped(scope: Any, receive: Any, send: Any) -> None:
            async def told(message: Any) -> None:
                self.parts.append(
                    message.get("body", b"") if message["type"] == "http.response.body" else b""
                )
                await send(message)

            plain = [pair for pair in scope.get("headers", ()) if pair[0] != b"accept-encoding"]
            await app({**scope, "headers": plain} if "headers" in scope else scope, receive, told)

        config.loaded_app = tapped  # taken by every connection that is opened from here on

    def text(self, page: Any) -> str:
        page.wait_for_timeout(300)
        sent = b"".join(self.parts).decode("utf-8", "replace") + page.content()
        return sent.replace("\\u003c", "<").replace("\\u201c", "“").replace("\\u00a0", " ")


def _ask(page: Any, question: str = QUESTION) -> None:
    page.fill("#question textarea", question)
    page.press("#question textarea", "Enter")
    page.wait_for_selector("#live .badge")


def _switch_on(page: Any) -> None:
    page.get_by_role("switch", name="Socratic").check()


def _turn(server: Any, page: Any) -> Any:
    return server.rows(conversations.turns_of, int(page.url.split("c=")[1]))[-1]


def _found(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def test_nothing_of_the_answer_reaches_the_browser_before_a_try(
    server: Any, open_page: Callable[..., Any]
) -> None:
    received = Sent(server)
    page = open_page("/chat")
    _switch_on(page)
    _ask(page)
    page.wait_for_selector(".nudge")
    assert page.inner_text(".nudge-sentence").replace("\u2060", "").split() == (
        "A (blank) is a piece of text that a model handles as one unit.".split()
    )
    assert page.inner_text(".nudge-place") == "Look in Tokens: What it is"
    assert "section=what-it-is" in page.get_attribute(".nudge-place a", "href")
    assert page.locator("#sources a").count() == 0
    turn = _turn(server, page)
    assert (turn.status, turn.socratic["revealed_at"]) == ("answered", None)
    assert turn.socratic["hint"].startswith("Look in Tokens › What it is. A ____ is a piece")

    page.reload()  # another tab, another day: still held back
    page.wait_for_selector("#thread .nudge")
    text = received.text(page)
    assert "Show the answer" in text  # what is looked for would be seen
    assert _found(text) == []

    page.fill(".nudge textarea", DRAFT)
    page.press(".nudge textarea", "Control+Enter")
    page.wait_for_selector(".tried[open]")
    text = received.text(page)
    assert [s for s in SHOWN if s not in text] == []
    assert page.locator(".tried .point-label").first.inner_text() == "You made this point"
    page.click("summary:has-text('What happened')")
    page.wait_for_selector(".what-body table")
    assert "Use only the notes" in received.text(page)
    assert page.inner_text("#thread .badge") == "Checked against the material"
    assert TOKEN in page.inner_text("#sources .is-cited .quote")
    turn = _turn(server, page)
    assert turn.socratic["reply"] == DRAFT
    assert turn.socratic["grade"]["points"][0]["hit"] is True

    page.reload()
    page.wait_for_selector("#thread .tried")
    assert not page.is_visible(".tried-reply")  # folded
    assert DRAFT in page.inner_text("#thread .answer")


def test_the_answer_is_shown_on_demand_and_the_first_of_two_tabs_counts(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/chat")
    _switch_on(page)
    _ask(page)
    page.fill(".nudge textarea", "Something half")
    other = open_page("/chat?c=" + page.url.split("c=")[1])
    other.click("text=Show the answer")
    other.wait_for_selector("#thread .answer >> text=" + DRAFT)
    assert other.locator(".tried").count() == 0
    assert other.evaluate("document.activeElement.className") == "answer"

    page.reload()  # the draft of a reply is kept in its browser until then
    page.wait_for_selector("#thread .answer")
    assert _turn(server, page).socratic["reply"] is None
    assert page.get_by_role("switch").is_checked()  # remembered in this browser
    assert not other.get_by_role("switch").is_checked()  # and in no other


def test_a_draft_survives_a_reload_and_an_empty_reply_is_refused_in_one_line(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/chat")
    _switch_on(page)
    _ask(page)
    page.click("text=Check my answer")
    page.wait_for_selector("[role=alert] >> text=Write what you think first")
    page.fill(".nudge textarea", "Half a thought")
    page.reload()
    page.wait_for_selector("#thread .nudge")
    assert page.input_value(".nudge textarea") == "Half a thought"
    assert _turn(server, page).socratic["revealed_at"] is None


def test_what_is_not_covered_is_said_at_once(server: Any, open_page: Callable[..., Any]) -> None:
    page = open_page("/chat")
    _switch_on(page)
    _ask(page, "Who won the football championship in 1998?")
    assert page.inner_text("#live .badge") == "Not covered by the material"
    assert page.locator(".nudge").count() == 0
    assert _turn(server, page).socratic["revealed_at"] is not None


def test_a_stop_and_a_server_that_ends_in_the_middle_leave_nothing_to_see(
    server: Any, open_page: Callable[..., Any]
) -> None:
    server.script.draft = TOKEN + "\nA model " + "handles one unit and " * 20
    server.script.delay = 0.1
    received = Sent(server)
    page = open_page("/chat")
    _switch_on(page)
    page.fill("#question textarea", TWO_THINGS)
    page.press("#question textarea", "Enter")
    page.wait_for_function("location.search.includes('c=')")
    deadline = time.monotonic() + 10
    time.sleep(3)  # the first sentence is checked by now
    page.keyboard.press("Escape")
    page.wait_for_selector("#live .badge.is-interrupted")
    turn = _turn(server, page)
    assert time.monotonic() < deadline
    assert turn.sentences[0]["text"] == TOKEN
    page.reload()
    page.wait_for_selector("#thread .nudge")
    assert page.is_visible("#thread [data-act=retry]")
    assert _found(received.text(page)) == []


def test_switched_off_nothing_is_different(server: Any, open_page: Callable[..., Any]) -> None:
    server.script.delay = 0.3
    page = open_page("/chat")
    assert not page.get_by_role("switch").is_checked()
    page.fill("#question textarea", QUESTION)
    page.press("#question textarea", "Enter")
    page.wait_for_selector("#sources .source")  # sources come before the first word
    assert page.locator("#live .badge").count() == 0
    page.wait_for_selector("#live .badge.is-answered")
    assert _turn(server, page).socratic is None
    assert page.is_visible("summary:has-text('What happened')")


def test_by_keyboard_alone(server: Any, open_page: Callable[..., Any]) -> None:
    page = open_page("/chat")
    page.locator("#question textarea").focus()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "socratic-on"
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector(".nudge")
    for _ in range(8):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.matches('.nudge textarea')"):
            break
    page.keyboard.type("A token is a piece of text.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".tried")
    assert page.evaluate("document.activeElement.matches('.tried > summary')")
