"""Blind votes on answers that several systems gave to the same question. Pure: values in, values out.

Who wrote what is not told before the vote, and the order is another one for each question, so a learner judges the
answer and not the name. Systems that wrote the same are one answer: nobody can prefer one of two equal texts.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SYSTEMS = ("base", "served", "candidate")
NO_DIFFERENCE = "none"
LETTERS = "ABC"


@dataclass(frozen=True, slots=True)
class Ballot:
    """One question with its different answers in blind order; `writers` says which systems wrote each.

    `item` stands for exactly these texts: a vote never counts for others. `choice` is a letter, NO_DIFFERENCE, or
    None as long as nobody voted.
    """

    item: str
    question: str
    answerable: bool
    reference: str
    texts: tuple[str, ...]
    writers: tuple[tuple[str, ...], ...]
    choice: str | None = None

    @property
    def chosen(self) -> tuple[str, ...]:
        """The systems that wrote the answer that was voted for."""
        place = LETTERS.find(self.choice) if self.choice and len(self.choice) == 1 else -1
        return self.writers[place] if 0 <= place < len(self.writers) else ()


@dataclass(frozen=True, slots=True)
class Tally:
    """How many votes each system got, and on how many questions there was no difference."""

    votes: dict[str, int]
    no_difference: int
    voted: int
    of: int


def ballots(
    answers: Sequence[Any], adapter: str, learner_id: int, votes: Mapping[str, str] | None = None
) -> list[Ballot]:
    """The questions of a report's answers on which systems differ. `votes`: item -> choice."""
    found: list[Ballot] = []
    for answer in answers:
        if not isinstance(answer, Mapping):
            continue
        said = {name: _text(answer.get(name)) for name in SYSTEMS}
        by_text: dict[str, list[str]] = {}
        for name, text in said.items():
            if text:
                by_text.setdefault(" ".join(text.split()), []).append(name)
        if len(by_text) < 2:
            continue
        question = str(answer.get("question", ""))
        item = _digest(question, *(f"{name}={text}" for name, text in said.items()))
        if any(item == known.item for known in found):
            continue
        order = sorted(by_text)
        random.Random(_digest(adapter, str(learner_id), item)).shuffle(order)
        choice = (votes or {}).get(item)
        found.append(
            Ballot(
                item=item,
                question=question,
                answerable=answer.get("answerable") is not False,
                reference=str(answer.get("reference") or ""),
                texts=tuple(said[by_text[text][0]] for text in order),
                writers=tuple(tuple(by_text[text]) for text in order),
                choice=choice if choice in choices(len(order)) else None,
            )
        )
    return found


def choices(number: int) -> tuple[str, ...]:
    """What can be voted for where there are so many different answers."""
    return (*LETTERS[:number], NO_DIFFERENCE)


def tally(found: Sequence[Ballot]) -> Tally:
    """Count the votes."""
    counted = {name: sum(name in ballot.chosen for ballot in found) for name in SYSTEMS}
    return Tally(
        votes=counted,
        no_difference=sum(ballot.choice == NO_DIFFERENCE for ballot in found),
        voted=sum(ballot.choice is not None for ballot in found),
        of=len(found),
    )


def _text(said: Any) -> str:
    return str(said.get("text") or "").strip() if isinstance(said, Mapping) else ""


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]
