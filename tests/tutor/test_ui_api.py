"""The app over HTTP, without a browser: what is public, what is shut, and the named endpoints."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from db import conversations, feedback
from db.session import Database
from tutor.generators.protocol import ModelIdentity, Usage

PAGE = "# Tokens\n\nA token is a **piece of text** that a model reads as one unit.\n"
TOKEN = "A token is a piece of text that a model reads as one unit."
LESSON = """---
title: Vocabulary
order: 10
prerequisites: []
updated: 2026-11-22
tags: [language]
concepts: [vocabulary]
understand: A vocabulary is a fixed list.
beginner: A vocabulary is a list.
confusion: It is no dictionary.
mental_model: A numbered list.
think_first:
  - question: What is a vocabulary?
    reference: A vocabulary is the fixed list of all tokens.
    key_points: [A vocabulary is a fixed list., The list holds all tokens.]
next: [tokens]
---

A vocabulary is the fixed list of all tokens.

## Takeaways

- The fixed list of tokens is the **vocabulary** of a model.
- Every entry of the list has a **number** of its own.
- Rare words are spelled from **shorter pieces** of text.
"""
SECRETS = ("A vocabulary is the fixed list of all tokens.", "The list holds all tokens.")


class Echo:
    """A generator that writes one supported sentence."""

    identity = ModelIdentity("echo", None, "0" * 64)
    usage = Usage(3, 4)
    finish_reason = "stop"

    def stream(self, messages: Any, *, max_new_tokens: int) -> Any:
        return self

    def __iter__(self) -> Iterator[str]:
        yield from ("A token is ", "text that a model reads as one unit.")

    def cancel(self) -> None: ...


class App:
    """A served app and what is behind it."""

    def __init__(self, folder: Path, embedder: Any) -> None:
        from tutor.app import Server
        from tutor.services import build_services
        from tutor.settings import Settings

        (folder / "course").mkdir()
        (folder / "course" / "tokens.md").write_text(PAGE, "utf-8")
        (folder / "course" / "vocabulary.md").write_text(LESSON, "utf-8")
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
    assert set(info["named_endpoints"]) == {
        *("/ask", "/search", "/feedback", "/history"),
        *("/quiz_start", "/quiz_answer", "/due", "/review", "/export"),
    }
    assert info["unnamed_endpoints"] == {}
    parameters = {p["parameter_name"] for p in info["named_endpoints"]["/ask"]["parameters"]}
    assert {"question", "conversation_id", "history", "closed_book", "adapter", "request_id"} <= parameters
    for write in ("/ask", "/feedback", "/quiz_start", "/quiz_answer", "/review"):
        described = info["named_endpoints"][write]["parameters"]
        [request] = [p for p in described if p["parameter_name"] == "request_id"]
        assert (request["parameter_has_default"], request["parameter_default"]) == (True, None)


def test_ask_streams_and_a_repeated_request_gives_the_first_result(app: App, client: Any) -> None:
    job = client.submit("What is a token?", request_id="r-1", api_name="/ask")
    steps = list(job)
    first, last = steps[0], steps[-1]
    assert first["status"] is None
    assert isinstance(first["turn_id"], int)
    assert last["status"] == "answered"
    assert last["answer"].startswith("A token is text that a model reads as one unit. [1]")
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
        rating="down",
        turn_id=asked["turn_id"],
        correction=TOKEN,
        reason="wrong",
        request_id="f-1",
        api_name="/feedback",
    )
    assert saved == {
        "id": saved["id"],
        "turn_id": asked["turn_id"],
        "rating": "down",
        "reason": "wrong",
        "fate": "queued",
        "fate_reason": None,
        "dataset_id": None,
        "adapter": None,
    }
    with pytest.raises(Exception, match="unknown reason 'boring'"):
        client.predict(rating="down", turn_id=asked["turn_id"], reason="boring", api_name="/feedback")
    repeated = client.predict(rating="up", turn_id=asked["turn_id"], request_id="f-1", api_name="/feedback")
    assert saved["id"] == repeated["id"]
    with app.services.database.session(readonly=True) as session:
        row = feedback.feedback_for_turn(session, app.services.learner_id, asked["turn_id"])
    assert row is not None
    assert (row.rating, row.correction, row.question) == ("down", TOKEN, "What is a token?")

    history = client.predict(api_name="/history")
    assert history["questions"][0]["question"] == "What is a token?"
    assert history["days"][0]["questions"] >= 1


def test_a_quiz_gives_no_answer_away_and_is_graded_once(app: App, client: Any) -> None:
    quiz = client.predict(page="vocabulary", count=2, request_id="z-1", api_name="/quiz_start")
    assert client.predict(page="vocabulary", request_id="z-1", api_name="/quiz_start")["id"] == quiz["id"]
    first, second = quiz["items"]
    assert (first["kind"], first["prompt"], first["result"]) == ("question", "What is a vocabulary?", None)
    assert (second["kind"], "____" in second["prompt"]) == ("term", True)
    assert not any(secret in json.dumps(quiz) for secret in SECRETS)

    options = {
        "quiz_id": quiz["id"],
        "number": 1,
        "request_id": "z-2",
        "seconds": 7,
        "api_name": "/quiz_answer",
    }
    graded = client.predict(answer="It is a fixed list that holds all tokens.", **options)
    again = client.predict(answer="Something else entirely.", **options)
    assert (graded["id"], graded["answer"]) == (again["id"], again["answer"])
    assert graded["reference"] == SECRETS[0]
    assert graded["verdict"] in ("correct", "partial", "incorrect")
    assert graded["quiz"]["items"][1]["result"] is None
    assert not graded["quiz"]["finished"]
    last = client.predict(quiz_id=quiz["id"], number=2, answer=None, api_name="/quiz_answer")
    assert (last["answer"], last["verdict"], last["quiz"]["finished"]) == (None, "incorrect", True)

    from db import quizzes, reviews

    with app.services.database.session(readonly=True) as session:
        learner = app.services.learner_id
        attempts = quizzes.attempts(session, learner, quiz_id=quiz["id"])
        assert [attempt.id for attempt in attempts] == [last["id"], graded["id"]]
        assert attempts[1].seconds == 7
        logged = reviews.reviews(session, learner)
        assert sorted(log.attempt_id or 0 for log in logged) == sorted([last["id"], graded["id"]])


def test_a_pages_own_question_can_be_answered(client: Any) -> None:
    item = client.predict(page="vocabulary.md", count=1, api_name="/quiz_start")["items"][0]
    options = {"page": item["page"], "key": item["key"], "request_id": "p-1", "api_name": "/quiz_answer"}
    graded = client.predict(answer="A fixed list.", **options)
    assert (graded["key"], graded["question"], graded["repeated"]) == (item["key"], item["prompt"], False)
    repeated = client.predict(answer="Other words.", **options)
    assert (repeated["id"], repeated["answer"], repeated["repeated"]) == (graded["id"], "A fixed list.", True)
    without = client.predict(page=item["page"], key=item["key"], answer="A list.", api_name="/quiz_answer")
    assert without["id"] > graded["id"]


def test_cards_are_due_without_their_back_and_rated_once(app: App, client: Any) -> None:
    from datetime import UTC, datetime, timedelta

    from db import reviews

    past = datetime.now(UTC) - timedelta(days=3)
    with app.services.database.session() as session:
        card = reviews.put_card(
            session, app.services.learner_id, card_key="mine", origin="answer", front="Front?", back="The back.",
            due=past, at=past,
        )  # fmt: skip
    [waiting] = [c for c in client.predict(api_name="/due")["cards"] if c["id"] == card.id]
    assert waiting["front"] == "Front?"
    assert "back" not in waiting
    shown = client.predict(limit=1, answers=True, api_name="/due")
    assert (len(shown["cards"]), shown["cards"][0]["back"]) == (1, "The back.")

    rated = client.predict(card_id=card.id, rating="good", request_id="c-1", seconds=3, api_name="/review")
    again = client.predict(card_id=card.id, rating="again", request_id="c-1", api_name="/review")
    assert (again["id"], again["due"], again["repeated"]) == (rated["id"], rated["due"], True)
    assert datetime.fromisoformat(rated["due"]) > datetime.now(UTC)
    assert rated["interval_seconds"] > 0
    assert card.id not in [c["id"] for c in client.predict(api_name="/due")["cards"]]
    assert client.predict(card_id=card.id, rating="4", api_name="/review")["id"] > rated["id"]


def test_export_gives_a_file(client: Any) -> None:
    client.predict(page="vocabulary", request_id="x-1", api_name="/quiz_start")
    as_json = client.predict(api_name="/export")
    assert (as_json["filename"], as_json["media_type"]) == ("study-tutor.json", "application/json")
    assert json.loads(as_json["text"])["quizzes"]
    for format, inside in (("csv", "quizzes.csv"), ("anki", "collection.anki2")):
        packed = client.predict(format=format, api_name="/export")
        data = base64.b64decode(packed["base64"])
        assert inside in zipfile.ZipFile(io.BytesIO(data)).namelist()


def test_what_is_wrong_with_a_study_request_is_said_in_one_line(client: Any) -> None:
    quiz = client.predict(page="vocabulary", request_id="w-1", api_name="/quiz_start")["id"]
    for endpoint, options, told in (
        ("/quiz_start", {"page": "nowhere"}, "there is no course page 'nowhere'"),
        ("/quiz_start", {"concept": "nothing"}, "nothing to ask about 'nothing'"),
        ("/quiz_start", {"kind": "exam"}, "a page, a concept or what is due"),
        ("/quiz_start", {"page": "vocabulary", "count": 0}, "count must be a whole number"),
        ("/quiz_answer", {}, "give quiz_id and number, or page and key"),
        ("/quiz_answer", {"quiz_id": 10**6, "number": 1}, "Quiz 1000000 doesn't exist"),
        ("/quiz_answer", {"quiz_id": quiz, "number": 99}, "no task 99"),
        ("/quiz_answer", {"quiz_id": quiz, "number": 1, "answer": " "}, "write an answer first"),
        ("/quiz_answer", {"quiz_id": quiz, "number": 1, "answer": "x" * 4001}, "4,001"),
        ("/quiz_answer", {"quiz_id": quiz, "number": 1, "answer": 5}, "answer must be text, not a number"),
        ("/quiz_answer", {"quiz_id": quiz, "number": 1, "answer": "x", "seconds": -1}, "seconds must be"),
        ("/quiz_answer", {"page": "vocabulary", "key": "nope", "answer": "x"}, "no longer on the page"),
        ("/review", {"card_id": 10**6, "rating": "good"}, "Card 1000000 doesn't exist"),
        ("/review", {"card_id": 1, "rating": "fine"}, "a rating is one of"),
        ("/due", {"limit": 0}, "limit must be a whole number"),
        ("/export", {"format": "pdf"}, "json, csv, anki, not 'pdf'"),
    ):
        with pytest.raises(Exception, match=told):
            client.predict(api_name=endpoint, **options)


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


def test_an_address_that_leads_nowhere_is_a_page_to_a_person_and_json_to_a_program(app: App) -> None:
    status, text = app.fetch("/learn/%3Cb%3Enow", Accept="text/html,*/*;q=0.8")
    assert status == 404
    assert "Nothing is at <code>/learn/&lt;b&gt;now</code>." in text
    assert '<base href="../">' in text
    assert '<a href="./chat">Chat</a>' in text
    assert app.fetch("/learn", Accept="*/*") == (404, '{"detail":"Not Found"}')
    status, text = app.fetch("/improve/export/nobody", Accept="text/html")  # says why, and goes on saying it
    assert status == 404
    assert "nobody" in text
    assert "no such page" not in text


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
        *("/material/upload", "/material/delete", "/material/undo"),
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
