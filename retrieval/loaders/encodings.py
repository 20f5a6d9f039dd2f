"""Bytes -> text: the encoding is what a mark says, what the file declares, UTF-8, or the best guess, in this order."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any

from retrieval.loaders import LoadError

# utf-32 first: its little-endian mark begins with that of utf-16.
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAX_CONTROL_SHARE = 0.01
_MAX_REPLACED_SHARE = 0.05
_SAMPLE = 200_000  # bytes shown to the guesser; it reads about 1 MB/s
_FEW = (
    0.2  # share of non-ASCII bytes up to which Western text is likelier than what a short sample looks like
)
_MULTIBYTE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f]")
_MARKS = "‘’“”„–—…•€£§©®°±²³·»«¿¡½¼¾×÷\xa0"
_INSIDE_WORDS = re.compile(r"[^\W\d_][¿³¹²¾¼½£¥§±¶¯¡][^\W\d_]")  # what is a letter in cp1250 or cp1257
# Guesses are made among encodings that material comes in; the full list has look-alikes for mainframes.
_GUESSED = (
    "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "iso8859_2",
    "iso8859_5", "cp866", "mac_roman", "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, the encoding where it had to be declared or guessed ("" for UTF-8 and marked files), and its losses."""

    text: str
    encoding: str = ""
    replaced: int = 0

    def meta(self) -> dict[str, Any]:
        """What is worth remembering of it beside the document."""
        found: dict[str, Any] = {}
        if self.encoding:
            found["encoding"] = self.encoding
        if self.replaced:
            found["replaced_characters"] = self.replaced
        return found


def decode_text(data: bytes, declared: str = "") -> Decoded:
    """The text of a file, newlines made "\\n", a byte order mark dropped. `declared` is what the file says of itself.

    Bytes that fit no encoding become U+FFFD and are counted. Raises LoadError: empty, or no text at all.
    """
    if not data.strip(b"\0 \t\r\n"):
        raise LoadError("the file is empty")
    decoded = _marked(data) or _declared(data, declared) or _unmarked(data)
    text = decoded.text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip("\ufeff \t\n"):
        raise LoadError("the file is empty")
    if "\0" in text or len(_CONTROLS.findall(text)) > _MAX_CONTROL_SHARE * len(text):
        raise LoadError("looks like a binary file, not text")
    if decoded.replaced > max(3, _MAX_REPLACED_SHARE * len(text)) or 2 * decoded.replaced > len(text):
        raise LoadError("damaged: too many characters can't be read; save it as UTF-8")
    return Decoded(text, decoded.encoding, decoded.replaced)


def _marked(data: bytes) -> Decoded | None:
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _replacing(data[len(mark) :], name, "")
    return None


def _declared(data: bytes, declared: str) -> Decoded | None:
    """By the file's own word, unless that is plainly wrong."""
    try:
        name = codecs.lookup(declared.strip()).name if declared.strip() else ""
    except (LookupError, ValueError):
        return None
    if name in ("", "utf-8") or name.startswith(("utf-16", "utf-32")):  # it was read as ASCII, so not those
        return None
    if name in ("iso8859-1", "ascii"):  # as browsers do
        name = "cp1252"
    try:
        return Decoded(data.decode(name), name)
    except (UnicodeError, LookupError):  # LookupError: "rot13", "base64" and other codecs that give no text
        return None


def _unmarked(data: bytes) -> Decoded:
    if b"\0" in data:
        return _wide(data)
    try:
        return Decoded(data.decode("utf-8"))
    except UnicodeDecodeError:
        pass
    as_utf8 = _replacing(data, "utf-8", "")
    if len(_MULTIBYTE.findall(data)) > 2 * as_utf8.replaced:  # UTF-8 with a few broken places
        return as_utf8
    return _guessed(data)


def _wide(data: bytes) -> Decoded:
    """UTF-16 without its mark: only ever one half of a character is zero."""
    first, second = data[:_SAMPLE:2].count(0), data[1:_SAMPLE:2].count(0)
    if len(data) % 2 == 0 and not (first and second):
        decoded = _replacing(data, "utf-16-be" if first else "utf-16-le", " (guessed)")
        sample = decoded.text[:_SAMPLE]
        if sum(c.isprintable() or c in "\r\n\t" for c in sample) >= 0.98 * len(sample):
            return decoded
    raise LoadError("looks like a binary file, not text")


def _guessed(data: bytes) -> Decoded:
    from charset_normalizer import from_bytes

    high = len(data) - len(data.translate(None, bytes(range(128, 256))))
    best = None
    if not _western(data, high > _FEW * len(data)):
        best = from_bytes(data[:_SAMPLE], cp_isolation=list(_GUESSED), language_threshold=0.05).best()
    if best is None and not _western(data, False):
        raise LoadError("looks like a binary file, not text")
    return _replacing(data, best.encoding if best else "cp1252", " (guessed)")


def _western(data: bytes, foreign: bool) -> bool:
    """Could this be cp1252: letters of Western Europe and typographic marks, no bytes without a meaning?

    Where `foreign`, so many bytes are not ASCII that only marks speak for it: letters may be another alphabet's.
    """
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    odd = [c for c in text if c > "\x7f"]
    likely = sum((c.isalpha() and not foreign) or c in _MARKS for c in odd)
    return likely >= 0.8 * len(odd) and not _CONTROLS.search(text) and not _INSIDE_WORDS.search(text)


def _replacing(data: bytes, encoding: str, how: str) -> Decoded:
    text = data.decode(encoding, "replace")
    replaced = text.count("\ufffd") - data.count("\ufffd".encode()) * (encoding == "utf-8")
    name = codecs.lookup(encoding).name
    return Decoded(text, f"{name}{how}" if how or name not in {n for _, n in _BOMS} else "", max(replaced, 0))
