"""Which sentences of a draft does this evidence support?

A sentence the model wrote is shown as fact only if the selected evidence carries it: near in meaning to it, its content
words and numbers found there, nothing negated, widened, turned around or left unfinished. Where a judge of entailment
has read the sentence, it may refuse what these rules let through (two things exchanged, a number moved), never the
other way round. Conservative on purpose: refusing a faithful paraphrase costs a little fluency (the material's own
words are shown instead), while letting a wrong sentence through costs trust. Pure; vectors and judgements come in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.entailment import CONTRADICTED
from retrieval.evidence import EvidenceSentence
from retrieval.records import Vectors
from retrieval.words import OPPOSITES, content_stems, negations, numbers, quantifiers, words

MIN_COSINE = 0.60  # draft sentence to its nearest evidence sentence
MIN_ORDER = 0.70  # longest common run of shared content words, in order, over all shared ones
TURNED = 0.5  # the judge's probability of contradiction from which a sentence is refused
HOPELESS_WORDS = 2
SAID_COSINE = 0.80  # from here, with SAID_WORDS, an evidence sentence counts as already said
SAID_WORDS = 0.70
SAID_OF_CITED = 0.80  # at 0.7, four of 72 right answers lost a "most", a purpose or a number

# Words that a restatement may add because they claim nothing.
_NEUTRAL = frozenset(content_stems("called refers term simply basically essentially word words"))

_FINISHED = re.compile(r"[.!?…][\"'”’)\]]*$")
# Where a sentence turns from one thing to another. A bare comma does not count: it mostly joins what belongs together.
_TURN = re.compile(
    r"[;:]|,?\s(?:while|whereas|but|unlike|instead of|rather than|although)\s|,\s(?:and|so|yet|not)\s", re.I
)
_LEANS = re.compile(
    r"(?:it|its|they|their|them|this|that|these|those|which|is|are|was|were|has|have|can)\b", re.I
)
_CONDITIONS = frozenset("unless except if only until without".split())
_LIMITING = _CONDITIONS | frozenset(
    "rarely seldom hardly barely almost nearly when may might could can sometimes often usually mostly some few little "
    "less least not no never neither nor".split()
)
_OPENING = re.compile(
    r"(?:when|whenever|if|once|after|before|while|until|unless|with|without|in the \w+ case)\b", re.I
)
_SIZED = re.compile(r"\b([a-z]+) of (\d[\d,.]*)", re.I)
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


def pairs_to_judge(sentence: str, evidence: Sequence[EvidenceSentence]) -> list[tuple[str, str]]:
    """What `retrieval.entailment` is asked about a sentence: (it, the evidence as a whole)."""
    return [(sentence, " ".join(item.sentence.text for item in evidence))]


def check_sentence(
    sentence: str,
    vector: Vectors,
    evidence: Sequence[EvidenceSentence],
    question: str,
    judged: Vectors | None = None,
) -> Check:
    """Hold one draft sentence against the evidence. `vector` has shape (d,) and length 1.

    `judged` holds the judge's probabilities [1, 3] for `pairs_to_judge`; without it the rules alone decide.
    """
    stems = content_stems(sentence)
    if not _FINISHED.search(sentence):
        strange = _strange(sentence, " ".join(e.sentence.text for e in evidence))
        return _refused("unfinished", *_unknown(strange))
    about = _ABOUT_THE_TASK.search(sentence)
    if about and about[0].lower() not in " ".join(e.sentence.text.lower() for e in evidence):
        return _refused("talks about the task")
    if sentence.endswith("?"):
        return _refused("asks instead of answering")
    if not stems or set(stems) <= set(content_stems(question)):
        return _refused("says nothing that the question did not")
    if not evidence:
        return _refused("no evidence")

    cosine = max(float(vector @ e.vector) for e in evidence)
    parts = _parts(sentence)
    bearers = [_bearer(part, evidence) for part in parts]
    cites = tuple(sorted(set(bearers)))
    cited = " ".join(evidence[i].sentence.text for i in cites)

    reasons = []
    if cosine < MIN_COSINE:
        reasons.append(f"far from the evidence (cosine {cosine:.2f})")
    for part, bearer in zip(parts, bearers, strict=True):
        reasons += _against(part, evidence[bearer].sentence.text, question)
    # Words left out of one sentence and none moved: the rules above see to what that can change, and the judge would
    # refuse a third of such sentences, even some of the material's own against themselves.
    turned = judged is not None and judged[0, CONTRADICTED] >= TURNED
    if turned and not any(_cut_from(sentence, item.sentence.text) for item in evidence):
        reasons.append("the evidence says otherwise")
    if _order(stems, content_stems(cited)) < MIN_ORDER:
        reasons.append("the words stand in another order than in the evidence")
    return Check(not reasons, cites if not reasons else (), tuple(dict.fromkeys(reasons)))


def _cut_from(sentence: str, source: str) -> bool:
    """Whether the sentence is the source with words left out: the same words, in the same order, none of what lies
    between them limiting what is said, and no condition left out anywhere."""
    kept, there = words(sentence), words(source)
    places: list[int] = []
    for word in kept:
        try:
            places.append(there.index(word, places[-1] + 1 if places else 0))
        except ValueError:
            return False
    left_out = {word for i, word in enumerate(there[: places[-1]]) if i > places[0] and i not in places}
    return not (left_out & _LIMITING or _CONDITIONS & {*there} - {*kept})


def _against(part: str, source: str, question: str) -> list[str]:
    """What speaks against one part of a sentence being said by one evidence sentence."""
    reasons = _unknown(_strange(part, source))
    if extra := numbers(part) - numbers(source):
        reasons.append("numbers that the evidence does not have: " + ", ".join(sorted(extra)))
    if negations(part) != negations(_clause_like(part, source)):
        reasons.append("negation differs from the evidence")
    if wider := quantifiers(part) - quantifiers(source):
        reasons.append("wider than the evidence: " + ", ".join(sorted(wider)))
    if turned := _turned_around(part, source):
        reasons.append("turned around: " + ", ".join(turned))
    if _another_subject(part, source):
        reasons.append("says of one thing what the evidence says of another")
    if size := _size_left_out(part, source):
        reasons.append(f"leaves out a size: {size}")
    if opening := _opening_left_out(part, source, question):
        reasons.append(f"leaves out when it holds: {opening}")
    return reasons


def _size_left_out(part: str, source: str) -> str:
    """ "A reply of 200 tokens takes 5 seconds" is not true of every reply."""
    named, sized = set(content_stems(part)), {noun.lower() for noun, _ in _SIZED.findall(part)}
    for noun, number in _SIZED.findall(source):
        if (
            noun.lower() not in sized
            and set(content_stems(noun)) & named
            and not numbers(number) & numbers(part)
        ):
            return f"{noun} of {number}"
    return ""


def _opening_left_out(part: str, source: str, question: str) -> str:
    """What the source opens with to say when it holds, if the part begins behind it and the question doesn't speak of
    it either."""
    start = source.lower().find(" ".join(part.lower().split()[:2]))
    opening = source[: max(0, start)].strip(" ,")
    stems = set(content_stems(opening))
    if not _OPENING.match(opening) or stems & set(content_stems(f"{part} {question}")):
        return ""
    return opening


def _parts(sentence: str) -> list[str]:
    """The parts that may rest on different evidence: clauses with a subject of their own.

    A clause that leans on the one before ("..., while its weights are fixed") stays with it.
    """
    parts: list[str] = []
    start = 0
    for turn in _TURN.finditer(sentence):
        if not _LEANS.match(sentence[turn.end() :]):
            parts.append(sentence[start : turn.start()])
            start = turn.end()
    parts.append(sentence[start:])
    whole = [part for part in parts if content_stems(part)]
    return whole or [sentence]


def _bearer(part: str, evidence: Sequence[EvidenceSentence]) -> int:
    """The evidence sentence that has most of the part's content words; of equals the first."""
    stems = set(content_stems(part))
    return max(
        range(len(evidence)), key=lambda i: (len(stems & set(content_stems(evidence[i].sentence.text))), -i)
    )


def _strange(part: str, source: str) -> list[str]:
    """The part's content words that the source lacks. One is enough to turn a true sentence into a false one."""
    known = set(content_stems(source)) | _NEUTRAL
    return list(dict.fromkeys(s for s in content_stems(part) if s not in known))


def _unknown(strange: Sequence[str]) -> list[str]:
    return ["words that the evidence does not have: " + ", ".join(strange)] if strange else []


def _clause_like(part: str, source: str) -> str:
    """What of the source a part restates: the whole, or the clause that shares most words with a short part."""
    clauses = [c for c in _TURN.split(source) if content_stems(c)]
    stems = set(content_stems(part))
    if not clauses or len(stems & set(content_stems(source))) > max(
        len(stems & set(content_stems(c))) for c in clauses
    ):
        return source
    return max(clauses, key=lambda c: len(stems & set(content_stems(c))))


def hopeless(beginning: str, evidence: Sequence[EvidenceSentence]) -> bool:
    """Has a sentence that begins like this strayed so far that there is no point in waiting for its end?

    The word being written does not count yet.
    """
    whole_words = beginning.rsplit(None, 1)[0] if beginning.split() else ""
    return len(_strange(whole_words, " ".join(e.sentence.text for e in evidence))) >= HOPELESS_WORDS


def already_said(item: EvidenceSentence, said: Sequence[tuple[str, Vectors]], *, cited: bool = False) -> bool:
    """Do the sentences shown so far (text, unit vector) carry this evidence sentence, its numbers among it? One that
    they cite need not be as near as others, but must be there nearly whole."""
    stems = set(content_stems(item.sentence.text))
    if not stems:  # "No." opens an answer; after other words it would turn them around
        return bool(said)
    text_shown = " ".join(text for text, _ in said)
    if not numbers(item.sentence.text) <= numbers(text_shown):
        return False
    share = len(stems & set(content_stems(text_shown))) / len(stems)
    near = max((float(vector @ item.vector) for _, vector in said), default=-1.0)
    return (cited or near >= SAID_COSINE) and share >= (SAID_OF_CITED if cited else SAID_WORDS)


def _refused(*reasons: str) -> Check:
    return Check(False, (), reasons)


def _turned_around(sentence: str, cited: str) -> list[str]:
    """Words whose opposite stands in the evidence while they themselves don't."""
    there = set(words(cited))
    return [w for w in words(sentence) if w in OPPOSITES and w not in there and OPPOSITES[w] in there]


def _another_subject(part: str, source: str) -> bool:
    """Is something said of A that the source says of B in another clause ("training ...; inference ...")?

    The clauses that share most of what is said must hold the part's first content word too, unless none does.
    """
    clauses = [set(content_stems(clause)) for clause in _TURN.split(source)]
    for clause in _TURN.split(part):
        stems = content_stems(clause)
        if len(stems) < 2 or not any(stems[0] in c for c in clauses):
            continue
        shared = [len(c & set(stems[1:])) for c in clauses]
        most = max(shared)
        if most and not any(stems[0] in c for c, n in zip(clauses, shared, strict=True) if n == most):
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
