"""Writes through any server that speaks the OpenAI chat protocol: llama.cpp, vLLM, Ollama, transformers serve ...

What can go wrong with a server becomes one line for the learner. A line never holds the key, nor what the server
said about it; an address is shown without a password. Each draft is a task on one event loop, so that stopping it
closes its connection at once, whether the server is answering, thinking or not even connected.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import queue
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tutor.generators.protocol import FinishReason, GeneratorError, Message, ModelIdentity, Usage

if TYPE_CHECKING:
    from db.registry import ServedAdapter

_CONNECT_S = 5.0
_RETRIES = 1  # before the first byte only; what was begun is never repeated
_OF_STATUS = {
    401: "refuses the key; check the setting `server_api_key`",
    403: "does not allow this key to use the model; check the setting `server_api_key`",
    413: "finds the question too long; ask a shorter one or start a new conversation",
    429: "has too much to do or the quota is used up; try again in a minute",
}


class ServerGenerator:
    """A `Generator` over a server; the server decides how many drafts it writes at once.

    `model` of None means the only one the server offers. `timeout_s` bounds the wait for the first words (retry
    included) and for each further piece. Nothing is contacted before the identity, a draft or `load_adapter` is
    asked for. `registered` are the names of all adapters of ours: one that a server was started with stays off
    unless it is the `adapter`.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        adapter: ServedAdapter | None = None,
        registered: Sequence[str] = (),
    ) -> None:
        self._base_url = base_url
        self._adapter = adapter
        self._registered = frozenset(registered)
        self._addressed: dict[str, Any] | None = None  # what a request says to get the adapter, or none
        self._model = model
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None

    @property
    def identity(self) -> ModelIdentity:
        """The server does not tell its weights. Asks for the model's name where none is set: GeneratorError."""
        adapter = self._adapter.name if self._adapter else None
        return ModelIdentity(base=self._model_name(), adapter=adapter, weights_sha256="")

    def load_adapter(self) -> None:
        """Have the server take the adapter. Raises GeneratorError where it can't."""
        self._addressed = self._submit(self._load_adapter).result()

    def stream(self, messages: Sequence[Message], *, max_new_tokens: int) -> ServerDraft:
        """Send the question. What fails is raised while iterating; GeneratorError here if no model is named."""
        request = {
            "model": self._model_name(),
            "messages": [{"role": m["role"], "content": _sendable(m["content"])} for m in messages],
            "max_tokens": max_new_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        } | self._address()
        draft = ServerDraft()
        draft.task = self._submit(lambda: self._write(draft, request))
        return draft

    def _address(self) -> dict[str, Any]:
        if self._addressed is None and self._adapter is not None:
            self.load_adapter()
        elif self._addressed is None:
            self._addressed = self._submit(self._without).result() if self._registered else {}
        return self._addressed or {}

    def _model_name(self) -> str:
        if self._model is None:
            self._model = self._submit(self._only_model).result()
        return self._model

    def _submit(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Start `work` on the event loop, which is started with the first use."""
        with self._lock:
            if self._loop is None:
                thread, self._loop, self._client = _start(self._base_url, self._api_key, self._timeout_s)
                weakref.finalize(self, _end, self._loop).atexit = False
                atexit.register(_end, self._loop, thread)
        return asyncio.run_coroutine_threadsafe(work(), self._loop)

    async def _only_model(self) -> str:
        try:
            async with asyncio.timeout(self._timeout_s):
                names = [str(model.id) for model in (await self._client.models.list()).data]
        except Exception as error:  # noqa: BLE001  whatever a server can do wrong, explained in one line
            raise self._explained(error) from None  # the cause may quote the key
        if len(names) != 1:
            offered = f"offers {', '.join(names[:5])}" if names else "offers no model"
            raise self._error(f"{offered}; name the one to use in the setting `server_model`")
        return names[0]

    async def _load_adapter(self) -> dict[str, Any]:
        from tutor.generators.server_adapters import take

        assert self._adapter is not None
        try:
            async with asyncio.timeout(self._timeout_s):
                taken = await take(self._client, self._base_url, self._adapter)
        except Exception as error:  # noqa: BLE001
            raise self._explained(error) from None
        if isinstance(taken, str):
            raise self._error(f"can't serve the adapter {self._adapter.name}: {taken}")
        return taken

    async def _without(self) -> dict[str, Any]:
        """What a request says so that none of our adapters is used; nothing where the server doesn't answer that."""
        from tutor.generators.server_adapters import without

        try:
            async with asyncio.timeout(self._timeout_s):
                return await without(self._client, self._base_url, self._registered)
        except Exception:  # noqa: BLE001  the question itself will tell what is wrong
            return {}

    async def _write(self, draft: ServerDraft, request: dict[str, Any]) -> None:
        finish: str | None = None
        try:
            async with asyncio.timeout(self._timeout_s) as patience:
                async with await self._client.chat.completions.create(**request) as chunks:
                    async for chunk in chunks:
                        patience.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
                        draft.count(chunk)
                        if not chunk.choices:
                            continue
                        choice = chunk.choices[0]
                        if text := getattr(choice.delta, "content", None):
                            draft.pieces.put(text)
                        finish = choice.finish_reason or finish
            if finish is None:
                raise self._error("broke off; try again")
            draft.finish_reason = "length" if finish == "length" else "stop"
        except Exception as error:  # noqa: BLE001
            draft.pieces.put(self._explained(error))
        finally:
            draft.pieces.put(None)

    def _error(self, what: str) -> GeneratorError:
        return GeneratorError(f"The model server {_shown_address(self._base_url)} {what}.")

    def _explained(self, error: Exception) -> GeneratorError:
        """One line about an error, in our own words: the server's words may quote the key."""
        import openai

        if isinstance(error, GeneratorError):
            return error
        if isinstance(error, (TimeoutError, openai.APITimeoutError)):
            return self._error(
                f"did not answer within {self._timeout_s:g} s; try again or raise `server_timeout_s`"
            )
        if isinstance(error, openai.APIStatusError):
            if error.status_code == 404:
                self._addressed = None  # a server that was started again has forgotten the adapter
            return self._error(self._of_status(error.status_code))
        if isinstance(error, openai.APIConnectionError):
            return self._error(
                "can't be reached or broke off; check that it runs and the setting `server_url`"
            )
        if isinstance(error, openai.APIError):
            return self._error("reported an error while writing; try again")
        return self._error(
            "sends what is no answer of the OpenAI chat protocol; check the setting `server_url`"
        )

    def _of_status(self, status: int) -> str:
        if status in _OF_STATUS:
            return _OF_STATUS[status]
        if status == 404:
            return f"knows no model {self._model} or no such address; check `server_model` and `server_url`"
        if status >= 500:
            return f"failed (status {status}); try again"
        return f"refused the request (status {status}); the question may be too long for the model"


class ServerDraft:
    """A `Draft`. What it holds is written by the event loop and read by whoever iterates.

    Where a server sends no usage, `completion` counts the pieces of text and `prompt` stays 0.
    """

    def __init__(self) -> None:
        self.usage = Usage(prompt=0, completion=0)
        self.finish_reason: FinishReason = "cancelled"
        self.pieces: queue.SimpleQueue[str | GeneratorError | None] = queue.SimpleQueue()
        self.task: Any = None

    def __iter__(self) -> Iterator[str]:
        try:
            while (piece := self.pieces.get()) is not None:
                if isinstance(piece, GeneratorError):
                    raise piece
                yield piece
        finally:
            self.cancel()

    def cancel(self) -> None:
        self.task.cancel()
        self.pieces.put(None)  # a task that never began to run puts none itself

    def count(self, chunk: Any) -> None:
        """Take the token counts from a piece of the answer, or count the piece."""
        if (usage := getattr(chunk, "usage", None)) is not None:
            self.usage = Usage(prompt=int(usage.prompt_tokens), completion=int(usage.completion_tokens))
        elif chunk.choices and getattr(chunk.choices[0].delta, "content", None):
            self.usage = Usage(self.usage.prompt, self.usage.completion + 1)


def _start(
    base_url: str, api_key: str | None, timeout_s: float
) -> tuple[threading.Thread, asyncio.AbstractEventLoop, Any]:
    """A thread with an event loop, and a client for it."""
    import openai

    try:
        if not urlsplit(base_url).hostname or urlsplit(base_url).scheme not in ("http", "https"):
            raise ValueError("neither http nor https")
        client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",  # never the key of another service that stands in the environment
            timeout=openai.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            max_retries=_RETRIES,
        )
    except Exception as error:
        raise GeneratorError(
            f"The setting `server_url` ({_shown_address(base_url)}) is no address; one looks like http://127.0.0.1:8000/v1."
        ) from error
    client.organization = client.project = None  # likewise
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop, client), name="model-server", daemon=True)
    thread.start()
    return thread, loop, client


def _run(loop: asyncio.AbstractEventLoop, client: Any) -> None:
    """Everything that happens on the event loop, and its end."""
    loop.run_forever()
    loop.run_until_complete(_finish(client))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _finish(client: Any) -> None:
    """Cancel what still runs and close the connections."""
    running = asyncio.all_tasks() - {asyncio.current_task()}
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await client.close()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread | None = None) -> None:
    """Stop the loop; at exit wait for its end too, but never where garbage is collected."""
    with contextlib.suppress(RuntimeError):  # it is closed already
        loop.call_soon_threadsafe(loop.stop)
    if thread is not None:
        thread.join(timeout=2)


def _shown_address(url: str) -> str:
    """Host and path of an address, without a user's name and password."""
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        return "(unreadable)"


def _sendable(text: str) -> str:
    """`text` without lone surrogates, which no server could read."""
    return text.encode("utf-8", "replace").decode("utf-8")
