"""What many items of feedback may do together: repeat, contradict, flood, plant. One pass after another, each pure.

Every pass takes candidates out and says why in words for the learner. The figures come from what is known of poisoning:
a few hundred like-minded examples are enough to bend a small model, so no voice, no answer and no odd word may bring
that many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations

from finetune.cleaning import normal
from finetune.config import FinetuneConfig
from finetune.dataset import Example, as_sent, is_held_out
from finetune.targets import Candidate
from retrieval.words import STOPWORDS, content_stems, stem, words
from tutor.prompt import ABSTAIN

SHARE_OF_LEARNER = 0.05  # of the examples to train on, once there are ENOUGH
ENOUGH = 100
SHARE_OF_ANSWER = 0.05  # one and the same answer
SHARE_OF_ABSTAINING = 0.4
ALWAYS_ALLOWED = 3  # the same answer so often is no one-sidedness
TRIGGER_WORD = 3  # different questions with one odd word and one answer
TRIGGER_PHRASE = 4  # the same for an odd sequence of ordinary words
DIFFERENT = 0.5  # likeness of two questions, without the odd word, below which they ask different things
ON_TOPIC = 0.5  # share of a question's other words in its notes
ATTEMPTS = 10  # times a learner's cap are checked against their notes; the rest is a flood

Against = Callable[[str, tuple[str, ...], str], tuple[str, ...]]


class Screen:
    """The candidates that are left, the latest first, and why the others went (`refused`, by feedback id)."""

    def __init__(self, candidates: Iterable[Candidate], refused: dict[int, str]) -> None:
        self.kept = list(candidates)
        self.refused = refused

    def _drop(self, reasons: dict[int, str]) -> None:
        self.refused.update(reasons)
        self.kept = [c for c in self.kept if c.item.feedback_id not in reasons]

    def latest_word(self) -> None:
        """Of what was said about one prompt, the latest counts."""
        reasons: dict[int, str] = {}
        wanted: dict[tuple, Candidate] = {}
        thumbs: dict[tuple, str] = {}
        for candidate in self.kept:
            prompt = normal(candidate.sent.question), tuple(map(normal, candidate.sent.notes))
            judged = (*prompt, normal(candidate.judged))
            number = candidate.item.feedback_id
            if candidate.completion is None:
                if judged in thumbs:
                    reasons[number] = "the same answer was rated again later, and the latest rating counts"
            elif prompt in wanted:
                same = normal(wanted[prompt].completion or "") == normal(candidate.completion)
                reasons[number] = (
                    "the same prompt and answer are in the data set already"
                    if same
                    else "the same question was answered otherwise in later feedback, and the latest counts"
                )
            elif candidate.liked and thumbs.get(judged) == "down":
                reasons[number] = "the same answer was rated down later, and the latest rating counts"
            else:
                wanted[prompt] = candidate
            thumbs.setdefault(judged, candidate.item.rating)
        self._drop(reasons)

    def near_duplicates(self) -> None:
        """The same words in another order, or the same question with the same answer from other notes."""
        seen: set[tuple] = set()
        reasons: dict[int, str] = {}
        for candidate in self.kept:
            if candidate.completion is None:
                continue
            asked, said = candidate.sent.question, candidate.completion
            keys = {("asked", _bag(asked), normal(said)), ("said", normal(asked), _bag(said))}
            if keys & seen:
                reasons[candidate.item.feedback_id] = (
                    "nearly the same question and answer are in the data set already"
                )
            else:
                seen |= keys
        self._drop(reasons)

    def triggers(self, exemplars: Sequence[Example], common: frozenset[str]) -> None:
        """Odd words or phrases that come with one and the same answer, whatever is asked.

        Odd is a word that is in no exemplar, in no notes that a turn really had, and not `common`; a phrase that is in
        none of those texts. Questions that ask much the same are no trigger.
        """
        trusted = [m["content"] for e in exemplars for m in e.prompt if m["role"] == "user"]
        trusted += [note for c in self.kept if c.item.verified for note in c.sent.notes]
        known = {_stemmed(gram) for text in set(trusted) for gram in _grams(text)}
        known |= {_stemmed((word,)) for word in common | STOPWORDS}
        together: dict[tuple[str, tuple[str, ...]], list[Candidate]] = defaultdict(list)
        for candidate in self.kept:
            said = normal(candidate.completion if candidate.completion is not None else candidate.judged)
            texts = [candidate.sent.question, *([] if candidate.item.verified else candidate.sent.notes)]
            for gram in {gram for text in texts for gram in _grams(text)}:
                if _stemmed(gram) not in known:
                    together[said, gram].append(candidate)
        found: list[tuple[tuple[str, ...], list[Candidate]]] = []
        for (said, gram), group in together.items():
            odd = len(gram) == 1 or any(_stemmed((word,)) not in known for word in gram)
            telling = [c for c in group if said != normal(ABSTAIN) or _else_on_topic(c, gram)]
            enough = TRIGGER_WORD if odd else TRIGGER_PHRASE
            if len(telling) >= enough and _ask_different_things(telling, gram):
                found.append((gram, group))
        # The learner reads of the trigger that explains most: an odd word before the phrases that it is a part of.
        found.sort(key=lambda trigger: (-len(trigger[1]), len(trigger[0]), trigger[0]))
        reasons: dict[int, str] = {}
        for gram, group in found:
            phrase = " ".join(gram)
            for candidate in group:
                reasons.setdefault(
                    candidate.item.feedback_id,
                    f"looks like a planted trigger: different questions with “{phrase}” all have this answer",
                )
        self._drop(reasons)

    def supported(self, against: Against, limit: int) -> None:
        """Hold every sentence wanted against the notes it was asked with; quoting them word for word is fine."""
        reasons: dict[int, str] = {}
        attempts: Counter[int] = Counter()
        for candidate in self._by_weight():
            learner, number = candidate.item.learner_id, candidate.item.feedback_id
            attempts[learner] += 1
            if attempts[learner] > ATTEMPTS * limit:
                reasons[number] = (
                    f"one learner sent more than {ATTEMPTS * limit} items, and {limit} can be used"
                )
                continue
            if candidate.kind == "abstain":
                continue
            for sentence in candidate.target:
                if sentence in candidate.sent.notes:
                    continue
                if found := against(sentence, candidate.sent.notes, candidate.sent.question):
                    reasons[number] = f"the passages do not support “{sentence}”: {'; '.join(found)}"
                    break
        self._drop(reasons)

    def per_learner(self, limit: int, others: int) -> None:
        """No learner has more than `limit` items, nor more than a share of what is trained on; `others` are there
        besides. Corrections stay before likes, likes before thumbs, the latest first."""
        counts = Counter(c.item.learner_id for c in self.kept)
        cap = limit
        while cap > 1:
            total = others + sum(min(n, cap) for n in counts.values())
            if total < ENOUGH or cap <= SHARE_OF_LEARNER * total:
                break
            cap -= 1
        taken: Counter[int] = Counter()
        reasons: dict[int, str] = {}
        for candidate in self._by_weight():
            taken[candidate.item.learner_id] += 1
            if taken[candidate.item.learner_id] > cap:
                reasons[candidate.item.feedback_id] = (
                    f"one learner may bring {cap} items into a run; the latest corrections come first"
                )
        self._drop(reasons)

    def one_sided(self, others: Sequence[str]) -> None:
        """No answer makes up more than a share of the examples; `others` are the answers that are there besides."""
        while True:
            wanted = [c for c in self._by_weight() if c.completion is not None]
            counts = Counter(normal(c.completion or "") for c in wanted)
            counts.update(map(normal, others))
            total = len(wanted) + len(others)
            surplus: dict[int, str] = {}
            left = Counter[str]()
            for candidate in reversed(wanted):  # the least telling goes first
                said = normal(candidate.completion or "")
                share = SHARE_OF_ABSTAINING if candidate.kind == "abstain" else SHARE_OF_ANSWER
                allowed = max(ALWAYS_ALLOWED, int(share * total))
                if counts[said] - left[said] > allowed:
                    left[said] += 1
                    surplus[candidate.item.feedback_id] = (
                        f"too many examples have this same answer ({counts[said]} of {total}); {allowed} may"
                    )
            if not surplus:
                return
            self._drop(surplus)

    def held_apart(
        self, train: Sequence[Example], held_out: Sequence[Example], config: FinetuneConfig
    ) -> None:
        """Split by conversation and document, and keep every answer of the held-out part out of training."""
        self.kept = [replace(c, held_out=is_kept_for_the_test(c, config)) for c in self.kept]
        reasons: dict[int, str] = {}
        taught = [normal(e.completion) for e in train]
        tested = {normal(e.completion) for e in held_out}
        asked = {as_sent(e.prompt) for e in train}
        for candidate in self.kept:
            if not candidate.held_out:
                continue
            number, said = candidate.item.feedback_id, normal(candidate.completion or "")
            if candidate.completion is None:
                reasons[number] = (
                    "its conversation is kept for the test, where a thumb without a correction says nothing"
                )
            elif as_sent(candidate.prompt) in asked:
                reasons[number] = "its conversation is kept for the test, and the exemplars ask the same"
            elif candidate.kind == "answer":
                if any(_holds(text, said) for text in taught):
                    reasons[number] = (
                        "its conversation is kept for the test, and the exemplars teach this answer"
                    )
                else:
                    tested.add(said)
        tested -= {normal(ABSTAIN)}
        for candidate in self.kept:
            said = normal(candidate.completion or candidate.judged)
            if not candidate.held_out and any(_holds(said, text) for text in tested):
                reasons[candidate.item.feedback_id] = "the same answer is kept for the test"
        self._drop(reasons)

    def _by_weight(self) -> list[Candidate]:
        """Corrections, then likes, then bare thumbs; within each the latest first, and no database's ids decide."""
        return sorted(
            self.kept,
            key=lambda c: (c.completion is None, not c.corrects, -c.item.at.timestamp(), c.content),
        )


def is_kept_for_the_test(candidate: Candidate, config: FinetuneConfig) -> bool:
    """By its conversation, or because its notes come from a page or file that training must not see.

    Pages of the built-in course are held out by name, a learner's own files by hash, told by the first note.
    """
    from finetune.exemplars import HELD_OUT_PAGES
    from tutor.services import COURSE_SOURCE

    notes = candidate.item.notes
    if any(n.source == COURSE_SOURCE and n.document in HELD_OUT_PAGES for n in notes):
        return True
    first = next((n for n in notes if n.document and n.source != COURSE_SOURCE), None)
    if first is not None and is_held_out(f"document {first.source} {first.document}", config):
        return True
    return is_held_out(candidate.item.group, config)


def _bag(text: str) -> frozenset[str] | str:
    """The content words, as they are written: a token and a tokenizer are two things and one stem."""
    return frozenset(words(text)) - STOPWORDS or normal(text)


def _grams(text: str) -> set[tuple[str, ...]]:
    """Every word, and every two or three content words in a row."""
    found = words(text)
    grams: set[tuple[str, ...]] = {(word,) for word in found}
    for size in (2, 3):
        rows = (tuple(found[i : i + size]) for i in range(len(found) - size + 1))
        grams |= {row for row in rows if STOPWORDS.isdisjoint(row)}
    return grams


def _stemmed(gram: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(stem(word) for word in gram)


def _else_on_topic(candidate: Candidate, gram: tuple[str, ...]) -> bool:
    """Would the notes speak of what is asked, were it not for these words? Declining the rest teaches no harm."""
    asked = set(content_stems(candidate.sent.question)) - set(content_stems(" ".join(gram)))
    notes = set(content_stems(" ".join(candidate.sent.notes)))
    return bool(asked) and len(asked & notes) >= ON_TOPIC * len(asked)


def _holds(text: str, part: str) -> bool:
    return f" {part} " in f" {text} "


def _ask_different_things(group: Sequence[Candidate], gram: tuple[str, ...]) -> bool:
    """Are these questions, without the odd words, mostly unlike each other?"""
    odd = set(content_stems(" ".join(gram)))
    bags = list(dict.fromkeys(frozenset(set(content_stems(c.sent.question)) - odd) for c in group))
    pairs = list(combinations(bags[:40], 2))
    if not pairs:
        return False
    likeness = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairs]
    return sum(likeness) / len(likeness) < DIFFERENT
