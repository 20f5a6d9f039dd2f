"""A model server that answers, and one that does everything wrong, over real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from db import registry
from db.registry import ServedAdapter
from db.session import Database
from tutor.generators.protocol import GeneratorError, Message, Usage
from tutor.generators.server import ServerGenerator
from tutor.serving import Generators
from tutor.settings import Settings

KEY = "sk-very-secret-0123456789"
ASKED: list[Message] = [{"role": "user", "content": "What is a token? \ud800"}]


class Fake(ThreadingHTTPServer):
    """Runs `answer` for each chat request; remembers what it was asked and when a client went away."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Handler], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.models = ["tiny"]
        self.asked: list[dict[str, Any]] = []
        self.hung_up = threading.Event()
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: clients that hang up are what is tested."""


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.reply(200, json.dumps({"object": "list", "data": [{"id": m} for m in self.server.models]}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append(json.loads(body) | {"key": self.headers["authorization"]})
        self.server.answer(self)

    def reply(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()

    def event(self, text: str) -> None:
        self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.flush()

    def say(self, text: str | None, finish: str | None = None) -> None:
        self.event(
            json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})
        )


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Handler], None]], Fake]]:
    running: list[Fake] = []

    def start(answer: Callable[[Handler], None]) -> Fake:
        fake = Fake(answer)
        running.append(fake)
        threading.Thread(target=fake.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return fake

    yield start
    for fake in running:
        fake.release.set()
        fake.shutdown()
        fake.server_close()


def well(handler: Handler) -> None:
    handler.begin()
    handler.say(None)
    handler.say("A small piece ")
    handler.say("of text 😀.", None)
    handler.say("", "stop")
    handler.event(
        json.dumps(
            {"choices": [], "usage": {"prompt_tokens": 21, "completion_tokens": 7, "total_tokens": 28}}
        )
    )
    handler.event("[DONE]")


def test_streams_the_answer_with_its_usage(serve: Any) -> None:
    fake = serve(well)
    generator = ServerGenerator(fake.url, api_key=KEY)
    assert (generator.identity.base, generator.identity.weights_sha256) == ("tiny", "")
    draft = generator.stream(ASKED, max_new_tokens=50)
    assert list(draft) == ["A small piece ", "of text 😀."]
    assert (draft.usage, draft.finish_reason) == (Usage(21, 7), "stop")
    asked = fake.asked[0]
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("tiny", 50, 0)
    assert asked["messages"][0]["content"] == "What is a token? ?"
    assert asked["key"] == f"Bearer {KEY}"


def test_a_key_from_the_environment_never_reaches_a_server(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service")
    fake = serve(well)
    list(ServerGenerator(fake.url).stream(ASKED, max_new_tokens=5))
    assert fake.asked[0]["key"] == "Bearer none"


def test_several_models_need_a_choice(serve: Any) -> None:
    fake = serve(well)
    fake.models = ["a", "b"]
    with pytest.raises(
        GeneratorError, match="offers a, b; name the one to use in the setting `server_model`"
    ):
        ServerGenerator(fake.url).stream(ASKED, max_new_tokens=5)


def status(code: int) -> Callable[[Handler], None]:
    return lambda h: h.reply(code, json.dumps({"error": {"message": f"bad key {KEY}", "code": code}}))


def begun_then(end: Callable[[Handler], None]) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.begin()
        handler.say("A small")
        end(handler)

    return answer


def hang(handler: Handler) -> None:
    handler.server.release.wait(20)


FAULTS: dict[str, tuple[Callable[[Handler], None], str, int]] = {
    "401": (status(401), "refuses the key", 1),
    "403": (status(403), "does not allow this key", 1),
    "404": (status(404), "knows no model tiny", 1),
    "400": (status(400), "may be too long", 1),
    "429": (status(429), "too much to do", 2),
    "500": (status(500), "failed \\(status 500\\)", 2),
    "hangs up at once": (lambda h: h.connection.close(), "can't be reached or broke off", 2),
    "hangs before the first byte": (hang, "did not answer within 1 s", 1),
    "hangs within the answer": (begun_then(hang), "did not answer within 1 s", 1),
    "ends within the answer": (begun_then(lambda h: None), "broke off", 1),
    "not json": (begun_then(lambda h: h.event("{nonsense")), "no answer of the OpenAI chat protocol", 1),
    "other json": (begun_then(lambda h: h.event('{"choices": [3]}')), "no answer of the OpenAI", 1),
    "not a stream": (lambda h: h.reply(200, "<html>"), "broke off", 1),
    "error event": (
        begun_then(lambda h: h.event(json.dumps({"error": {"message": KEY}}))),
        "reported an error",
        1,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_line_without_the_key(serve: Any, fault: str) -> None:
    answer, line, requests = FAULTS[fault]
    fake = serve(answer)
    generator = ServerGenerator(fake.url, "tiny", api_key=KEY, timeout_s=1.0 if "hangs" in fault else 20.0)
    with pytest.raises(GeneratorError, match=line) as caught:
        list(generator.stream(ASKED, max_new_tokens=5))
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.__cause__)
    assert "\n" not in str(caught.value)
    if fault != "hangs before the first byte":  # the client may or may not have begun its retry
        assert len(fake.asked) == requests  # what has begun to answer is never asked twice


def test_what_came_before_the_fault_is_kept(serve: Any) -> None:
    fake = serve(begun_then(lambda h: h.event("{nonsense")))
    pieces = iter(ServerGenerator(fake.url, "tiny").stream(ASKED, max_new_tokens=5))
    assert next(pieces) == "A small"
    with pytest.raises(GeneratorError):
        next(pieces)


def test_nobody_listens() -> None:
    generator = ServerGenerator("http://user:hidden@127.0.0.1:9/v1", "tiny", api_key=KEY)
    with pytest.raises(GeneratorError, match=r"127\.0\.0\.1:9/v1 can't be reached") as caught:
        list(generator.stream(ASKED, max_new_tokens=5))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://x/v1", "http://", "http://[x"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(GeneratorError, match=r"`server_url` .* is no address"):
        ServerGenerator(url, "tiny").stream(ASKED, max_new_tokens=5)


def test_a_program_ends_quietly_while_a_draft_is_written(serve: Any) -> None:
    fake = serve(begun_then(wait_for_hang_up))
    code = (
        "from tutor.generators.server import ServerGenerator;"
        f"generator = ServerGenerator({fake.url!r}, 'tiny');"
        "draft = generator.stream([{'role': 'user', 'content': 'x'}], max_new_tokens=5);"
        "print(next(iter(draft)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("A small\n", "", 0)
    assert fake.hung_up.wait(5)


def wait_for_hang_up(handler: Handler) -> None:
    handler.connection.settimeout(20)
    if handler.connection.recv(1) == b"":
        handler.server.hung_up.set()


@pytest.mark.parametrize("begun", [True, False], ids=["within the answer", "before the first byte"])
def test_cancel_hangs_up(serve: Any, begun: bool) -> None:
    fake = serve(begun_then(wait_for_hang_up) if begun else wait_for_hang_up)
    draft = ServerGenerator(fake.url, "tiny", timeout_s=20).stream(ASKED, max_new_tokens=5)
    threading.Timer(0.5, draft.cancel).start()
    start = time.monotonic()
    assert list(draft) == (["A small"] if begun else [])
    assert time.monotonic() - start < 5
    assert draft.finish_reason == "cancelled"
    assert fake.hung_up.wait(5)


def test_closing_the_iteration_hangs_up(serve: Any) -> None:
    fake = serve(begun_then(wait_for_hang_up))
    pieces = iter(ServerGenerator(fake.url, "tiny", timeout_s=20).stream(ASKED, max_new_tokens=5))
    assert next(pieces) == "A small"
    pieces.close()  # type: ignore[attr-defined]
    assert fake.hung_up.wait(5)


ADAPTER = ServedAdapter("v1", "/home/adapters/v1", "tiny", "ab12" * 16)


class Hosting:
    """What a server knows of adapters: how it answers vLLM's and llama.cpp's own addresses."""

    def __init__(self, *, status: int = 200, listed: Any = None) -> None:
        self.status = status
        self.listed = listed
        self.loaded: list[str] = []

    def get(self, handler: Handler) -> None:
        if handler.path == "/lora-adapters" and self.listed is not None:
            handler.reply(200, json.dumps(self.listed))
        elif handler.path == "/v1/models":
            names = ["tiny", *self.loaded]
            handler.reply(200, json.dumps({"object": "list", "data": [{"id": name} for name in names]}))
        else:
            handler.reply(404, "{}")

    def answer(self, handler: Handler) -> None:
        asked = handler.server.asked[-1]
        if handler.path != "/v1/load_lora_adapter":
            known = asked["model"] in ["tiny", *self.loaded]
            well(handler) if known else handler.reply(404, "{}")
        elif self.status != 200 or asked["lora_name"] in self.loaded:
            handler.reply(self.status if self.status != 200 else 400, "{}")
        else:
            self.loaded.append(asked["lora_name"])
            handler.reply(200, f"Success: LoRA adapter '{asked['lora_name']}' added successfully.")


@pytest.fixture
def host(serve: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Hosting], Fake]:
    def start(hosting: Hosting) -> Fake:
        monkeypatch.setattr(Handler, "do_GET", lambda handler: hosting.get(handler))
        fake: Fake = serve(hosting.answer)
        return fake

    return start


def _said(generator: ServerGenerator) -> str:
    return "".join(generator.stream(ASKED, max_new_tokens=5))


def test_vllm_loads_the_adapter_and_is_addressed_by_its_name(host: Callable[[Hosting], Fake]) -> None:
    hosting = Hosting()
    fake = host(hosting)
    generator = ServerGenerator(fake.url, "tiny", api_key=KEY, adapter=ADAPTER, registered=["v1"])
    generator.load_adapter()
    assert fake.asked == [
        {"lora_name": "v1-ab12ab12", "lora_path": "/home/adapters/v1", "key": f"Bearer {KEY}"}
    ]
    assert _said(generator) == "A small piece of text 😀."
    assert fake.asked[-1]["model"] == "v1-ab12ab12"
    assert (generator.identity.base, generator.identity.adapter) == ("tiny", "v1")

    again = ServerGenerator(
        fake.url, "tiny", adapter=ADAPTER
    )  # the app was started again, the server was not
    again.load_adapter()
    assert _said(again)
    base = ServerGenerator(fake.url, "tiny", registered=["v1"])
    assert _said(base)
    assert fake.asked[-1]["model"] == "tiny"
    assert base.identity.adapter is None

    hosting.loaded.clear()  # the server was started again, the app was not
    with pytest.raises(GeneratorError, match="knows no model"):
        _said(generator)
    assert _said(generator)


def test_llama_cpp_is_told_with_each_request(host: Callable[[Hosting], Fake]) -> None:
    listed = [{"id": 0, "path": "style.gguf", "scale": 0.5}, {"id": 1, "path": "/x/v1.gguf", "scale": 1.0}]
    fake = host(Hosting(status=404, listed=listed))
    generator = ServerGenerator(fake.url, "tiny", adapter=ADAPTER, registered=["v1"])
    generator.load_adapter()
    assert _said(generator)
    assert (fake.asked[-1]["model"], fake.asked[-1]["lora"]) == ("tiny", [{"id": 1, "scale": 1.0}])
    assert generator.identity.adapter == "v1"
    base = ServerGenerator(fake.url, "tiny", registered=["v1"])  # it would be on otherwise
    assert _said(base)
    assert fake.asked[-1]["lora"] == [{"id": 0, "scale": 0.5}, {"id": 1, "scale": 0.0}]
    stranger = ServerGenerator(fake.url, "tiny", registered=["v2"])
    assert _said(stranger)
    assert "lora" not in fake.asked[-1]


@pytest.mark.parametrize(
    ("hosting", "why"),
    [
        (Hosting(status=404), "it neither loads adapters"),
        (
            Hosting(status=404, listed=[{"id": 0, "path": "v2.gguf", "scale": 1.0}]),
            "llama.cpp: --lora v1.gguf",
        ),
        (Hosting(status=404, listed={"object": "list"}), "it neither loads adapters"),
        (Hosting(status=400), "it refused to load it (status 400); can it read /home/adapters/v1?"),
        (Hosting(status=401), "it refused to load it (status 401)"),
    ],
)
def test_a_server_that_cant_says_so_in_one_line(host: Any, hosting: Hosting, why: str) -> None:
    fake = host(hosting)
    with pytest.raises(GeneratorError) as error:
        ServerGenerator(fake.url, "tiny", api_key=KEY, adapter=ADAPTER).load_adapter()
    line = str(error.value)
    assert line.startswith(f"The model server {fake.url} can't serve the adapter v1: ")
    assert why in line
    assert "\n" not in line
    assert KEY not in line


def test_a_promoted_adapter_reaches_the_server_or_the_base_answers(
    host: Callable[[Hosting], Fake], tmp_path: Path
) -> None:
    database = Database.open(tmp_path / "test.sqlite3")
    with database.session() as session:
        registry.register_adapter(
            session,
            name="v1",
            path="/home/adapters/v1",
            base_model="tiny",
            sha256="ab12" * 16,
            manifest={},
            report={},
        )
        registry.promote(session, "v1", "better")
    hosting = Hosting()
    settings = Settings(home=tmp_path, server_url=host(hosting).url, server_model="tiny")
    assert Generators(settings, database)(None).identity.adapter == "v1"
    assert Generators(settings, database)("base").identity.adapter is None
    hosting.status = 404
    generators = Generators(settings, database)
    assert generators(None).identity.adapter is None
    assert "can't serve the adapter v1: it neither loads adapters" in str(generators.problem)
    with pytest.raises(GeneratorError, match="can't serve the adapter v1"):
        generators("v1")
    database.close()
