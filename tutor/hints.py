"""The three-step ladder of hints for a question, made from its key points without giving any of them away.

Pure. Where a page's author wrote hints, `pages.py` takes those; when a hint may be shown is for `lessons.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from retrieval.words import STOPWORDS, content_stems, words

BLANK = "____"
GIVEN_AWAY = 0.8
"""A hint that holds this share of a key point's content words has said it."""

MOST_GAPS = 0.5
"""A sentence with more of its words as gaps than this is a riddle."""

_PIECE = re.compile(r"[^\s–—/-]+")
_CORE = re.compile(r"\w(?:.*\w)?")
_LEADING = re.compile(r"(?i)\A(?:because|so that|so|if|when|while|but|and|then|also)\s+")

# Verbs that course prose puts behind its subjects, in the forms that the ending of a word does not show.
_VERBS = frozenset(
    """am is are was were be been has have had do does did can cannot can't could may might must shall should will
    would isn't aren't doesn't don't didn't won't wouldn't mustn't need become became begin begins began get gets got
    keep kept make made give gave given take took hold held find found let lets put say said see saw show shown come
    came combine collapse change grow grew fit follow use learn write wrote read know knew stay run tell differ depend
    decide need mean meant cost move repeat contain leave left go went look add return lose lost turn start
    comes produce compare receive store stored feel sort remain respond build help work lower raise estimate becomes
    makes gives gets uses needs says goes keeps takes works happens that which who whose""".split()
)
_TRAILING = frozenset(
    "a an the of in on at by for to and or also only often never always still just then".split()
)
_TAKE_APART = "Take the question apart and say something about each part."


def ladder(question: str, key_points: Sequence[str], concepts: Iterable[str]) -> tuple[str, str, str]:
    """(how many points about which concepts, what each point is about, one point with gaps).

    `concepts` are those that the question is about, possibly none. No key point is given away by a hint, nor by all
    three together.
    """
    count = "1 point" if len(key_points) == 1 else f"{len(key_points)} points"
    named = ", ".join(concepts)
    wanted = [f"A full answer makes {count}. It has to do with: {named}."] if named else []
    first = _first_safe([*wanted, f"A full answer makes {count}."], "", key_points)
    second = _first_safe([*_about(key_points), _TAKE_APART], first, key_points)
    third = _gapped(question, key_points, f"{first} {second}")
    return first, second, third


def gives_away(hint: str, key_point: str) -> bool:
    """Whether the hint holds at least GIVEN_AWAY of the different content words (stems) of the key point."""
    stems = set(content_stems(key_point))
    if not stems:
        return f" {' '.join(words(key_point))} " in f" {' '.join(words(hint))} "
    return len(stems & set(content_stems(hint))) >= GIVEN_AWAY * len(stems)


def subject(sentence: str) -> str:
    """What the sentence is about, without what it says: its words before the verb, at least one content word.

    Found by the forms of common verbs and by the -s of the third person; where that fails, the first content word
    stands for the subject. A relative clause counts as what is said.
    "The loss function measures how wrong it is." -> "The loss function".
    """
    tokens = _LEADING.sub("", sentence, count=1).split()
    bare = [token.strip(".,;:!?()\"'“”").lower() for token in tokens]
    known = next((i for i, word in enumerate(bare) if i and word in _VERBS), len(tokens))
    ending = next((i for i in range(1, len(bare)) if _third_person(bare, i)), len(tokens))
    verb = known if known <= ending + 1 else ending  # "large steps can": a noun stands before a known verb
    if verb >= len(tokens):
        verb = next((i for i, word in enumerate(bare) if word not in STOPWORDS), 0) + 1
    while verb > 1 and (bare[verb - 1] in _TRAILING or bare[verb - 1].endswith("ly")):
        verb -= 1
    return " ".join(tokens[:verb]).strip(".,;:!?")


def _third_person(bare: Sequence[str], i: int) -> bool:
    """Whether word i looks like a verb in -s: it follows a content word that is no plural."""
    word, before = bare[i], bare[i - 1]
    return (
        word.endswith("s")
        and not word.endswith(("ss", "'s", "us", "is"))
        and word not in STOPWORDS
        and before not in STOPWORDS
        and (not before.endswith("s") or before.endswith("ss"))
    )


def _about(key_points: Sequence[str]) -> list[str]:
    """Hints that name the subjects, then fewer and fewer of them."""
    subjects = [s for s in dict.fromkeys(subject(point) for point in key_points) if content_stems(s)]
    lists = [", ".join(f"“{name}”" for name in subjects[:end]) for end in range(len(subjects), 0, -1)]
    return [f"Say something about each of these: {listed}." for listed in lists]


def _gapped(question: str, key_points: Sequence[str], shown: str) -> str:
    """One key point with gaps: the one that adds most to the question, unless too little of it could stay."""
    asked = set(content_stems(question))
    by_news = sorted(key_points, key=lambda point: -len(set(content_stems(point)) - asked))
    hints = [_with_gaps(point, asked, shown, key_points) for point in by_news]
    readable = [hint for hint in hints if hint.count(BLANK) <= MOST_GAPS * len(hint.split())]
    return _first_safe([*readable, *hints], shown, key_points)


def _with_gaps(point: str, asked: set[str], shown: str, key_points: Sequence[str]) -> str:
    """The point with every second content word a gap, counted from its end; words of the question stay.

    Then as many more become gaps as it takes to keep every key point from being said by this hint together with
    what was `shown` before.
    """
    stems = [*reversed(dict.fromkeys(content_stems(point)))]
    new = [stem for stem in stems if stem not in asked]
    gaps = set(new[::2])
    spare = [*new[1::2], *(stem for stem in stems if stem in asked)]
    hint = _blank(point, gaps)
    while said := next((other for other in key_points if gives_away(f"{shown} {hint}", other)), None):
        helping = [
            s for s in spare if s not in gaps and s in content_stems(said) and s not in content_stems(shown)
        ]
        if not helping:
            break  # nothing but function words: `_first_safe` will not take it
        gaps.add(helping[0])
        hint = _blank(point, gaps)
    return hint


def _blank(text: str, stems: set[str]) -> str:
    """The text with a gap for every word that has one of these stems."""

    def gap(piece: re.Match[str]) -> str:
        return _CORE.sub(BLANK, piece[0]) if stems.intersection(content_stems(piece[0])) else piece[0]

    return _PIECE.sub(gap, text)


def _first_safe(hints: Iterable[str], shown: str, key_points: Sequence[str]) -> str:
    """The first hint that leaves every key point unsaid; a bare gap where there is none."""
    return next((hint for hint in hints if not _says_too_much(hint, shown, key_points)), BLANK)


def _says_too_much(hint: str, shown: str, key_points: Sequence[str]) -> bool:
    return any(gives_away(f"{shown} {hint}", point) for point in key_points)
