"""The scripted generator keeps the protocol that the tests of other parts rely on."""

from __future__ import annotations

import threading
import time

import pytest

from tutor.generators.protocol import GeneratorError, Message, Usage
from tutor.generators.scripted import ScriptedGenerator

ASKED: list[Message] = [{"role": "user", "content": "what is a token"}]


def test_plays_texts_in_order_and_repeats_the_last() -> None:
    generator = ScriptedGenerator(["One  two.\n", GeneratorError("down"), "Three"])
    draft = generator.stream(ASKED, max_new_tokens=10)
    assert "".join(draft) == "One  two.\n"
    assert (draft.usage, draft.finish_reason) == (Usage(4, 3), "stop")
    with pytest.raises(GeneratorError, match="down"):
        generator.stream(ASKED, max_new_tokens=10)
    assert ["".join(generator.stream(ASKED, max_new_tokens=10)) for _ in range(2)] == ["Three", "Three"]
    assert generator.asked == [ASKED] * 4


def test_a_function_answers_the_messages_up_to_the_limit() -> None:
    draft = ScriptedGenerator(lambda messages: messages[-1]["content"]).stream(ASKED, max_new_tokens=2)
    assert list(draft) == ["what", " is"]
    assert draft.finish_reason == "length"


def test_cancel_wakes_a_slow_writer() -> None:
    draft = ScriptedGenerator(["a b c"], delay_s=30).stream(ASKED, max_new_tokens=5)
    threading.Timer(0.1, draft.cancel).start()
    start = time.monotonic()
    assert list(draft) == []
    assert draft.finish_reason == "cancelled"
    assert time.monotonic() - start < 5
