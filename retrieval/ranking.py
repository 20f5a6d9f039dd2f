"""How near a passage is to a question, at a closer look than the searches take; and neighbours made one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from retrieval.records import Passage, Vectors
from retrieval.words import content_stems

# The share of the words in a passage's score; the two cosines count 1 each. Engines scale full-text scores
# differently, so they are divided by the query's best.
LEXICAL_WEIGHT = 0.1
HEADING_WEIGHT = 0.1
MAX_JOINED = 3  # chunks in one passage


def passage_score(passage: Passage, question: str, query_vector: Vectors, best_lexical: float) -> float:
    """How near the whole passage is, how near its best sentence, and how well its words and headings match.

    `query_vector` has shape (d,) and length 1; `best_lexical` is the query's best full-text score.
    """
    nearest = float((passage.sentence_vectors @ query_vector).max()) if len(passage.sentences) else 0.0
    asked = set(content_stems(question))
    named = set(content_stems(f"{passage.title} {' '.join(passage.heading_path)}"))
    headed = len(asked & named) / len(asked) if asked else 0.0
    return passage.dense + nearest + LEXICAL_WEIGHT * passage.lexical / best_lexical + HEADING_WEIGHT * headed


def joined(passages: Sequence[Passage], count: int, text_of: Callable[[int, int, int], str]) -> list[Passage]:
    """The first `count` passages, with those that stand side by side in one section made one, in the better's place.

    A section that is cut into chunks is cut somewhere: what a sentence leans on may stand in the next one. Places that
    fall free go to the passages behind. `text_of(document id, start, end)` is the document's text there.
    """
    kept: list[list[Passage]] = []
    for passage in passages:
        group = next(
            (g for g in kept if len(g) < MAX_JOINED and any(_side_by_side(p, passage) for p in g)), None
        )
        if group:
            group.append(passage)
        elif len(kept) < count:
            kept.append([passage])
        else:
            break
    return [_one(group, text_of) for group in kept]


def _side_by_side(one: Passage, other: Passage) -> bool:
    """Whether nothing but whitespace stands between two chunks of a section."""
    if one.document_id != other.document_id or one.heading_path != other.heading_path:
        return False
    return abs(one.ordinal - other.ordinal) == 1


def _one(group: list[Passage], text_of: Callable[[int, int, int], str]) -> Passage:
    """The chunks as one passage, with the best one's scores."""
    if len(group) == 1:
        return group[0]
    best = group[0]
    parts = sorted(group, key=lambda passage: passage.start)
    readings = [part.reading for part in parts if part.reading is not None]
    return replace(
        best,
        chunk_id=parts[0].chunk_id,
        ordinal=parts[0].ordinal,
        start=parts[0].start,
        end=parts[-1].end,
        text=text_of(best.document_id, parts[0].start, parts[-1].end),
        sentences=tuple(sentence for part in parts for sentence in part.sentences),
        sentence_vectors=np.concatenate([part.sentence_vectors for part in parts]),
        reading=np.concatenate(readings) if len(readings) == len(parts) else None,
    )
