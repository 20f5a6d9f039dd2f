"""The app over HTTP, without a browser: what is public, what is shut, and the four named endpoints."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from db import conversations, feedback
from db.session import Database
from tutor.generators.protocol import ModelIdentity, Usage

PAGE = "# Tokens\n\nA token is a **piece of text** that a model reads as one unit.\n"
TOKEN = "A token is a piece of text that a model reads as one unit."


class Echo:
    """A generator that writes one supported sentence."""

    identity = ModelIdentity("echo", None, "0" * 64)
    usage = Usage(3, 4)
    finish_reason = "stop"

    def stream(self, messages: Any, *, max_new_tokens: int) -> Any:
        return self

    def __iter__(self) -> Iterator[str]:
        yield from ("A token is ", "a piece of text.")

    def cancel(self) -> None: ...


class App:
    """A served app and what is behind it."""

    def __init__(self, folder: Path, embedder: Any) -> None:
        from tutor.app import Server
        from tutor.services import build_services
        from tutor.settings import Settings

        (folder / "course").mkdir()
        (folder / "course" / "tokens.md").write_text(PAGE, "utf-8")
        settings = Settings(home=folder / "home", course=folder / "course")
        self.services = build_services(settings, embedder=embedder, generator_for=lambda _name: Echo())
        self.server = Server(self.services, "127.0.0.1", 0)
        self.url = self.server.url
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)

    def fetch(self, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, make_embedder: Callable[..., Any]) -> Iterator[App]:
    served = App(tmp_path_factory.mktemp("api"), make_embedder(dimension=512))
    yield served
    served.server.should_exit = True
    served.thread.join(10)
    assert not served.thread.is_alive()
    served.services.close()


@pytest.fixture(scope="module")
def client(app: App) -> Any:
    from gradio_client import Client

    return Client(app.url, verbose=False, analytics_enabled=False)


def test_exactly_these_endpoints_are_public(app: App) -> None:
    info = json.loads(app.fetch("/gradio_api/info")[1])
    assert set(info["named_endpoints"]) == {"/ask", "/search", "/feedback", "/history"}
    assert info["unnamed_endpoints"] == {}
    parameters = {p["parameter_name"] for p in info["named_endpoints"]["/ask"]["parameters"]}
    assert {"question", "conversation_id", "history", "closed_book", "adapter", "request_id"} <= parameters


def test_ask_streams_and_a_repeated_request_gives_the_first_result(app: App, client: Any) -> None:
    job = client.submit("What is a token?", request_id="r-1", api_name="/ask")
    steps = list(job)
    first, last = steps[0], steps[-1]
    assert first["status"] is None
    assert isinstance(first["turn_id"], int)
    assert last["status"] == "answered"
    assert last["answer"].startswith("A token is a piece of text. [1]")
    assert set(last) == {
        "id", "turn_id", "conversation_id", "status", "answer", "sentences", "citations", "passages", "follow_ups",
        "timings_ms", "tokens", "model",
    }  # fmt: skip
    citation = last["citations"][0]
    assert PAGE[citation["start"] : citation["end"]] == citation["quote"]

    again = client.predict("What is a token?", request_id="r-1", api_name="/ask")
    assert (again["turn_id"], again["answer"]) == (last["turn_id"], last["answer"])
    assert again["passages"][0]["document"] == "tokens.md"
    with app.services.database.session(readonly=True) as session:
        assert len(conversations.turns_of(session, last["conversation_id"])) == 1


def test_what_is_wrong_with_a_question_is_said_in_one_line(client: Any) -> None:
    for options, told in (
        ({"question": "  "}, "The question is empty"),
        ({"question": "x" * 2001}, "2,001 characters"),
        ({"question": "Why?", "history": [{"role": "system", "content": "x"}]}, "role user or assistant"),
        ({"question": "Why?", "conversation_id": 10**6}, "1000000"),
        ({"question": "Why?", "adapter": "nobody"}, "nobody"),
    ):
        with pytest.raises(Exception, match=told):
            client.predict(api_name="/ask", **options)


def test_search_feedback_and_history(app: App, client: Any) -> None:
    found = client.predict("What is a token?", k=3, id="q7", api_name="/search")
    assert (found["id"], found["covered"]) == ("q7", True)
    assert found["passages"][0]["text"].startswith("A token is a **piece of text**")

    asked = client.predict("What is a token?", api_name="/ask")
    saved = client.predict(
        rating="down", turn_id=asked["turn_id"], correction=TOKEN, request_id="f-1", api_name="/feedback"
    )
    repeated = client.predict(rating="up", turn_id=asked["turn_id"], request_id="f-1", api_name="/feedback")
    assert saved["id"] == repeated["id"]
    with app.services.database.session(readonly=True) as session:
        row = feedback.feedback_for_turn(session, app.services.learner_id, asked["turn_id"])
    assert row is not None
    assert (row.rating, row.correction, row.question) == ("down", TOKEN, "What is a token?")

    history = client.predict(api_name="/history")
    assert history["questions"][0]["question"] == "What is a token?"
    assert history["days"][0]["questions"] >= 1


def test_health_readiness_and_metrics(app: App) -> None:
    assert app.fetch("/healthz")[0] == 200
    deadline = time.monotonic() + 10
    while app.fetch("/readyz")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    metrics = app.fetch("/metrics")[1]
    assert 'study_tutor_turns_total{status="answered"}' in metrics
    assert "study_tutor_first_text_seconds_bucket" in metrics
    assert "study_tutor_turns_in_flight 0.0" in metrics


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://127.0.0.1:9/x",
        "/gradio_api/file=/etc/hostname",
        "/gradio_api/proxy=http://127.0.0.1:9/x",
        "/gradio_api/upload",
        "/gradio_api/deep_link",
        "/monitoring/summary",
        "/gradio_api/runs",
    ],
)
def test_what_the_app_does_not_use_is_shut(app: App, path: str) -> None:
    assert app.fetch(path)[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_sites_cannot_act_for_the_learner(app: App, headers: dict[str, str]) -> None:
    for path in (
        "/progress",
        "/gradio_api/queue/join",
        "/gradio_api/component_server",
        "/gradio_api/call/feedback",
    ):
        assert app.fetch(path, {"data": []}, **headers)[0] == 403
    assert app.fetch("/progress", {"page": "tokens.md", "sections": []}, Origin=app.url)[0] == 422


def test_reading_reports_are_checked(app: App) -> None:
    def report(*sections: Any, page: Any = "tokens.md") -> int:
        return app.fetch("/progress", {"page": page, "sections": list(sections)})[0]

    assert (
        report({"section": "tokens", "seconds": 4, "read": True}) == 422
    )  # the title's own section is "top"
    assert report({"section": "top", "seconds": 4, "read": True}) == 200
    for seconds in (-1, float("nan"), float("inf"), "9", True):
        assert report({"section": "top", "seconds": seconds}) == 422
    assert report({"section": "nowhere", "seconds": 4}) == 422
    assert report({"section": "top", "seconds": 4}, page="nowhere.md") == 422
    assert app.fetch("/progress", {"page": "x" * 30_000})[0] == 413
    from db import study

    report({"section": "top", "seconds": 10**9})
    with app.services.database.session(readonly=True) as session:
        (row,) = study.reading_progress(session, app.services.learner_id)
    assert (row.read, row.seconds) == (True, 124.0)


def test_pages_may_have_a_page_in_their_address(app: App) -> None:
    for path in (
        "/?page=tokens.md",
        "/?page=nowhere.md",
        "/chat?page=tokens.md",
        "/history?page=x&deep_link=y",
    ):
        assert app.fetch(path)[0] == 200


def test_a_busy_port_is_told_in_one_line(database: Database) -> None:
    from tutor.app import PortBusy, serve
    from tutor.failures import BUSY, exit_code

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortBusy, match=f"port {port} .* --port") as raised:
            serve(None, "127.0.0.1", port)  # type: ignore[arg-type]
    assert exit_code(raised.value) == BUSY
