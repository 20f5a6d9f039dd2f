"""The values that retrieval passes around, all frozen.

Every `start`/`end` is a character offset into `Document.text`, which is the decoded file with newlines
made `\\n` and a byte order mark dropped, so `document.text[start:end]` is always exactly what is cited.
`Sentence.text` is for readers and embedders: the same words without Markdown marks or line breaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

BlockKind = Literal["paragraph", "list_item", "table_row", "code", "quote"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence (or list item, or table row) of a document."""

    start: int
    end: int
    text: str
    kind: BlockKind = "paragraph"


@dataclass(frozen=True, slots=True)
class Section:
    """The text from one heading to the next. `heading_path` is () before the first heading."""

    heading_path: tuple[str, ...]
    anchor: str
    start: int
    end: int
    sentences: tuple[Sentence, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """One loaded file. `path` is relative to what was ingested, with forward slashes."""

    path: str
    title: str
    text: str
    media_type: str
    sections: tuple[Section, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored slice of a document: whole sentences of one section."""

    ordinal: int
    heading_path: tuple[str, ...]
    start: int
    end: int
    text: str
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk returned for a query, with its scores.

    `score` orders the passages (see `retriever.py`); `dense` is the cosine of query and chunk, `lexical`
    the full-text score (higher is better, 0.0 when the chunk did not match). `sentence_vectors` has one
    L2-normalised row per sentence. `reading` has one number per sentence, the reader's log-odds that it answers;
    None where nothing read the passage. Neighbouring chunks that were found together are one passage, under the
    first one's id. `ordinal` is the (first) chunk's place in its document.
    """

    chunk_id: int
    document_id: int
    source: str
    document: str
    title: str
    heading_path: tuple[str, ...]
    start: int
    end: int
    text: str
    sentences: tuple[Sentence, ...]
    rank: int
    score: float
    dense: float
    lexical: float
    sentence_vectors: Vectors = field(repr=False, compare=False)
    reading: Vectors | None = field(default=None, repr=False, compare=False)
    ordinal: int = 0

    @property
    def heading(self) -> str:
        """The heading path as one line."""
        return " › ".join(self.heading_path)


class Embedder(Protocol):
    """Text -> vectors. `name` identifies the weights: vectors of another name are never compared."""

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return float32 rows of shape (len(texts), dimension), each of length 1."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """The same for texts that are going to be searched: many at once, and the last digits may differ."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens the model reads for `text`; chunks are packed by it."""
        ...
