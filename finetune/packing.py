"""Examples -> packed rows. Pure.

Prompts begin alike: all with the system's words, many with the same notes, some with the first of them. So the examples
of a row are laid out as a tree of prefixes: what several share is read once, and what each has to itself stands in a
branch behind it. A branch sees what it goes on from and itself, and its positions go on from there, so the loss is that
of the separate sequences to the last digits, at a fraction of the tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tutor.generators.local import defused

if TYPE_CHECKING:
    from finetune.dataset import Example
    from tutor.generators.protocol import Message

PLAN = 2  # goes up with every change to which rows a plan has: a checkpoint of other rows isn't continued
_WORTH_SHARING = 16  # tokens; a shorter piece costs more in bookkeeping than reading it again


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example in tokens; the last one of `completion` ends the turn."""

    id: str
    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return len(self.prompt) + len(self.completion)


Row = tuple[Encoded, ...]
"""Examples that are read at once; what shares a beginning stands together."""


@dataclass(frozen=True, slots=True)
class Node:
    """Of the examples below it the tokens from `start` on: up to `end` what they share, in a leaf the rest of one."""

    start: int
    end: int
    example: Encoded
    below: tuple[Node, ...] = ()

    @property
    def size(self) -> int:
        """Tokens that are read for it and all below."""
        return self.end - self.start + sum(node.size for node in self.below)


@dataclass(frozen=True, slots=True)
class Segment:
    """So many tokens of a row that stand in one piece, behind those segments (the first first) that they see."""

    length: int
    behind: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A row as the model gets it. `sees[i, j]`: token i may look at token j, which follows from `segments`. At the
    position `read[k]` the model is to predict the token `targets[k]`."""

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    sees: npt.NDArray[np.bool_]
    read: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    segments: tuple[Segment, ...]


class Encoder:
    """Tokenizes examples as the model reads them when it serves: its chat template, special tokens defused."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]
        self._end = self._end_of_turn()

    def encode(self, example: Example) -> Encoded:
        return Encoded(
            example.id,
            tuple(self._ids(self._rendered(example.prompt))),
            (*self._ids(defused(example.completion.strip(), self._special)), self._end),
        )

    def _rendered(self, messages: Sequence[Message]) -> str:
        safe = [{"role": m["role"], "content": defused(m["content"], self._special)} for m in messages]
        return str(self._tokenizer.apply_chat_template(safe, tokenize=False, add_generation_prompt=True))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _end_of_turn(self) -> int:
        """The special token that the chat template puts behind an answer. Not the newline that may follow it: the
        model is stopped before it would write that."""
        answered = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "ANSWER"}]
        text = str(self._tokenizer.apply_chat_template(answered, tokenize=False))
        for token in self._ids(text.rpartition("ANSWER")[2]):
            if token in self._tokenizer.all_special_ids:
                return token
        return int(self._tokenizer.eos_token_id)


def tree(examples: Sequence[Encoded], start: int = 0) -> tuple[Node, ...]:
    """The examples as a tree of prefixes, from the token `start` on, which comes behind what all of them share.

    What shares a beginning must stand together, as it does in the order of the prompts.
    """
    nodes = []
    for alike in _runs(examples, start):
        if len(alike) == 1:
            (example,) = alike
            nodes.append(Node(start, example.tokens - 1, example))  # the last token is only predicted
        else:
            end = min(_shared(one, other) for one, other in pairwise(alike))
            nodes.append(Node(start, end, alike[0], tree(alike, end)))
    return tuple(nodes)


def plan(
    examples: Sequence[Encoded], *, row_tokens: int, rows_per_step: int, epochs: float, seed: int
) -> list[tuple[Row, ...]]:
    """The rows of every step, shuffled anew in every epoch. The same arguments give the same plan, and the order of
    the examples makes no difference.

    Every epoch walks the tree of all examples in an order of its own and cuts the walk into rows. So what shares a
    beginning mostly comes into one row, each time with other company. An example must fit into a row by itself.
    """
    whole = tree(sorted(examples, key=lambda e: (e.prompt, e.completion, e.id)))
    rows: list[Row] = []
    epoch = 0
    while (left := epochs - epoch) > 0:
        made = list(_rows(_walk(whole, random.Random(f"{seed}:{epoch}")), row_tokens))
        rows += made if left >= 1 else made[: max(1, round(left * len(made)))]
        epoch += 1
    return [tuple(rows[at : at + rows_per_step]) for at in range(0, len(rows), rows_per_step)]


def layout(row: Row) -> Layout:
    """How the model gets this row."""
    tokens: list[int] = []
    positions: list[int] = []
    read: list[int] = []
    targets: list[int] = []
    segments: list[Segment] = []

    def add(node: Node, behind: tuple[int, ...]) -> None:
        example = node.example
        if not node.below:
            first = (
                len(tokens) + len(example.prompt) - 1 - node.start
            )  # where the answer's first is predicted
            read.extend(range(first, first + len(example.completion)))
            targets.extend(example.completion)
        tokens.extend((*example.prompt, *example.completion)[node.start : node.end])
        positions.extend(range(node.start, node.end))
        number = len(segments)
        segments.append(Segment(node.end - node.start, behind))
        for below in node.below:
            add(below, (*behind, number))

    for node in tree(row):
        add(node, ())
    return Layout(
        np.array(tokens),
        np.array(positions),
        _sees(segments),
        np.array(read),
        np.array(targets),
        tuple(segments),
    )


def _sees(segments: Sequence[Segment]) -> npt.NDArray[np.bool_]:
    ends = np.cumsum([segment.length for segment in segments])
    places = [slice(end - segment.length, end) for segment, end in zip(segments, ends, strict=True)]
    sees = np.zeros((ends[-1], ends[-1]), dtype=np.bool_)
    for segment, own in zip(segments, places, strict=True):
        for number in segment.behind:
            sees[own, places[number]] = True
        sees[own, own] = np.tri(segment.length, dtype=np.bool_)
    return sees


def _walk(nodes: Sequence[Node], chance: random.Random) -> Iterator[Encoded]:
    for node in chance.sample(nodes, len(nodes)):
        if node.below:
            yield from _walk(node.below, chance)
        else:
            yield node.example


def _rows(examples: Iterator[Encoded], row_tokens: int) -> Iterator[Row]:
    row: Row = ()
    for example in examples:
        if row and sum(node.size for node in tree((*row, example))) > row_tokens:
            yield row
            row = ()
        row = (*row, example)
    if row:
        yield row


def _runs(examples: Sequence[Encoded], start: int) -> Iterator[Sequence[Encoded]]:
    """Divide where neighbours share too little behind `start`."""
    begin = 0
    for at, (one, other) in enumerate(pairwise(examples), start=1):
        if _shared(one, other) < start + _WORTH_SHARING:
            yield examples[begin:at]
            begin = at
    yield examples[begin:]


def _shared(one: Encoded, other: Encoded) -> int:
    """How many tokens two prompts begin with alike. Not the last: what is read first must stand in the branch."""
    most = min(len(one.prompt), len(other.prompt)) - 1
    return next((at for at in range(most) if one.prompt[at] != other.prompt[at]), most)
