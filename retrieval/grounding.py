"""Which sentences of a draft does this evidence support?

A sentence the model wrote is shown as fact only if the selected evidence carries it: near in meaning to it, its content
words and numbers found there, nothing negated, widened, turned around or left unfinished. The rules are conservative on
purpose: refusing a faithful paraphrase costs a little fluency (the material's own words are shown instead), while
letting a wrong sentence through costs trust. Pure; vectors come in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.evidence import EvidenceSentence
from retrieval.records import Vectors
from retrieval.words import OPPOSITES, content_stems, negations, numbers, quantifiers, words

MIN_COSINE = 0.60  # draft sentence to its nearest evidence sentence
MIN_KNOWN_WORDS = 0.85  # share of its content words that stand in the cited evidence (or the question)
MIN_ORDER = 0.70  # longest common run of shared content words, in order, over all shared ones
HOPELESS_WORDS = 3
SAID_COSINE = 0.80  # from here, with SAID_WORDS, an evidence sentence counts as already said
SAID_WORDS = 0.70

_FINISHED = re.compile(r"[.!?…][\"'”’)\]]*$")
# Where a sentence turns from one thing to another. A bare comma does not count: it mostly joins what belongs together.
_TURN = re.compile(
    r"[;:]|,?\s(?:while|whereas|but|unlike|instead of|rather than|although)\s|,\s(?:and|so|yet|not)\s", re.I
)
_ABOUT_THE_TASK = re.compile(
    r"^(?:question|answer|notes?):|\b(?:the notes?|the question|the answer|as an ai|the text|the passage)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Check:
    """The verdict on one draft sentence: `cites` are indexes into the evidence, `reasons` why it was refused."""

    supported: bool
    cites: tuple[int, ...]
    reasons: tuple[str, ...]


def check_sentence(
    sentence: str, vector: Vectors, evidence: Sequence[EvidenceSentence], question: str
) -> Check:
    """Hold one draft sentence against the evidence. `vector` has shape (d,) and length 1."""
    stems = content_stems(sentence)
    if not _FINISHED.search(sentence):
        return _refused("unfinished")
    if _ABOUT_THE_TASK.search(sentence):
        return _refused("talks about the task")
    if sentence.endswith("?"):
        return _refused("asks instead of answering")
    if not stems or set(stems) <= set(content_stems(question)):
        return _refused("says nothing that the question did not")
    if not evidence:
        return _refused("no evidence")

    cosines = [float(vector @ e.vector) for e in evidence]
    nearest = max(range(len(evidence)), key=cosines.__getitem__)
    cites = _cites(stems, evidence, nearest)
    cited = " ".join(evidence[i].sentence.text for i in cites)
    known = set(content_stems(cited)) | set(content_stems(_place(evidence[nearest])))

    reasons = []
    if cosines[nearest] < MIN_COSINE:
        reasons.append(f"far from the evidence (cosine {cosines[nearest]:.2f})")
    strange = [s for s in stems if s not in known]
    if 1 - len(strange) / len(stems) < MIN_KNOWN_WORDS:
        reasons.append("words that the evidence does not have: " + ", ".join(dict.fromkeys(strange)))
    if extra := numbers(sentence) - numbers(cited):
        reasons.append("numbers that the evidence does not have: " + ", ".join(sorted(extra)))
    if negations(sentence) % 2 != negations(evidence[nearest].sentence.text) % 2 and negations(
        sentence
    ) != negations(cited):
        reasons.append("negation differs from the evidence")
    if wider := quantifiers(sentence) - quantifiers(cited):
        reasons.append("wider than the evidence: " + ", ".join(sorted(wider)))
    if turned := _turned_around(sentence, cited):
        reasons.append("turned around: " + ", ".join(turned))
    if _another_subject(sentence, [evidence[i].sentence.text for i in cites]):
        reasons.append("says of one thing what the evidence says of another")
    if _order(stems, content_stems(cited)) < MIN_ORDER:
        reasons.append("the words stand in another order than in the evidence")
    return Check(not reasons, cites if not reasons else (), tuple(reasons))


def hopeless(beginning: str, evidence: Sequence[EvidenceSentence], question: str) -> bool:
    """Can a sentence that begins like this no longer pass? True once it has HOPELESS_WORDS that the evidence lacks.

    A sentence of ordinary length (up to 20 content words) then fails the word rule however it ends, so that there is
    no reason to wait for the model to finish it.
    """
    known = set(content_stems(question))
    for item in evidence:
        known.update(content_stems(f"{item.sentence.text} {_place(item)}"))
    whole_words = beginning.rsplit(None, 1)[0] if beginning.split() else ""
    return len({s for s in content_stems(whole_words) if s not in known}) >= HOPELESS_WORDS


def already_said(item: EvidenceSentence, said: Sequence[tuple[str, Vectors]]) -> bool:
    """Do the sentences shown so far (text, unit vector) carry this evidence sentence?"""
    stems = set(content_stems(item.sentence.text))
    if not stems:
        return True
    shown = set(content_stems(" ".join(text for text, _ in said)))
    near = max((float(vector @ item.vector) for _, vector in said), default=-1.0)
    return near >= SAID_COSINE and len(stems & shown) / len(stems) >= SAID_WORDS


def _refused(reason: str) -> Check:
    return Check(False, (), (reason,))


def _cites(stems: Sequence[str], evidence: Sequence[EvidenceSentence], nearest: int) -> tuple[int, ...]:
    """The nearest evidence sentence, and any other that adds content words the draft sentence uses."""
    cites = [nearest]
    missing = set(stems) - set(content_stems(evidence[nearest].sentence.text))
    while missing:
        gains = [(len(missing & set(content_stems(e.sentence.text))), -i) for i, e in enumerate(evidence)]
        gain, index = max(gains)
        if gain == 0:
            break
        cites.append(-index)
        missing -= set(content_stems(evidence[-index].sentence.text))
    return tuple(sorted(cites))


def _place(item: EvidenceSentence) -> str:
    return f"{item.passage.title} {' '.join(item.passage.heading_path)}"


def _turned_around(sentence: str, cited: str) -> list[str]:
    """Words whose opposite stands in the evidence while they themselves don't."""
    there = set(words(cited))
    return [w for w in words(sentence) if w in OPPOSITES and w not in there and OPPOSITES[w] in there]


def _another_subject(sentence: str, cited: Sequence[str]) -> bool:
    """Is something said of A that the evidence says of B in another clause ("training ...; inference ...")?

    For each clause of the sentence, the evidence clauses that share most of what is said must hold its first content
    word too, unless no evidence clause does.
    """
    clauses = [set(content_stems(clause)) for text in cited for clause in _TURN.split(text)]
    for clause in _TURN.split(sentence):
        stems = content_stems(clause)
        if len(stems) < 2 or not any(stems[0] in c for c in clauses):
            continue
        shared = [len(c & set(stems[1:])) for c in clauses]
        if max(shared) and not any(
            stems[0] in c for c, n in zip(clauses, shared, strict=True) if n == max(shared)
        ):
            return True
    return False


def _order(stems: Sequence[str], source: Sequence[str]) -> float:
    """How far the shared content words keep their order (who does what to whom): 1.0 is the same order.

    Longest common subsequence over the number of distinct shared words.
    """
    shared = set(stems) & set(source)
    if len(shared) < 2:
        return 1.0
    a = list(dict.fromkeys(s for s in stems if s in shared))
    b = [s for s in source if s in shared]
    row = [0] * (len(b) + 1)
    for x in a:
        previous = row[:]
        for j, y in enumerate(b):
            row[j + 1] = previous[j] + 1 if x == y else max(previous[j + 1], row[j])
    return row[-1] / len(a)
