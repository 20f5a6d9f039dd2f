"""A text as the tokens that a model reads."""

from __future__ import annotations

import pytest

from tests.tutor.lab.sample import tokenizer
from tutor.lab_tokens import MAX_CHARS, Tokens, pieces
from tutor.services import Services
from tutor.settings import Settings
from tutor.wire import InputError


def test_pieces_put_together_are_the_text_and_split_characters_are_bytes() -> None:
    text = "the a 🙂é<|im_end|>"
    found = pieces(tokenizer(), text)
    whole = b"".join(bytes.fromhex(p.text) if p.kind == "bytes" else p.text.encode() for p in found)
    assert whole == text.encode()
    assert [(p.text, p.id) for p in found[:3]] == [("th", 256), ("e", found[1].id), (" a", 257)]
    split = [p for p in found if p.kind == "bytes"]
    assert [p.text for p in split if p.of == "🙂"] == ["F0", "9F", "99", "82"]
    assert [p.text for p in split if p.of == "é"] == ["C3", "A9"]
    assert [p.text for p in found if p.kind == "special"] == ["<|im_end|>"]
    assert pieces(tokenizer(), "") == []


def test_the_tokenizer_is_the_models_own_and_a_servers_is_not_here(services: Services) -> None:
    tokens = Tokens(services.settings)
    assert [piece.text for piece in tokens.pieces("that")] == ["th", "a", "t"]
    with pytest.raises(InputError, match=f"at most {MAX_CHARS:}"):
        tokens.pieces("a" * (MAX_CHARS + 1))
    with pytest.raises(InputError, match="server"):
        Tokens(Settings(home=services.settings.home, server_url="http://127.0.0.1:1/v1")).pieces("a")
