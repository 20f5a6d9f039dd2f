"""Socratic turns: what stands before the answer is a place to look, a sentence with gaps and a question.

Pure, and made from the finished answer without giving it away. Whether a turn is still held back is decided here
too (`is_held`), for every page that shows turns. Storing, grading and drawing are for `tutor.ui`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from retrieval.loaders.inline import inline_text
from retrieval.sentences import one_line
from retrieval.words import NEGATIONS, content_stems, words
from tutor.hints import BLANK, GIVEN_AWAY, MOST_GAPS, gives_away, subject

if TYPE_CHECKING:
    from db.conversations import Turn
    from tutor.quiz import Grade

Json = Mapping[str, Any]

MAX_POINTS = 4
MAX_PLACES = 2
MAX_SUBJECT_WORDS = 4

_WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+(?:['’]\w+)*")
_OPENING = r"(?i)^\W*(?:(?:and|but|so|then|well|okay|ok)\b[\s,]*)*"
_YES_OR_NO = re.compile(
    _OPENING + r"(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|must|may|"
    r"isn't|aren't|don't|doesn't|can't|won't)\b"
)
_COMPARED = re.compile(r"(?i)\b(?:differ|difference|differences|compare|compared|versus|vs|distinguish)\b")
_NO_THING = frozenset(
    """it this that these those they there here he she we you over in on at for from by with without during after
    before as to of under between when while if because since so such some most many both""".split()
)
_ANY_FORM = "What do you know already that would let you work it out?"
_FORMS = (
    (re.compile(r"(?i)\b(?:called|named|term|name)\b"), _ANY_FORM),
    (_COMPARED, "What do they have in common, and where do they part?"),
    (_YES_OR_NO, "What speaks for a yes, and what for a no?"),
    (re.compile(_OPENING + "why\\b"), "What would be different if it were not so?"),
    (re.compile(_OPENING + r"how\s+(?:much|many|long|big|large|fast|often)\b"), "What does it depend on?"),
    (re.compile(_OPENING + "how\\b"), "What has to happen first, and what follows from it?"),
    (
        re.compile(_OPENING + r"what\s+(?:(?:is|are)(?:\s+\S+){1,4}|do(?:es)?\s.*\bmeans?)\W*$"),
        "How would you explain it to someone who has never met the word, with an example?",
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look: a page, and one of its headings ("" for none that can be named)."""

    source: str
    document: str
    title: str
    heading: str


@dataclass(frozen=True, slots=True)
class Nudge:
    """What is shown before the answer. `sentence` is one of the material's with gaps, "" where none is safe."""

    places: tuple[Place, ...]
    sentence: str
    question: str


@dataclass(frozen=True, slots=True)
class TriedPoint:
    """One sentence of the answer, and the learner's words that say it, or say the opposite."""

    text: str
    hit: bool
    contradicted: bool
    evidence: str | None


@dataclass(frozen=True, slots=True)
class Tried:
    """What the learner answered before seeing the answer, and how far that went."""

    reply: str
    verdict: str
    points: tuple[TriedPoint, ...]


def begun() -> dict[str, Any]:
    """What a turn keeps from its first moment on, so that nothing of it is ever shown too early."""
    return {"hint": "", "question": "", "reply": None, "grade": None, "revealed_at": None}


def posed(nudge: Nudge) -> dict[str, Any]:
    """The same once the answer is there: `hint` and `question` as the learner reads them."""
    places = " and ".join(place_name(place) for place in nudge.places)
    look = [f"Look in {places}."] if places else []
    return begun() | {"hint": " ".join([*look, nudge.sentence]).strip(), "question": nudge.question}


def revealed(
    asked: Json, at: datetime, reply: str | None = None, grade: Grade | None = None
) -> dict[str, Any]:
    """The same when the answer may be seen, with the learner's graded reply where there was one."""
    graded = None if grade is None else asdict(grade) | {"points": [asdict(p) for p in grade.points]}
    return {**asked, "reply": reply, "grade": graded, "revealed_at": at.isoformat()}


def is_held(turn: Turn) -> bool:
    """Whether nothing of this turn's answer, sources and notes may be shown yet.

    A turn that says that the material has no answer, or that failed, holds nothing back.
    """
    if turn.socratic is None or turn.socratic.get("revealed_at"):
        return False
    if turn.status == "interrupted":  # even before its first sentence it has found the passages
        return True
    return turn.status in ("answered", "quoted") and bool(key_points(turn.sentences))


def tried(asked: Json | None) -> Tried | None:
    """The learner's reply as it is stored, or None. What an imported file holds may have any form."""
    grade = (asked or {}).get("grade")
    reply = (asked or {}).get("reply")
    listed = grade.get("points") if isinstance(grade, dict) else None
    if not isinstance(reply, str) or not isinstance(listed, list):
        return None
    points = tuple(
        TriedPoint(
            str(point.get("text") or ""),
            bool(point.get("hit")),
            bool(point.get("contradicted")),
            str(point["evidence"]) if point.get("evidence") else None,
        )
        for point in listed
        if isinstance(point, dict)
    )
    return Tried(reply, str(grade.get("verdict")), points) if isinstance(grade, dict) else None


def key_points(sentences: Sequence[Json]) -> tuple[str, ...]:
    """What a full reply says: the supported sentences of the answer, each idea once, at most MAX_POINTS."""
    found: list[str] = []
    for sentence in sentences:
        text = _plain(str(sentence["text"])) if sentence["supported"] else ""
        if content_stems(text) and not any(gives_away(earlier, text) for earlier in found):
            found.append(text)
    return tuple(found[:MAX_POINTS])


def nudge(asked: str, sentences: Sequence[Json], citations: Sequence[Json]) -> Nudge:
    """The hint and the question for an answer. `asked` is the question, and what it was searched as where it
    leans on the conversation. Together they give no sentence of the answer, and none it cites, away."""
    raw = [str(citation["quote"]) for citation in citations]
    quotes = [_plain(quote) for quote in raw]
    known = set(content_stems(asked))
    said = [_plain(str(s["text"])) for s in sentences if s["supported"]]
    secrets = [news for text in (*said, *quotes) if (news := set(content_stems(text)) - known)]
    places = _places(citations, secrets)
    shown = " ".join(place.heading for place in places)  # a page's title is where to look, whatever it says
    prose = [quote for quote, cited in zip(quotes, raw, strict=True) if not cited.lstrip().startswith("|")]
    quote, gapped = ("", "") if _YES_OR_NO.search(asked) else _first_gapped(prose, known, shown, secrets)
    hidden = known | (
        set(content_stems(quote)) - set(content_stems(gapped))
    )  # not to be named by the question
    others = [other for other in prose if other != quote]
    return Nudge(places, gapped, _question(asked, others, known, hidden, f"{shown} {gapped}", secrets))


def nudge_of(turn: Turn) -> Nudge:
    """What may be shown of a held turn."""
    asked = turn.question if turn.query in ("", turn.question) else f"{turn.question} {turn.query}"
    return nudge(asked, turn.sentences, turn.citations)


def place_name(place: Place) -> str:
    """Page › heading."""
    return f"{place.title} › {place.heading}" if place.heading else place.title


def _tells(text: str, secrets: Iterable[set[str]]) -> bool:
    """Whether the text holds most of what some sentence adds to the question."""
    stems = set(content_stems(text))
    return any(len(stems & news) >= GIVEN_AWAY * len(news) for news in secrets)


def _places(citations: Sequence[Json], secrets: Sequence[set[str]]) -> tuple[Place, ...]:
    """The cited sections, each once. A heading that says the answer itself is left out."""
    found: dict[tuple[str, str, str], Place] = {}
    for citation in citations:
        heading = str(citation.get("heading") or "")
        if _tells(heading, secrets):
            heading = ""
        place = Place(
            str(citation.get("source") or ""), str(citation["document"]), str(citation["title"]), heading
        )
        found.setdefault((place.source, place.document, place.heading), place)
    return tuple(found.values())[:MAX_PLACES]


def _first_gapped(
    quotes: Iterable[str], known: set[str], shown: str, secrets: Sequence[set[str]]
) -> tuple[str, str]:
    """The first cited sentence that is readable and safe once it has gaps, and it with them; "" where none is."""
    for quote in quotes:
        gapped = _with_gaps(quote, known, shown, secrets)
        if gapped and gapped.count(BLANK) <= MOST_GAPS * len(gapped.split()):
            return quote, gapped
    return "", ""


def _with_gaps(quote: str, known: set[str], shown: str, secrets: Sequence[set[str]]) -> str:
    """The sentence with its first, third, ... new content word a gap, and every negation; words of the question
    stay. Then as many more become gaps as it takes to give no secret away; "" if that is not enough."""
    stems = [*dict.fromkeys(content_stems(quote))]
    new = [stem for stem in stems if stem not in known]
    gaps, spare = set(new[::2]), new[1::2]
    while gaps:
        gapped = _WORD.sub(lambda word: BLANK if _is_gap(word[0], gaps) else word[0], quote)
        if not _tells(f"{shown} {gapped}", secrets):
            return gapped
        if not spare:
            break
        gaps.add(spare.pop(0))
    return ""


def _is_gap(word: str, gaps: set[str]) -> bool:
    return (
        not gaps.isdisjoint(content_stems(word)) or word.lower() in NEGATIONS or word.endswith(("n't", "n’t"))
    )


def _question(
    asked: str,
    quotes: Sequence[str],
    known: set[str],
    hidden: set[str],
    shown: str,
    secrets: Sequence[set[str]],
) -> str:
    """A question that leads on: about a thing that the answer needs and the learner did not name, else by the form
    of what was asked. Nothing `hidden` is named."""
    form = next((question for pattern, question in _FORMS if pattern.search(asked)), _ANY_FORM)
    if _COMPARED.search(asked) or _YES_OR_NO.search(asked):
        return form
    for quote in quotes:
        thing = subject(quote)
        named = words(thing)
        stems, rest = set(content_stems(thing)), set(content_stems(quote)) - set(content_stems(thing))
        # Where the question holds most of what is said about a thing, that thing is what was asked for.
        is_answer = len(rest & known) * 2 >= len(rest)
        if (
            not stems
            or stems & hidden
            or is_answer
            or len(named) > MAX_SUBJECT_WORDS
            or named[0] in _NO_THING
        ):
            continue
        question = f"What part does “{_lowered(thing)}” play here?"
        if not _tells(f"{shown} {question}", secrets):
            return question
    return form


def _lowered(thing: str) -> str:
    first, _, rest = thing.partition(" ")
    return f"{first.lower()} {rest}" if first in ("A", "An", "The", "Each", "Every") else thing


def _plain(markdown: str) -> str:
    text = inline_text(markdown).text if markdown.strip() else ""
    return one_line(text.replace("|", " ")) if text.lstrip().startswith("|") else one_line(text)
