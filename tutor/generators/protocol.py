"""What a turn needs from a model that writes: messages in, text out piece by piece, and who wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict

FinishReason = Literal["stop", "length", "cancelled"]


class Message(TypedDict):
    """One chat message, in the roles every chat template knows."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one generation, as the generator itself counts them."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which weights wrote an answer. `weights_sha256` is empty only where a server does not tell."""

    base: str
    adapter: str | None
    weights_sha256: str


class GeneratorError(Exception):
    """The model could not be loaded or reached, or broke off. `str()` is one line a learner may read."""


class Draft(Protocol):
    """A text being written. Iterate once; `usage` and `finish_reason` are final after the iteration ends."""

    usage: Usage
    finish_reason: FinishReason

    def __iter__(self) -> Iterator[str]: ...

    def cancel(self) -> None:
        """Stop writing soon, from any thread; iteration then ends and the model is free again."""
        ...


class Generator(Protocol):
    """Safe to call from several threads; a generator decides itself how many drafts it writes at once."""

    @property
    def identity(self) -> ModelIdentity: ...

    def stream(self, messages: Sequence[Message], *, max_new_tokens: int) -> Draft:
        """Start writing an answer to `messages`, greedily. Raises GeneratorError, here or while iterating."""
        ...
