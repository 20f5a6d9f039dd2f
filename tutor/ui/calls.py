"""What a page's script sends, read without trusting it, and what it is told when something can't be done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tutor import failures
from tutor.ui.chat_store import number, word

UNREADABLE = "This could not be read; reload the page and try again."
OUR_FAULT = "Something went wrong on our side. Nothing was changed; try again."
MAX_TEXT = 20_000


def value(sent: Any, key: str) -> Any:
    """A value of the object that was sent; None where there is none."""
    return sent.get(key) if isinstance(sent, dict) else None


def number_of(sent: Any, key: str) -> int | None:
    """A database id, or None."""
    return number(value(sent, key))


def text_of(sent: Any, key: str, limit: int = MAX_TEXT) -> str:
    """A text of at most `limit` characters, "" where there is none."""
    return word(value(sent, key), limit) or ""


def seconds_of(sent: Any, most: float) -> float:
    """A duration in seconds from 0 to `most`; 0 for what is no duration."""
    found = value(sent, "seconds")
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < float("inf"):
        return 0.0
    return min(float(found), most)


def told(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` gives, or {"error": one line for the learner}; a bug of ours is reported, not shown."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - told to the learner, or reported as ours
        if failures.exit_code(error) is None:
            failures.report(error, home=None)
            return {"error": OUR_FAULT}
        text = failures.one_line(error)
        return {"error": f"{text[:1].upper()}{text[1:].rstrip('.')}."}
