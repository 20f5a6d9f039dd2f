"""What an empty chat suggests: questions of the open page, and about concepts the learner was unsure about. Pure.

Each suggestion says why it is there, where that is not plain. Which concepts are weak is `tutor.progress`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrieval.words import content_stems
from tutor.ui.library import questions_of

if TYPE_CHECKING:
    from db.documents import StoredDocument
    from tutor.mastery import ConceptMastery

SURE = 0.75  # an outcome from this quality on is no sign of doubt: correct, with at most one hint; good; easy
MAX_WEAK = 2


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A question to ask, and why it is suggested ("" where that needs no words)."""

    question: str
    why: str = ""


def weak_suggestions(
    concepts: Iterable[ConceptMastery],
    pages: Mapping[str, StoredDocument],
    taken: Sequence[str] = (),
    limit: int = MAX_WEAK,
) -> list[Suggestion]:
    """A question for each concept, the weakest first, that the learner's latest answers show doubt about.

    `concepts` come the weakest first; `pages` by path; questions in `taken` are suggested already.
    """
    found: list[Suggestion] = []
    for concept in concepts:
        if len(found) == limit:
            break
        question = _question(concept, pages.get(concept.page))
        if unsure(concept) and question not in (*taken, *(s.question for s in found)):
            found.append(Suggestion(question, f"You were unsure about “{concept.concept}”"))
    return found


def unsure(concept: ConceptMastery) -> bool:
    """Whether the latest outcome of any of its questions or cards was less than sure. Reading alone says nothing."""
    latest: dict[str, float] = {}
    for row in concept.evidence:  # newest first
        if row.kind != "reading":
            latest.setdefault(row.text, row.quality)
    return any(quality < SURE for quality in latest.values())


def _question(concept: ConceptMastery, page: StoredDocument | None) -> str:
    """The first question that the page itself poses about the concept, else what it means."""
    wanted = set(content_stems(concept.concept))
    posed = questions_of(page.path, page.text, page.media_type) if page else ()
    own = (q for q in posed if wanted and wanted <= set(content_stems(q)))
    return next(own, f"What does “{concept.concept}” mean?")
