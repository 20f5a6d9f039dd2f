"""What a course page's front matter and text mean: its questions with hints, its takeaways, the concepts of a text.

Pure and lenient: what is malformed is left out, so that a learner's own pages never break the reader. The strict
check of a course page, with file and line, is `page_schema.py`; how hints are worded is `hints.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from markdown_it.token import Token

from retrieval.loaders import LoadError, front_matter
from retrieval.loaders.inline import inline_text, parser
from retrieval.sentences import one_line
from retrieval.words import content_stems, words
from tutor.hints import BLANK, gives_away, ladder

TAKEAWAYS = ("takeaways", "key takeaways")
"""The headings, in lower case, under which a page lists what to keep."""


@dataclass(frozen=True, slots=True)
class Question:
    """One `think_first` question. `key` names it for ever, as long as its words stay; `number` counts from 1.

    Only `question` may reach a browser before the learner has committed an answer, and hints one at a time.
    """

    key: str
    page: str
    number: int
    question: str
    reference: str
    key_points: tuple[str, ...]
    hints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Takeaway:
    """One sentence to keep: `front` is it with its bold `term` as a gap. All plain text."""

    key: str
    page: str
    sentence: str
    term: str
    front: str


@dataclass(frozen=True, slots=True)
class Bullet:
    """One bullet of the takeaways section: its line in the file, from 1, its plain words and its bold phrases."""

    line: int
    sentence: str
    terms: tuple[str, ...]
    front: str

    @property
    def usable(self) -> bool:
        """Whether it makes a card: one bold phrase that the rest of the sentence does not give away."""
        return len(self.terms) == 1 and not self.repeats and bool(words(self.front.replace(BLANK, "")))

    @property
    def repeats(self) -> bool:
        """Whether the words of the one bold phrase stand in the sentence a second time."""
        term = " ".join(words(self.terms[0])) if len(self.terms) == 1 else ""
        return not term or f" {term} " in f" {' '.join(words(self.front))} "


def questions(page_path: str, meta: Mapping[str, Any]) -> tuple[Question, ...]:
    """The well-formed `think_first` entries of a page, numbered from 1; each question once."""
    listed = meta.get("think_first")
    concepts = texts(meta.get("concepts"))
    found: dict[str, Question] = {}
    for entry in listed if isinstance(listed, list) else []:
        if not isinstance(entry, dict):
            continue
        question, reference = _text(entry.get("question")), _text(entry.get("reference"))
        points = texts(entry.get("key_points"))
        if not (question and reference and points):
            continue
        key = f"{page_path}#q-{_digest(question)}"
        hints = _hints(entry, question, reference, points, concepts)
        found.setdefault(key, Question(key, page_path, len(found) + 1, question, reference, points, hints))
    return tuple(found.values())


@lru_cache(maxsize=256)
def takeaways(page_path: str, text: str) -> tuple[Takeaway, ...]:
    """The bullets of a page's takeaways section that make a card. `text` is the file with its front matter."""
    found = {}
    for bullet in bullets(text) or ():
        if bullet.usable:
            key = f"{page_path}#t-{_digest(bullet.sentence)}"
            found[key] = Takeaway(key, page_path, bullet.sentence, bullet.terms[0], bullet.front)
    return tuple(found.values())


def concepts_in(text: str, concepts: Iterable[str]) -> tuple[str, ...]:
    """The concepts all of whose word stems occur in the text, in the order given; all of them if none does."""
    listed = tuple(concepts)
    return _occurring(text, listed) or listed


def bullets(text: str) -> tuple[Bullet, ...] | None:
    """The top-level bullets of the takeaways section, or None where the page has no such section.

    The section ends at the next heading of its level or a higher one.
    """
    try:
        _, body = front_matter.read(text)
    except LoadError:
        return None
    env: dict[str, Any] = {}
    tokens = parser().parse(text[body:], env)
    first_line = text.count("\n", 0, body) + 1
    level = 0
    found: list[Bullet] | None = None
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and token.level == 0:
            this = int(token.tag[1])
            if one_line(inline_text(tokens[index + 1].content, env).text).lower() in TAKEAWAYS:
                level, found = this, found or []
            elif this <= level:
                level = 0
        elif level and token.type == "list_item_open" and token.level == 1 and found is not None:
            line = first_line + (token.map[0] if token.map else 0)
            found.append(_bullet(line, tokens[index + 1 : index + 3], env))
    return None if found is None else tuple(found)


def texts(value: Any) -> tuple[str, ...]:
    """The non-empty texts of a front-matter list, each on one line; () for anything else."""
    return tuple(t for t in map(_text, value) if t) if isinstance(value, list) else ()


def _bullet(line: int, opening: Sequence[Token], env: dict[str, Any]) -> Bullet:
    """The first paragraph of a list item. Items that open with something else have no words and no terms."""
    if [token.type for token in opening] != ["paragraph_open", "inline"]:
        return Bullet(line, "", (), "")
    runs = list(_runs(opening[1].content, env))
    terms = [one_line(words) for words, bold in runs if bold]
    front = "".join(BLANK if bold else words for words, bold in runs)
    return Bullet(line, one_line("".join(words for words, _ in runs)), tuple(terms), one_line(front))


def _runs(source: str, env: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """The words of an inline run cut where bold begins and ends: (words, bold?)."""
    depth, run = 0, ""
    for token in parser().parseInline(source, env)[0].children or []:
        if token.type not in ("strong_open", "strong_close"):
            run += "\n" if token.type in ("softbreak", "hardbreak") else token.content
            continue
        depth += token.nesting
        if depth == (token.nesting > 0):  # the outermost mark
            if run:
                yield run, token.nesting < 0
            run = ""
    if run:
        yield run, False


def _hints(
    entry: Mapping[str, Any],
    question: str,
    reference: str,
    points: tuple[str, ...],
    concepts: tuple[str, ...],
) -> tuple[str, ...]:
    """The author's three hints where they are given and give nothing away, else generated ones."""
    own = texts(entry.get("hints"))
    if len(own) == 3 and not any(gives_away(hint, point) for hint in own for point in points):
        return own
    about = _occurring(" ".join((question, reference, *points)), concepts)
    return ladder(question, points, about)


def _occurring(text: str, concepts: Sequence[str]) -> tuple[str, ...]:
    stems, plain = set(content_stems(text)), set(words(text))
    return tuple(
        concept
        for concept in concepts
        if (wanted := set(content_stems(concept))) <= stems
        and (wanted or ((spelled := set(words(concept))) and spelled <= plain))
    )


def _text(value: Any) -> str:
    return (
        one_line(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    )


def _digest(text: str) -> str:
    """8 hex digits of the text's words: corrected punctuation or capitals keep a learner's history."""
    return hashlib.sha256(" ".join(words(text)).encode()).hexdigest()[:8]
