"""Examples -> packed rows. Pure.

Many questions are asked about the same notes. Such examples form a group: the notes are read once, as the prefix, and
each question with its answer is a branch behind it. A branch sees the prefix and itself only, and its positions go on
where the prefix ends, so the loss is that of the separate sequences to the last digits, at a fraction of the tokens.
A row holds one or several groups, which don't see each other either.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tutor.generators.local import defused

if TYPE_CHECKING:
    from finetune.dataset import Example
    from tutor.generators.protocol import Message

_LEAST_SHARED = (
    0.5  # of a prompt: sharing only the system's words would keep it from those with the same notes
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example in tokens; the last one of `completion` ends the turn."""

    id: str
    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, slots=True)
class Group:
    """Examples whose prompts start with the same `shared` tokens."""

    shared: int
    members: tuple[Encoded, ...]

    @property
    def tokens(self) -> int:
        return self.shared + sum(member.tokens - self.shared for member in self.members)


Row = tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """How many tokens of a row a group's prefix takes, and how many each branch behind it."""

    prefix: int
    branches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A row as the model gets it. `sees[i, j]`: token i may look at token j, which follows from `pieces`. At the
    position `read[k]` the model is to predict the token `targets[k]`."""

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    sees: npt.NDArray[np.bool_]
    read: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    pieces: tuple[Piece, ...]


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


def groups_of(examples: Sequence[Encoded]) -> list[Group]:
    """Put together what shares a long prefix. The order of the examples makes no difference."""
    groups: list[Group] = []
    for example in sorted(examples, key=lambda e: (e.prompt, e.completion, e.id)):
        if groups:
            last = groups[-1]
            shared = min(
                last.shared, _common(last.members[0].prompt, example.prompt), len(example.prompt) - 1
            )
            dearer = len(last.members) * (last.shared - shared)  # each of them would carry more of its prompt
            if shared >= _LEAST_SHARED * len(example.prompt) and dearer < shared:
                groups[-1] = Group(shared, (*last.members, example))
                continue
        groups.append(
            Group(len(example.prompt) - 1, (example,))
        )  # what is read first must stand in the branch
    return groups


def plan(
    groups: Sequence[Group], *, row_tokens: int, rows_per_step: int, epochs: float, seed: int
) -> list[tuple[Row, ...]]:
    """The rows of every step, shuffled anew in every epoch. The same arguments give the same plan.

    A group too long for a row is divided, and the dividing line falls elsewhere in every epoch. An example must fit
    into a row by itself.
    """
    rows: list[Row] = []
    epoch = 0
    while (left := epochs - epoch) > 0:
        made = list(_rows(groups, row_tokens, random.Random(f"{seed}:{epoch}")))
        rows += made if left >= 1 else made[: max(1, round(left * len(made)))]
        epoch += 1
    return [tuple(rows[at : at + rows_per_step]) for at in range(0, len(rows), rows_per_step)]


def layout(row: Row) -> Layout:
    """How the model gets this row."""
    tokens: list[int] = []
    positions: list[int] = []
    group_of: list[int] = []
    branch_of: list[int] = []  # 0 in a prefix
    read: list[int] = []
    targets: list[int] = []
    pieces: list[Piece] = []

    def add(part: Sequence[int], first_position: int, group: int, branch: int) -> None:
        tokens.extend(part)
        positions.extend(range(first_position, first_position + len(part)))
        group_of.extend([group] * len(part))
        branch_of.extend([branch] * len(part))

    for number, group in enumerate(row):
        lengths = (member.tokens - 1 - group.shared for member in group.members)
        pieces.append(Piece(group.shared, tuple(lengths)))
        add(group.members[0].prompt[: group.shared], 0, number, 0)
        for branch, member in enumerate(group.members, start=1):
            question = member.prompt[group.shared :]
            before = len(tokens) + len(question) - 1  # where the answer's first token is predicted
            add([*question, *member.completion[:-1]], group.shared, number, branch)
            read.extend(range(before, before + len(member.completion)))
            targets.extend(member.completion)
    groups, branches = np.array(group_of), np.array(branch_of)
    sees = groups[:, None] == groups[None, :]
    sees &= (branches[None, :] == 0) | (branches[:, None] == branches[None, :])
    return Layout(
        np.array(tokens), np.array(positions), np.tril(sees), np.array(read), np.array(targets), tuple(pieces)
    )


def _rows(groups: Sequence[Group], row_tokens: int, chance: random.Random) -> Iterator[Row]:
    pieces = [piece for group in groups for piece in _divided(group, row_tokens, chance)]
    chance.shuffle(pieces)
    row: list[Group] = []
    room = row_tokens
    for piece in pieces:
        if piece.tokens > room and row:
            yield tuple(row)
            row, room = [], row_tokens
        row.append(piece)
        room -= piece.tokens
    if row:
        yield tuple(row)


def _divided(group: Group, row_tokens: int, chance: random.Random) -> Iterator[Group]:
    members = list(group.members)
    chance.shuffle(members)
    taken: list[Encoded] = []
    room = row_tokens - group.shared
    for member in members:
        needed = member.tokens - group.shared
        if needed > room and taken:
            yield Group(group.shared, tuple(taken))
            taken, room = [], row_tokens - group.shared
        taken.append(member)
        room -= needed
    if taken:
        yield Group(group.shared, tuple(taken))


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    for at, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return at
    return min(len(first), len(second))
