"""Greedy decoding over an engine: the likeliest token each time, and no token computed twice.

Two shortcuts, neither of which changes what is written (exactly so in float32; with fewer bits a tie may fall the
other way). What the new prompt has in common with the last one is not
read again (the system's words, and the whole history of a chat). And an answer from notes mostly repeats the notes:
where the last words already stand in the prompt, the words after them are guessed and checked all in one pass
(prompt lookup); a guess the model would not have made is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator

from tutor.generators.engine import Engine

_CHUNK = 256  # prompt tokens read between two looks at whether to stop


class Greedy:
    """Writes one text after another with one engine."""

    def __init__(self, engine: Engine, end_tokens: frozenset[int], *, lookup: int = 3) -> None:
        """`lookup` is how many tokens may be guessed at once; 0 turns guessing off."""
        self._engine = engine
        self._end = end_tokens
        self._lookup = lookup if engine.rewinds else 0
        self._read: list[int] = []  # the tokens whose keys and values the engine holds

    def write(self, prompt: list[int], limit: int) -> Iterator[int | None]:
        """Up to `limit` tokens, without the end token. Yields None while the prompt is still being read.

        Close the iterator to stop; the engine is then ready for the next prompt.
        """
        del self._read[self._kept(prompt) :]
        token = -1
        while len(self._read) < len(prompt):
            part = prompt[len(self._read) : len(self._read) + _CHUNK]
            token = self._advance(part, 1)[0]
            yield None
        text = [*prompt]
        while limit > 0:
            if token in self._end:
                return
            text.append(token)
            limit -= 1
            yield token
            if limit == 0:
                return
            guess = guess_next(text, len(prompt), min(self._lookup, limit - 1))
            found = self._advance([token, *guess], 1 + len(guess))
            right = 0
            while right < len(guess) and found[right] == guess[right]:
                right += 1
            del self._read[len(self._read) - (len(guess) - right) :]
            for token in guess[:right]:
                if token in self._end:
                    return
                text.append(token)
                limit -= 1
                yield token
            token = found[right]

    def _kept(self, prompt: list[int]) -> int:
        """How many of the tokens read so far the prompt begins with; its last one must be read to go on."""
        if not self._engine.rewinds:
            return 0
        same = 0
        for read, wanted in zip(self._read, prompt[:-1], strict=False):
            if read != wanted:
                break
            same += 1
        return same

    def _advance(self, ids: list[int], last: int) -> list[int]:
        found = self._engine.extend(ids, len(self._read), last)
        self._read += ids
        return found


def guess_next(text: list[int], prompt_length: int, most: int) -> list[int]:
    """What followed the last two or three tokens of `text` where they last stood in the prompt, or nothing."""
    if most <= 0:
        return []
    for size in (3, 2):
        tail = text[-size:]
        for start in range(prompt_length - size - 1, -1, -1):
            if text[start : start + size] == tail:
                return text[start + size : min(start + size + most, prompt_length)]
    return []
