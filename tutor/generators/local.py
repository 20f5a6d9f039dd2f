"""Writes with a model that runs in this process, on the processor, greedily.

One worker thread owns the model: it writes one draft at a time, in the order they were asked for, at its own pace
even where the reader is slow. Where the weights come from is `tutor/models.py`'s, how they are computed with
`engine.py`'s and `greedy.py`'s.
"""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutor.generators.protocol import FinishReason, GeneratorError, Message, ModelIdentity, Usage

if TYPE_CHECKING:
    from tutor.generators.engine import Engine
    from tutor.generators.greedy import Greedy

MAX_WAITING = 32  # drafts that may wait for the model; a further one is refused at once
_LEAST_ROOM = 16  # tokens that must be left for the answer


class LocalGenerator:
    """A `Generator` over a folder with a model in transformers' layout (config, tokenizer, safetensors).

    Loading takes a second or two and happens here. `adapter` is a folder in peft's layout, merged into the copy in
    memory; `base_names` are the names by which an adapter may call this base. `precision` is auto, float32,
    bfloat16 or int8; `auto` takes 4 bits for weights that 4 bits hold exactly (the shipped ones), else int8, else
    float32 where the processor has no kernel for these; `.precision` tells. `threads` of None means all cores.
    Raises GeneratorError: one line, with what to do.
    """

    def __init__(
        self,
        folder: Path,
        *,
        identity: ModelIdentity,
        adapter: Path | None = None,
        base_names: Sequence[str] = (),
        precision: str = "auto",
        threads: int | None = None,
        max_waiting: int = MAX_WAITING,
        lookup: int = 3,
    ) -> None:
        from transformers import AutoConfig, AutoTokenizer

        from tutor.generators.engine import load_engine
        from tutor.generators.greedy import Greedy
        from tutor.generators.weights import Adapter

        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            self._tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise GeneratorError(f"The model in {folder} can't be loaded: {_brief(error)}.") from error
        if not getattr(self._tokenizer, "chat_template", None):
            raise GeneratorError(f"The model in {folder} has no chat template; choose an instruct model.")
        merged = Adapter(adapter, base_names=[identity.base, *base_names]) if adapter else None
        self._identity = identity
        self._special = [str(t) for t in self._tokenizer.added_tokens_decoder.values() if t.special]
        self._backend = self._tokenizer.backend_tokenizer
        self._max_waiting = max_waiting
        self._jobs: queue.Queue[LocalDraft | None] = queue.Queue()
        self._closing = threading.Event()

        end_tokens = _end_tokens(folder, config, self._tokenizer)

        def load() -> tuple[Engine, Greedy]:
            engine = load_engine(folder, config, merged, precision, threads)
            return engine, Greedy(engine, end_tokens, lookup=lookup)

        loaded: Future[Engine] = Future()
        worker = threading.Thread(
            target=_work,
            args=(loaded, load, self._jobs, self._closing, self._backend),
            name="generator",
            daemon=True,
        )
        worker.start()
        weakref.finalize(self, _stop, self._jobs, self._closing).atexit = False
        atexit.register(_stop, self._jobs, self._closing, worker)
        try:
            engine = loaded.result()
        except (RuntimeError, MemoryError, ValueError, KeyError, AttributeError) as error:
            raise GeneratorError(f"The model in {folder} can't be loaded: {_brief(error)}.") from error
        self.precision = engine.precision
        self.context = engine.context

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def close(self) -> None:
        """Stop what is being written and free the model. Also happens by itself, at exit or after the last use."""
        _stop(self._jobs, self._closing)

    def stream(self, messages: Sequence[Message], *, max_new_tokens: int) -> LocalDraft:
        """Start writing, or wait for one's turn. Raises GeneratorError if too many wait or the text is too long."""
        if self._closing.is_set():
            raise GeneratorError("The model was closed; start the program again.")
        if self._jobs.qsize() >= self._max_waiting:
            raise GeneratorError(
                f"The model is busy and {self._jobs.qsize()} others wait for it; try again in a moment."
            )
        prompt = self._encode(messages)
        room = self.context - len(prompt)
        if room < _LEAST_ROOM:
            raise GeneratorError(
                f"The question with its notes is {len(prompt)} tokens long and the model reads at most "
                f"{self.context - _LEAST_ROOM}; ask a shorter question or start a new conversation."
            )
        draft = LocalDraft(prompt, min(max_new_tokens, room))
        self._jobs.put(draft)
        return draft

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            [{"role": m["role"], "content": defused(m["content"], self._special)} for m in messages],
            tokenize=False,
            add_generation_prompt=True,
        )
        return list(self._backend.encode(text, add_special_tokens=False).ids)


class LocalDraft:
    """A `Draft`. What it holds is written by the worker thread and read by whoever iterates."""

    def __init__(self, prompt: list[int], limit: int) -> None:
        self.prompt = prompt
        self.limit = limit
        self.usage = Usage(prompt=len(prompt), completion=0)
        self.finish_reason: FinishReason = "cancelled"
        self.cancelled = threading.Event()
        self.pieces: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[str]:
        try:
            while (piece := self.pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise GeneratorError(f"The model broke off: {_brief(piece)}.") from piece
                yield piece
        finally:
            self.cancel()

    def cancel(self) -> None:
        self.cancelled.set()


def defused(text: str, special: Sequence[str]) -> str:
    """`text` with nothing in it that the model could take for one of its `special` tokens: the end of a message or
    a new role. Training reads its examples through this too."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    for token in special:
        if token in text:
            text = text.replace(token, f"{token[:1]}\u200b{token[1:]}")
    return text


def _work(
    loaded: Future[Engine],
    load: Callable[[], tuple[Engine, Greedy]],
    jobs: queue.Queue[LocalDraft | None],
    closing: threading.Event,
    tokenizer: Any,
) -> None:
    """Load and serve, all in this one thread: a second that computes would bring threads of its own along."""
    try:
        engine, greedy = load()
    except BaseException as error:  # noqa: BLE001  it is raised again where the generator is made
        loaded.set_exception(error)
        return
    loaded.set_result(engine)
    del engine, load, loaded
    while (draft := jobs.get()) is not None:
        try:
            _write(draft, closing, greedy, tokenizer)
        except Exception as error:  # noqa: BLE001  it is raised again where the draft is read
            draft.pieces.put(error)
        finally:
            draft.pieces.put(None)
            del draft  # else the last prompt would stay while the model waits for the next


def _write(draft: LocalDraft, closing: threading.Event, greedy: Greedy, tokenizer: Any) -> None:
    from tokenizers.decoders import DecodeStream

    characters = DecodeStream(skip_special_tokens=True)  # holds back the bytes of an unfinished character
    count = 0
    if draft.cancelled.is_set():  # while it waited
        return
    for token in greedy.write(draft.prompt, draft.limit):
        if draft.cancelled.is_set() or closing.is_set():
            return
        if token is None:
            continue
        count += 1
        draft.usage = Usage(prompt=len(draft.prompt), completion=count)
        if text := characters.step(tokenizer, token):
            draft.pieces.put(text)
    draft.finish_reason = "length" if count >= draft.limit else "stop"


def _stop(
    jobs: queue.Queue[LocalDraft | None], closing: threading.Event, worker: threading.Thread | None = None
) -> None:
    """Stop writing; at exit wait for it too, but never where garbage is collected."""
    closing.set()
    jobs.put(None)
    if worker is not None:
        worker.join(timeout=2)


def _end_tokens(folder: Path, config: Any, tokenizer: Any) -> frozenset[int]:
    from transformers import GenerationConfig

    found: set[int] = set()
    try:
        named = GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
    except OSError:
        named = None
    for value in (named, config.eos_token_id, tokenizer.eos_token_id):
        found.update(value if isinstance(value, list) else [] if value is None else [value])
    return frozenset(found)


def _brief(error: Exception) -> str:
    return (" ".join(str(error).split())[:200] or type(error).__name__).rstrip(".")
