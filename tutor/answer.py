"""The answer as it grows: checked sentences, numbered citations, follow-ups, the words for "not covered". Pure.

Citation numbers are given here, in the order in which sentences are first cited; a model's own numbering is removed
before it gets this far.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from retrieval.evidence import EvidenceSentence
from retrieval.records import Passage
from retrieval.sentences import split_sentences
from retrieval.words import content_stems
from tutor.events import AnswerSentence, Citation, SentenceChecked

_CITATION_NUMBERS = re.compile(r"(?:^|\s+|(?<=[.!?,;:\"”’)\]]))\[\d{1,3}(?:\s*,\s*\d{1,3})*\](?!\()")
_OWN_NUMBERING = re.compile(r"\s*(?:\[\d+(?:\s*,\s*\d+)*\]|\(source[^)]*\))")
_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
MAX_FOLLOW_UPS = 3


class AnswerBuilder:
    """Collects an answer sentence by sentence. `sentences` holds refused drafts too, marked unsupported."""

    def __init__(self) -> None:
        self.sentences: list[AnswerSentence] = []
        self.citations: list[Citation] = []

    def add_draft(self, text: str, cited: Iterable[EvidenceSentence]) -> SentenceChecked:
        """A sentence of the model that the evidence supports."""
        return self._add(text, cited, "model")

    def add_quote(self, item: EvidenceSentence) -> SentenceChecked:
        """A sentence in the material's own words."""
        return self._add(item.sentence.text, (item,), "material")

    def add_refused(self, text: str, reasons: Sequence[str]) -> SentenceChecked:
        """A draft sentence that is logged and not shown."""
        sentence = AnswerSentence(text, False, (), "model", tuple(reasons))
        self.sentences.append(sentence)
        return SentenceChecked(sentence)

    def add_plain(self, text: str) -> SentenceChecked:
        """The tutor's own words about the material, such as that it does not cover a question."""
        sentence = AnswerSentence(text, True, (), "tutor")
        self.sentences.append(sentence)
        return SentenceChecked(sentence)

    @property
    def shown(self) -> list[AnswerSentence]:
        return [s for s in self.sentences if s.supported]

    @property
    def text(self) -> str:
        """The answer as shown, with citation numbers in brackets."""
        return " ".join(s.text + "".join(f" [{n}]" for n in s.citations) for s in self.shown)

    def cites(self, item: EvidenceSentence) -> bool:
        """Is this sentence of the material cited so far?"""
        return self._known(item) is not None

    def quotes(self, item: EvidenceSentence) -> bool:
        """Is it shown in the material's own words?"""
        known = self._known(item)
        return known is not None and any(
            s.origin == "material" and known.n in s.citations for s in self.shown
        )

    @property
    def in_own_words(self) -> bool:
        """Is anything shown that the model wrote?"""
        return any(s.origin == "model" for s in self.shown)

    def _add(self, text: str, cited: Iterable[EvidenceSentence], origin: str) -> SentenceChecked:
        citations = tuple(self._cite(item) for item in cited)
        sentence = AnswerSentence(text, True, tuple(c.n for c in citations), origin)  # type: ignore[arg-type]
        self.sentences.append(sentence)
        return SentenceChecked(sentence, citations)

    def _known(self, item: EvidenceSentence) -> Citation | None:
        place = (item.passage.source, item.passage.document, item.sentence.start)
        return next((c for c in self.citations if (c.source, c.document, c.start) == place), None)

    def _cite(self, item: EvidenceSentence) -> Citation:
        if known := self._known(item):
            return known
        passage, sentence = item.passage, item.sentence
        citation = Citation(
            n=len(self.citations) + 1,
            source=passage.source,
            document=passage.document,
            title=passage.title,
            heading=passage.heading,
            quote=passage.text[sentence.start - passage.start : sentence.end - passage.start],
            start=sentence.start,
            end=sentence.end,
        )
        self.citations.append(citation)
        return citation


def tidy_draft_sentence(text: str) -> str:
    """A draft sentence without list marks, emphasis and citation numbers of the model's own making."""
    text = _OWN_NUMBERING.sub("", _LIST_MARK.sub("", text))
    return " ".join(text.replace("**", "").replace("`", "").split())


def without_citations(text: str) -> str:
    """An answer as `AnswerBuilder.text` has it, without the citation numbers; one in the middle of a word is none."""
    return _CITATION_NUMBERS.sub("", text).strip()


def finished_sentences(text: str) -> tuple[list[str], str]:
    """Split what has been drafted so far into whole sentences and the rest that is still being written."""
    spans = split_sentences(text)
    if not spans:
        return [], text
    # The last one may go on, unless a line break after it says otherwise.
    whole = spans if text.endswith("\n") else spans[:-1]
    rest = text[whole[-1][1] :] if whole else text
    return [tidy for start, end in whole if (tidy := tidy_draft_sentence(text[start:end]))], rest


def not_covered(passages: Sequence[Passage]) -> list[str]:
    """What the tutor says when the material is silent: one sentence, and one naming the nearest pages."""
    nearest = list(dict.fromkeys(p.title for p in passages))[:2]
    said = ["The material does not cover this question."]
    if nearest:
        said.append(f"The nearest pages are: {'; '.join(nearest)}.")
    return said


def follow_ups(question: str, passages: Sequence[Passage], asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Up to three next questions that the material itself poses near this answer (its question headings)."""
    seen = {frozenset(content_stems(q)) for q in (question, *asked)}
    found = []
    for passage in passages:
        heading = passage.heading_path[-1] if passage.heading_path else ""
        stems = frozenset(content_stems(heading))
        if heading.endswith("?") and stems not in seen:
            seen.add(stems)
            found.append(heading)
    return tuple(found[:MAX_FOLLOW_UPS])
