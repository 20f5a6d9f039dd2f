"""What is searched for a question: spelling mended and abbreviations spelled out, both by what the material says.

"what is a tokn" is searched as "what is a token" where the material knows no "tokn" and one word is a slip away.
"How does RAG fail?" is searched as "How does RAG (retrieval-augmented generation) fail?" where the material defines it.
Follow-up questions are `tutor.standalone`'s; nothing here uses a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from retrieval.words import STOPWORDS, stem, words

SHORTEST_MENDED = 4  # letters; shorter words are too often names, units or other words
LONGEST_FORM = 80  # characters
_BREAK = re.compile(r"[.;:()\n]")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_ABBREVIATION = re.compile(r"\b(?:[A-Z][A-Za-z]{0,3}[A-Z]{1,4}s?|[a-z]{2,5})\b")


def plain_words(question: str) -> list[str]:
    """The words of a question that might be misspelt: letters only, long enough, no function words, no names in
    capitals."""
    found = [word for word in _WORD.findall(question) if len(word) >= SHORTEST_MENDED and not word.isupper()]
    return [word for word in dict.fromkeys(found) if word.lower() not in STOPWORDS]


def nearest_term(word: str, vocabulary: Mapping[str, int]) -> str | None:
    """The stem of the material one slip away from `word` (a letter more, less, other or swapped), the most frequent.

    The first letter is taken to be right: people rarely miss it.
    """
    wanted = stem(word.lower())
    near = [
        term
        for term in vocabulary
        if term[:1] == wanted[:1] and abs(len(term) - len(wanted)) <= 1 and one_slip(wanted, term)
    ]
    return max(near, key=lambda term: (vocabulary[term], term), default=None)


def one_slip(one: str, other: str) -> bool:
    """Whether two words differ by one letter inserted, left out, replaced, or two neighbours swapped
    (Damerau 1964)."""
    if one == other:
        return False
    at = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    a, b = one[at:], other[at:]
    return (
        a[1:] == b[1:]
        or a[1:] == b
        or a == b[1:]
        or (len(a) >= 2 and len(b) >= 2 and a[0] == b[1] and a[1] == b[0] and a[2:] == b[2:])
    )


def surface_form(term: str, texts: Iterable[str]) -> str | None:
    """A word of the material with this stem, as written there."""
    for text in texts:
        for word in words(text):
            if stem(word) == term or word == term:
                return word
    return None


def replaced(question: str, mended: Mapping[str, str]) -> str:
    """The question with each misspelt word replaced."""
    return _WORD.sub(lambda match: mended.get(match.group(), match.group()), question)


def abbreviations(question: str) -> list[str]:
    """Words of a question that may be abbreviations: "RAG", "LoRA", "WALs", and short ones typed small: "rag"."""
    found = dict.fromkeys(m.group() for m in _ABBREVIATION.finditer(question))
    return [word for word in found if not (word.islower() and word in STOPWORDS)]


def long_form(abbreviation: str, texts: Sequence[str]) -> str | None:
    """What the material says an abbreviation stands for: "retrieval-augmented generation (RAG)", or
    "RAG, short for retrieval-augmented generation", or "RAG stands for ..."; None where it doesn't say."""
    letters = abbreviation.upper() if abbreviation.islower() else abbreviation.removesuffix("s")
    bracketed = re.compile(rf"\s*\({re.escape(letters)}s?\)")
    named = re.compile(
        rf"\b{re.escape(letters)}s?\b,?\s*(?:\(|is short for|short for|stands for|means)\s*([^.;:()\n]{{3,80}})"
    )
    for text in texts:
        if letters not in text:
            continue
        for match in bracketed.finditer(text):
            before = _BREAK.split(text[max(0, match.start() - LONGEST_FORM) : match.start()])[-1]
            if found := _spelled_out(letters, before.split(), from_the_end=True):
                return found
        for match in named.finditer(text):
            if found := _spelled_out(letters, match.group(1).split(), from_the_end=False):
                return found
    return None


def _spelled_out(letters: str, found: Sequence[str], *, from_the_end: bool) -> str | None:
    """The run of words whose initials (hyphenated parts count apart) are the abbreviation's letters."""
    wanted = letters.lower()
    for size in range(1, min(len(found), len(wanted)) + 1):
        run = found[-size:] if from_the_end else found[:size]
        initials = "".join(part[0] for word in run for part in word.lower().strip(",").split("-") if part)
        if initials == wanted:
            return " ".join(run).strip(" ,")
    return None
