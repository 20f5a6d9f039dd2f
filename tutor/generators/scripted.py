"""Plays answers that are given to it, by the same protocol as a real model. For tests; nothing a user runs uses it."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from tutor.generators.protocol import FinishReason, GeneratorError, Message, ModelIdentity, Usage

Answers = Callable[[Sequence[Message]], str | GeneratorError] | Iterable[str | GeneratorError]


class ScriptedGenerator:
    """A `Generator` that writes `answers`: a function of the messages, or texts in order (the last one repeats).

    An answer that is a GeneratorError is raised. Every word waits `delay_s` seconds and counts as one token; so does
    every word of the prompt. `asked` keeps the messages of each call.
    """

    def __init__(
        self,
        answers: Answers,
        delay_s: float = 0.0,
        *,
        identity: ModelIdentity | None = None,
    ) -> None:
        self._answers = answers if callable(answers) else _in_order(answers)
        self._delay_s = delay_s
        self._identity = identity or ModelIdentity("scripted", None, "0" * 64)
        self.asked: list[list[Message]] = []

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def stream(self, messages: Sequence[Message], *, max_new_tokens: int) -> ScriptedDraft:
        """Raises the answer if it is an error."""
        self.asked.append(list(messages))
        answer = self._answers(messages)
        if isinstance(answer, GeneratorError):
            raise answer
        prompt = sum(len(message["content"].split()) for message in messages)
        return ScriptedDraft(answer, prompt, max_new_tokens, self._delay_s)


class ScriptedDraft:
    """A `Draft` of given text."""

    def __init__(self, text: str, prompt_tokens: int, limit: int, delay_s: float) -> None:
        self._words = re.findall(r"\s*\S+|\s+$", text)
        self._limit = limit
        self._delay_s = delay_s
        self._cancelled = threading.Event()
        self.usage = Usage(prompt=prompt_tokens, completion=0)
        self.finish_reason: FinishReason = "cancelled"

    def __iter__(self) -> Iterator[str]:
        for count, word in enumerate(self._words[: self._limit], start=1):
            if self._cancelled.wait(self._delay_s) if self._delay_s else self._cancelled.is_set():
                return
            self.usage = Usage(self.usage.prompt, count)
            yield word
        self.finish_reason = "length" if len(self._words) > self._limit else "stop"

    def cancel(self) -> None:
        self._cancelled.set()


def _in_order(answers: Iterable[str | GeneratorError]) -> Callable[[Sequence[Message]], str | GeneratorError]:
    given = list(answers)
    if not given:
        raise ValueError("a script needs at least one answer")
    rest = itertools.chain(given, itertools.repeat(given[-1]))
    lock = threading.Lock()

    def following(messages: Sequence[Message]) -> str | GeneratorError:
        with lock:
            return next(rest)

    return following
