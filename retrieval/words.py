"""Words as search, evidence selection and the sentence check compare them: stems of content words, numbers,
negations. Pure. Cutting text into sentences is `sentences.py`; what to conclude from the words is not decided here.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+(?:['’][^\W_]+)*", re.UNICODE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

# Function words, question words and chat filler: they say nothing about what a sentence is about.
STOPWORDS = frozenset(
    """a about above actually after again against all also am an and another any are aren't as at be because been
    before being below between both but by can can't cannot could couldn't did didn't do does doesn't doing don't
    done down during each either else even ever few for from further get gets getting give given gives go goes going
    got had has have having he her here hers him his how i i'd i'll i'm i've if in into is isn't it it's its itself
    just kind let let's like likely long made make makes many may me mean means might more most much must my myself
    need needs no nor not now of off often on once one only or other our out over own per please rather really s same
    say says see she should so some something still such t tell than that that's the their theirs them themselves then
    there there's these they they're thing things this those through to too under until up us use used uses using very
    was wasn't way we well were weren't what what's when where whether which while who whom whose why will with within
    without won't would wouldn't yes yet you you're your yours explain describe difference exactly happen happens
    work works want know question answer ok okay hi hello thanks
    define definition meaning""".split()
)

NEGATIONS = frozenset(
    "not no never none neither nor without cannot nothing nobody nowhere hardly rarely seldom".split()
)

# Word pairs that turn a claim around although every other word agrees.
OPPOSITES = {
    a: b
    for x, y in (
        ("more", "less"), ("more", "fewer"), ("most", "least"), ("before", "after"), ("above", "below"),
        ("up", "down"), ("over", "under"), ("increases", "decreases"), ("increase", "decrease"),
        ("higher", "lower"), ("larger", "smaller"), ("faster", "slower"), ("cheaper", "dearer"), ("online", "offline"),
        ("same", "different"), ("can", "cannot"), ("with", "without"), ("always", "never"), ("first", "last"),
    )
    for a, b in ((x, y), (y, x))
}  # fmt: skip

# Words that make a claim wider or stronger than the material may have made it.
QUANTIFIERS = frozenset(
    "all always every everyone everything must only never entirely completely guaranteed guarantee".split()
)

_NUMBER_WORDS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "twenty": "20", "thirty": "30",
    "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000",
}  # fmt: skip


@lru_cache(maxsize=1)
def _stemmer():  # type: ignore[no-untyped-def]
    import snowballstemmer

    return snowballstemmer.stemmer("english")


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The Snowball (Porter2) stem of one lower-case word."""
    return str(_stemmer().stemWord(word))


def words(text: str) -> list[str]:
    """All words, lower-case, with straight apostrophes."""
    return [w.lower().replace("’", "'") for w in _WORD.findall(text)]


def content_stems(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order. Hyphenated words count as their parts, numbers as digits."""
    return list(_content_stems(text))


@lru_cache(
    maxsize=4096
)  # one turn asks for the same few sentences again and again, once for each drafted token
def _content_stems(text: str) -> tuple[str, ...]:
    return tuple(
        _NUMBER_WORDS.get(w) or stem(w.removesuffix("'s").replace(",", ""))
        for w in words(text)
        if w not in STOPWORDS and not w.endswith("n't")
    )


def numbers(text: str) -> set[str]:
    """Every number in the text, in digits: "1,000" and "1000" are one, "twelve" is "12".

    "one" is left out: it is a pronoun more often than a quantity.
    """
    found = {n.replace(",", "").rstrip(".") for n in _NUMBER.findall(text)}
    return found | {_NUMBER_WORDS[w] for w in words(text) if w in _NUMBER_WORDS and w != "one"}


def negations(text: str) -> int:
    """How many negating words the text holds."""
    return sum(w in NEGATIONS or w.endswith("n't") for w in words(text))


def quantifiers(text: str) -> set[str]:
    """The widening words ("all", "always", "only" ...) that the text holds."""
    return {w for w in words(text) if w in QUANTIFIERS}
