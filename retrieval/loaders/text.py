"""Plain text -> Document: paragraphs between blank lines, no headings, no marks."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from retrieval.loaders.encodings import decode_text
from retrieval.records import Document, Section, Sentence
from retrieval.sentences import one_line, split_sentences, trim

MEDIA_TYPE = "text/plain"

_BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")


def load(path_label: str, data: bytes) -> Document:
    """Read a plain text file as one section. The title is the file's name without its ending.

    Raises LoadError as `decode_text` does.
    """
    decoded = decode_text(data)
    text = decoded.text
    sentences: list[Sentence] = []
    begin = 0
    for end, after in [*(m.span() for m in _BLANK_LINES.finditer(text)), (len(text), len(text))]:
        start, stop = trim(text, begin, end)
        for a, b in split_sentences(text[start:stop]):
            words = one_line(text[start + a : start + b])
            if any(c.isalnum() for c in words):
                sentences.append(Sentence(start + a, start + b, words))
        begin = after
    section = Section((), "", 0, len(text), tuple(sentences))
    return Document(path_label, PurePosixPath(path_label).stem, text, MEDIA_TYPE, (section,), decoded.meta())
