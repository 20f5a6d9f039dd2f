"""A text as the model reads it: the pieces of its own tokenizer, with the bytes of characters that it splits."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from tutor.wire import InputError

if TYPE_CHECKING:
    from tutor.settings import Settings

MAX_CHARS = 1000
Kind = Literal["text", "bytes", "special"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One token. A piece of `bytes` is a part of the character `of`; its text is the bytes in hexadecimal."""

    id: int
    text: str
    kind: Kind
    of: str = ""


class Tokens:
    """The tokenizer of the model that writes, loaded with the first text. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._tokenizer: Any = None

    def pieces(self, text: str) -> list[Piece]:
        """Raises InputError for too long a text or where a server writes, GeneratorError if it can't be loaded."""
        if self._settings.server_url:
            raise InputError(
                "a server writes, and its tokenizer is not on this machine; unset `server_url` first"
            )
        if len(text) > MAX_CHARS:
            raise InputError(f"at most {MAX_CHARS} characters fit here; this text has {len(text)}")
        return pieces(self._loaded(), text.encode("utf-8", "replace").decode("utf-8"))

    def _loaded(self) -> Any:
        from transformers import AutoTokenizer

        from tutor.generators.protocol import GeneratorError
        from tutor.models import model_folder

        with self._lock:
            if self._tokenizer is None:
                folder = model_folder(self._settings)
                try:
                    self._tokenizer = AutoTokenizer.from_pretrained(
                        folder, trust_remote_code=False, local_files_only=True
                    )
                except (OSError, ValueError, KeyError) as error:
                    raise GeneratorError(f"The tokenizer in {folder} can't be loaded.") from error
            return self._tokenizer


def pieces(tokenizer: Any, text: str) -> list[Piece]:
    """The tokens of `text`, in order."""
    encoded = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    raw = [
        token.encode() if number in special else _bytes(token)
        for number, token in zip(encoded.ids, encoded.tokens, strict=True)
    ]
    if b"".join(part or b"" for part in raw) != text.encode():
        return [_by_offset(encoded, number, special, text) for number in range(len(encoded.ids))]
    characters = [character for character in text for _ in character.encode()]
    found, at = [], 0
    for number, part in zip(encoded.ids, raw, strict=True):
        assert part is not None
        try:
            kind: Kind = "special" if number in special else "text"
            found.append(Piece(number, part.decode(), kind))
        except UnicodeDecodeError:
            of = "".join(dict.fromkeys(characters[at : at + len(part)]))
            found.append(Piece(number, part.hex(" ").upper(), "bytes", of))
        at += len(part)
    return found


def _by_offset(encoded: Any, number: int, special: set[int], text: str) -> Piece:
    """A token of a tokenizer that doesn't keep every byte: what of the text it stands for."""
    start, end = encoded.offsets[number]
    token, number_id = encoded.tokens[number], encoded.ids[number]
    if number_id in special:
        return Piece(number_id, token, "special")
    if token.startswith("<0x") and token.endswith(">"):
        return Piece(number_id, token[3:-1], "bytes", text[start:end])
    return Piece(number_id, text[start:end] or token, "text")


def _bytes(token: str) -> bytes | None:
    """The bytes that a token of byte-level BPE stands for; None if it is of another kind."""
    alphabet = _alphabet()
    values = [alphabet.get(character) for character in token]
    return None if None in values else bytes(value for value in values if value is not None)


@cache
def _alphabet() -> dict[str, int]:
    """The letters in which byte-level BPE writes bytes: printable ones as themselves, the rest from 256 up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    return {chr(v): v for v in printable} | {chr(256 + n): v for n, v in enumerate(others)}
