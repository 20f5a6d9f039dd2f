"""The study record: empty at first, then what was read and asked, by period."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from db import study


def test_history_tells_what_was_read_and_asked(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    page = open_page("/history")
    assert page.locator(".empty").count() == 3

    now = datetime.now(UTC)
    with server.services.database.session() as session:
        for days, minutes in ((0, 12), (2, 30), (20, 6)):
            study.record_reading(
                session,
                server.services.learner_id,
                "tokens.md",
                f"part-{days}" if days else "what-it-is",
                seconds=60 * minutes,
                read=True,
                at=now - timedelta(days=days),
            )
    chat = open_page("/chat")
    ask(chat, "What is a token?")

    page.reload()
    page.wait_for_selector(".chart")
    assert page.locator(".totals dd").all_inner_texts() == ["42 min", "2", "1", "2 of 7"]
    bars = [float(bar.get_attribute("height")) for bar in page.locator(".bar").all()]
    assert len(bars) == 7
    assert bars[6] / bars[4] == 12 / 30  # the axis starts at zero
    assert page.locator(".chart svg > text").all_text_contents()[:3] == ["0", "15", "30 min"]
    assert "Tokens" in page.inner_text(".rows >> nth=0")
    assert "Answered" in page.inner_text(".asked-row")

    page.click("text=Last 30 days")
    page.wait_for_selector(".bar >> nth=29")
    page.click(".asked-row a")
    page.wait_for_selector("#thread .question >> text=What is a token?")
