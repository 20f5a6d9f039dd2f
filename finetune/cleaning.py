"""One text at a time: markup and citation numbers off, personal data found, two spellings of one text made equal. Pure.

What looks like personal data or a secret is never masked: whoever wrote it is told, and it stays out. Patterns find
addresses of mail, numbers and keys. Names of people and street addresses have no pattern and are not found.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections import Counter
from itertools import pairwise

from retrieval.sentences import one_line, plain
from tutor.answer import without_citations

_IMAGE = re.compile(r"!\[[^\]]*\](?:\([^)\s]*(?:\s+[^)]*)?\)|\[[^\]]*\])")
_LINE_MARK = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+|\d{1,2}[.)][ \t]+|```\w*[ \t]*$)", re.MULTILINE
)
_ALNUM = re.compile(r"[^\W_]+", re.UNICODE)

_MAIL = re.compile(r"[\w.+-]+\s?(?:@|\(at\)|\[at\])\s?[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
_CREDENTIAL_URL = re.compile(
    r"\b[a-z][a-z0-9+.-]*://[^\s/@]+:[^\s/@]+@|[?&](?:token|key|api_?key|access_token|secret|password|sig)=\S",
    re.IGNORECASE,
)
_PASSWORD = re.compile(
    r"\b(?:pass(?:word|phrase|wd)|api[ _-]?key|secret(?: key)?|access[ _-]?token)\b\s*(?:is|=|:)\s*"
    r"[\"'`]?(?=\S*[\d!#$%&*^])[^\s\"'`]{6,}",
    re.IGNORECASE,
)
_KEYS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(?:sk|pk|rk)[-_](?:live|test|proj|ant)?[-_]?[A-Za-z0-9_-]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bhf_[A-Za-z0-9]{20,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}|\bxox[abprs]-[\w-]{10,}|\beyJ[\w-]{10,}\.[\w-]{10,}"
    r"|\bBearer\s+[\w.~+/-]{16,}"
)
_KEY_LIKE = re.compile(r"(?<![\w/.-])[A-Za-z0-9+/_-]{24,}={0,2}(?![\w/-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\d.,])\d(?:[ -]?\d){12,18}(?![\d,]|\.\d)")
_SOCIAL = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
_PHONE = re.compile(
    r"(?<![\w.,+/-])(?:"
    r"(?:\+|00)[1-9]\d{0,2}(?:[ ./()-]{0,2}\d){7,12}"
    r"|\(0?\d{2,4}\)[ .-]?\d{3,4}[ .-]?\d{3,5}"
    r"|\d{3}[ .-]\d{3}[ .-]\d{4}"
    r"|0\d{2,4}[ /-]\d{3,4}(?:[ -]?\d{2,5})?(?:[ -]?\d{1,4})?"
    r")(?![\w%]|[.,]\d)"
)
_PHONE_DIGITS = 8
_JOINERS = "\u200c\u200d"
_MIN_ENTROPY = 3.5  # bits a character from which a long mixed token reads like a key


def strip_markup(text: str) -> str:
    """The words of a text that somebody wrote, on one line: no HTML, Markdown marks, images or link targets, no
    control or zero-width characters, no citation numbers."""
    import nh3

    text = unicodedata.normalize("NFC", text.replace("\r", "\n"))
    for _ in range(3):  # markup that was escaped appears once the escapes are undone
        stripped = html.unescape(nh3.clean(text, tags=set(), clean_content_tags={"script", "style"}))
        if stripped == text:
            break
        text = stripped
    text = "".join(c for c in text if c in "\n\t" or not is_invisible(c))
    text = _LINE_MARK.sub("", _IMAGE.sub("", text))
    return one_line(without_citations(plain(one_line(without_citations(text)))))


def is_invisible(character: str) -> bool:
    """Control, format and private characters: nothing a reader sees. Line breaks and tabs are not among them."""
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs")


def hides_something(text: str) -> bool:
    """Does the text hold characters that nobody sees? Those that join emoji and letters of other scripts may stay."""
    return any(
        is_invisible(c) and not (c in _JOINERS and i and not text[i - 1].isascii())
        for i, c in enumerate(text)
    )


def personal_data(text: str) -> str | None:
    """What in this text looks like personal data or a secret, in words such as "an e-mail address"; None: nothing."""
    if _MAIL.search(text):
        return "an e-mail address"
    if _CREDENTIAL_URL.search(text):
        return "a link with a password or key in it"
    if _PASSWORD.search(text):
        return "a password or key"
    if _KEYS.search(text) or any(_reads_like_a_key(m.group()) for m in _KEY_LIKE.finditer(text)):
        return "what looks like a key or password"
    if any(_is_iban(m.group()) for m in _IBAN.finditer(text)):
        return "a bank account number"
    if any(_passes_luhn(m.group()) for m in _CARD.finditer(text)):
        return "what looks like a card number"
    if _SOCIAL.search(text):
        return "what looks like a social security number"
    if any(sum(c.isdigit() for c in m.group()) >= _PHONE_DIGITS for m in _PHONE.finditer(text)):
        return "a phone number"
    return None


def normal(text: str) -> str:
    """The text as its letters and digits alone: texts that differ in case, marks or spaces only are the same."""
    return " ".join(_ALNUM.findall(unicodedata.normalize("NFKC", text).casefold()))


def _reads_like_a_key(token: str) -> bool:
    """Long, letters and digits mixed, and every character a surprise: not a word, a path or a number."""
    mixed = any(c.isdigit() for c in token) and any(c.isalpha() for c in token)
    counts = Counter(token)
    entropy = -sum(n / len(token) * math.log2(n / len(token)) for n in counts.values())
    changes = sum(a.isdigit() != b.isdigit() for a, b in pairwise(token))
    return mixed and entropy >= (3.0 if re.fullmatch(r"[0-9a-f]+", token) else _MIN_ENTROPY) and changes >= 4


def _passes_luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d if i % 2 == 0 else d * 2 - 9 * (d > 4) for i, d in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    """Does it pass the check digits of ISO 13616?"""
    compact = re.sub(r"[ -]", "", text)
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1
