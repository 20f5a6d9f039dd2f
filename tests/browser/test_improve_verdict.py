"""The verdict on the Improve page in Chromium: refused, judged in blind votes, promoted and rolled back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from db import registry
from tests.browser.improve_rows import add_adapter, shot

pytestmark = pytest.mark.timeout(700)


def test_a_refused_adapter_says_which_rule_broke_and_has_no_button(
    server: Any, improve: Callable[..., Any]
) -> None:
    add_adapter(server, "v1", promote=False)
    page = improve()
    box = page.inner_text("[data-part=result]")
    assert "No. v1 broke a rule." in box
    assert "One rule refused it" in box
    assert page.locator("[data-do=promote]").count() == 0
    broken = page.locator(".rules .is-broken")
    assert broken.count() == 1
    assert "broken" in broken.inner_text()
    assert "+0.010 (-0.060 to +0.080, 120 questions)" in broken.inner_text()
    assert page.locator(".rules .is-kept").count() == 3
    shot(page, "refused")


def _order(page: Any) -> list[str]:
    return [one.inner_text() for one in page.locator(".choice-text").all()]


def test_votes_are_blind_counted_and_kept(server: Any, improve: Callable[..., Any]) -> None:
    add_adapter(server, "v2", promote=True)
    page = improve()
    page.wait_for_selector(".ballot")
    assert page.inner_text(".ballot-question") == "What is a token?"
    ballot = page.inner_html(".ballot")
    assert not any(name in ballot for name in ("candidate", "served", "base model", "v2"))
    assert [one.inner_text() for one in page.locator(".choice-letter").all()] == ["A", "B", "C"]
    assert not any("[1]" in text for text in _order(page))
    order = _order(page)
    page.reload()
    page.wait_for_selector(".ballot")
    assert _order(page) == order  # the same learner sees the same order
    shot(page, "vote")

    short = next(n for n, text in enumerate(order) if text.startswith("A piece of text"))
    page.locator(".choice").nth(short).get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".choice.is-chosen")
    assert _order(page) == order
    assert "candidate v2" in page.locator(".choice.is-chosen").inner_text()
    assert page.evaluate("() => document.activeElement.textContent") == "Next question"
    assert "1 of 2 voted" in page.inner_text(".tally")  # on the third question nothing differs
    assert "1 vote" in page.locator(".tally li", has_text="candidate v2").inner_text()
    shot(page, "voted")

    page.keyboard.press("Enter")
    page.wait_for_selector(".ballot-question >> text=Who baked the bread")
    assert page.locator(".choice").count() == 2  # two of them gave one answer
    page.click("text=No difference")
    page.wait_for_selector(".tally >> text=2 of 2 voted")
    assert "You saw no difference." in page.inner_text(".ballot")
    page.reload()
    page.wait_for_selector(".tally >> text=2 of 2 voted")
    assert "You have voted on all 2." in page.inner_text("[data-part=vote]")
    server.restart()
    page.reload()
    page.wait_for_selector(".tally >> text=2 of 2 voted")


def test_promote_roll_back_undo_by_keyboard(server: Any, improve: Callable[..., Any]) -> None:
    add_adapter(server, "v3", promote=True)
    page = improve()
    assert "Yes. v3 kept every rule." in page.inner_text("[data-part=result]")
    page.focus("[data-do=promote]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#now-title >> text=v3")
    assert server.rows(registry.served_adapter).name == "v3"
    page.wait_for_selector("[data-fingerprint] >> text=121212121212")
    assert "v3 answers now." in page.inner_text(".promoted")
    assert page.evaluate("() => document.activeElement.className") == "promoted"
    assert "v3 answers from now on." in page.inner_text("#improve-told")
    shot(page, "promoted")

    page.focus("[data-do=rollback]")
    assert page.inner_text("[data-do=rollback]") == "Roll back to the base model"
    page.keyboard.press("Enter")
    page.wait_for_selector("#now-title >> text=The base model")
    assert server.rows(registry.served_adapter) is None
    assert page.evaluate("() => document.activeElement.textContent") == "Undo"
    page.wait_for_selector("[data-fingerprint] >> text=abababababab")
    assert page.locator("[data-do=promote]").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_selector("#now-title >> text=v3")
    assert server.rows(registry.served_adapter).name == "v3"
    page.click(".now summary")
    rows = [row.inner_text() for row in page.locator(".versions li").all()]
    assert len(rows) == 3
    assert "Rollback undone." in rows[0]
    assert [one.inner_text() for one in page.locator(".versions .tag").all()] == ["now"]
    assert "Rolled back by hand." in rows[1]
    assert "The base model" in rows[1]

    page.click(".versions a >> nth=0")
    page.wait_for_selector("h1 >> text=Adapter v3")
    assert "A candidate <script>alert(1)</script>." in page.inner_text("#main")
    assert page.locator("table td >> text=0.58").count() == 1
    shot(page, "report")
    page.click("text=‹ Improve")
    page.wait_for_selector(".now")
    assert page.request.get(server.url + "/improve/report/nobody").status == 404
    assert page.request.get(server.url + "/improve/report/..%2F..%2Fsecret").status == 404
    assert page.request.get(server.url + "/improve/export/v3").headers["content-type"] == "application/zip"
    with server.services.database.session() as session:
        registry.rollback(session, "end of the test")


def test_pages_that_stand_for_themselves_fit_a_phone(server: Any, open_page: Callable[..., Any]) -> None:
    add_adapter(server, "v9", promote=True)
    page = open_page("/improve", width=360, height=780, phone=True)
    for path, title in (("/improve/report/v9", "Adapter v9"), ("/improve/nowhere/at-all", "No such page")):
        page.goto(server.url + path)
        assert page.title() == f"{title} · Study Tutor"
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    page.click("text=Review")
    page.wait_for_selector("body.is-ready")
    assert page.url == server.url + "/review"
