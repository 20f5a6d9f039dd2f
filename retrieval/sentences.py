"""Text -> sentences, by their places. `sentencex` finds the ends; this keeps the offsets and tames the extremes.

How a sentence is compared or searched is `words.py`; which blocks a file consists of is `loaders/`.
"""

from __future__ import annotations

import re
from typing import Any

from retrieval.loaders.inline import inline_text

# Longer "sentences" are data without punctuation (logs, base64): they are cut, at a space where there is one.
MAX_SENTENCE_CHARS = 1500

_SPACE = re.compile(r"\s")
_LABEL = re.compile(r"\s*[(\[]?(?:\d{1,3}|[A-Za-z]|[ivx]{1,4})[.)\]]\s*\Z")  # "2." opens what follows it


# "**Speed.** A learner expects ...": the label says nothing without the sentence it opens.
_BOLD_LABEL = re.compile(r"\s*\*\*[^*.:!?]{1,60}[.:]\*\*\s")


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Spans (start, end) of the sentences of a plain text without blank lines, trimmed of outer whitespace.

    Together they hold every character that is not whitespace, in order. A line break counts as a space.
    """
    from sentencex import get_sentence_boundaries

    flat = _SPACE.sub(" ", text)
    spans: list[tuple[int, int]] = []
    start = 0
    for boundary in get_sentence_boundaries("en", flat):
        end = boundary["end_index"]
        piece = flat[start:end]
        if _LABEL.match(piece) or not any(c.isalnum() for c in piece):
            continue  # no sentence of its own: keep it with the next one
        spans.append((start, end))
        start = end
    if start < len(flat):
        if spans and not any(c.isalnum() for c in flat[start:]):
            spans[-1] = (spans[-1][0], len(flat))
        else:
            spans.append((start, len(flat)))
    return [part for span in spans for part in _capped(flat, *span)]


def split_markdown(source: str, env: dict[str, Any] | None = None) -> list[tuple[int, int, str]]:
    """The sentences of one inline Markdown run: (start, end) in `source`, and the plain words.

    Sentences are found in the words, not in the marks: a full stop inside code or a link target ends nothing.
    `env` as in `inline_text`. Sentences without a letter or digit (an image with no description, "***") are left out.
    """
    inline = inline_text(source, env)
    masked = "".join("x" if hidden else c for c, hidden in zip(inline.text, inline.opaque, strict=True))
    spans = split_sentences(masked)
    if len(spans) > 1 and _BOLD_LABEL.match(source):
        spans[:2] = [(spans[0][0], spans[1][1])]
    sentences: list[tuple[int, int, str]] = []
    cut = 0
    for number, (start, end) in enumerate(spans):
        last = number == len(spans) - 1
        # The next sentence starts after the whitespace behind this one, so closing marks stay here.
        following = len(inline.text) if last else spans[number + 1][0]
        stop = len(source) if last else inline.ends[following - 1]
        words = one_line(inline.text[start:end])
        if any(c.isalnum() for c in words):
            sentences.append((*trim(source, cut, stop), words))
        cut = stop
    return sentences


def plain(markdown_fragment: str) -> str:
    """The words of an inline Markdown fragment on one line: no emphasis, ticks or link targets."""
    return one_line(inline_text(markdown_fragment).text)


def one_line(text: str) -> str:
    """`text` with every run of whitespace made one space."""
    return " ".join(text.split())


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """The span (start, end) without its outer whitespace."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _capped(flat: str, start: int, end: int) -> list[tuple[int, int]]:
    """The span trimmed, and cut in pieces of at most MAX_SENTENCE_CHARS."""
    parts = []
    start, end = trim(flat, start, end)
    while end - start > MAX_SENTENCE_CHARS:
        space = flat.rfind(" ", start + 1, start + MAX_SENTENCE_CHARS)
        stop = space if space > start else start + MAX_SENTENCE_CHARS
        parts.append(trim(flat, start, stop))
        start, _ = trim(flat, stop, end)
    if start < end:
        parts.append((start, end))
    return parts
