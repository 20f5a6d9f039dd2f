"""The commands from the inside: a scripted model, an embedder of hashed words, a course of two pages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutor import cli, failures
from tutor.generators.protocol import GeneratorError
from tutor.generators.scripted import ScriptedGenerator

ADDS = "A tokenizer cuts text into numbered pieces called tokens."
PAGES = {
    "tokens.md": f"""---
title: Tokens
---
# Tokens

## What a tokenizer does

{ADDS} Each token has a number. Long words are cut into several tokens.

## Right to left 🧩

In שלום עולם every letter is kept.
""",
    "gardens.md": "# Gardens\n\n## Water\n\nRoses need water every week. Grass needs less water than roses.\n",
}


class Shell:
    """Runs command lines in this process."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        self._capsys.readouterr()
        got = cli.main([*arguments, "--home", str(self.home)])
        self.out, self.err = self._capsys.readouterr()
        assert got == code, self.err
        return self.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))

    def lines(self, *arguments: str, code: int = 0) -> list[Any]:
        return [json.loads(line) for line in self(*arguments, code=code).splitlines()]


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch, make_embedder: Callable[..., Any]) -> Any:
    one = make_embedder(dimension=512)
    monkeypatch.setattr("retrieval.embedder.load_embedder", lambda name, threads=None: one)
    monkeypatch.setattr("retrieval.reader.Reader", lambda threads=None: None)
    return one


@pytest.fixture
def shell(
    tmp_path: Path,
    embedder: Any,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    course = tmp_path / "course"
    course.mkdir()
    for name, text in PAGES.items():
        (course / name).write_text(text, encoding="utf-8")
    generator = ScriptedGenerator([ADDS])
    monkeypatch.setattr("tutor.models.load_generator", lambda settings, adapter: generator)
    monkeypatch.setenv("STUDY_TUTOR_COURSE", str(course))
    # A base that the shipped adapter is not made for: with it, every home here would unpack the shipped model.
    monkeypatch.setenv("STUDY_TUTOR_GENERATOR", str(tiny_base))
    return Shell(tmp_path / "home", capsys)


def batch(tmp_path: Path, *lines: Any) -> str:
    path = tmp_path / "batch.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return str(path)


def test_ingest_says_what_became_of_every_file(shell: Shell, embedder: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("# A\n\nFirst note about owls.", encoding="utf-8")
    (notes / "b.txt").write_text("Second note about foxes.", encoding="utf-8")
    (notes / "c.md").write_bytes(b"\x00\x01\x02")
    first = shell.json("ingest", str(notes), str(tmp_path / "nowhere"))
    assert (first["added"], first["changed"], first["unchanged"]) == (["a.md", "b.txt"], [], [])
    assert [Path(item["path"]).name for item in first["rejected"]] == ["c.md", "nowhere"]
    assert all(item["reason"] for item in first["rejected"])
    (notes / "a.md").write_text("# A\n\nFirst note about eagles.", encoding="utf-8")
    (notes / "b.txt").unlink()
    calls = len(embedder.calls)
    second = shell.json("ingest", str(notes), "--prune")
    assert (second["changed"], second["removed"]) == (["a.md"], ["b.txt"])
    assert len(embedder.calls) > calls
    calls = len(embedder.calls)
    assert shell.json("ingest", str(notes))["unchanged"] == ["a.md"]
    assert len(embedder.calls) == calls
    assert shell.json("ingest", str(notes / "c.md"), code=2)["rejected"][0]["path"] == "c.md"
    [row] = shell.json("documents")
    assert (row["document"], row["title"], row["source"], row["chunks"]) == ("a.md", "A", str(notes), 1)
    assert row["characters"] == len("# A\n\nFirst note about eagles.")
    assert list(row) == ["document", "source", "title", "chunks", "characters", "updated"]


def test_the_course_is_indexed_once_and_leaves_when_switched_off(
    shell: Shell, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell("search", "tokens")
    assert [row["document"] for row in shell.json("documents")] == ["gardens.md", "tokens.md"]
    calls = len(embedder.calls)
    shell("search", "tokens")
    assert len(embedder.calls) == calls + 2  # to load it, and the question: nothing was indexed again
    monkeypatch.delenv("STUDY_TUTOR_COURSE")
    monkeypatch.setenv("STUDY_TUTOR_BUILTIN_COURSE", "false")
    shell("search", "tokens")
    assert shell.json("documents") == []


def test_search_prints_exactly_the_promised_json(shell: Shell, tmp_path: Path) -> None:
    found = shell.json("search", "What does a tokenizer cut text into?", "-k", "2")
    assert list(found) == ["id", "question", "passages", "covered", "timings_ms"]
    first, second = found["passages"]
    assert list(first) == ["rank", "score", "document", "title", "heading", "text", "start", "end"]
    assert (first["rank"], first["document"], second["rank"]) == (1, "tokens.md", 2)
    assert ADDS in PAGES["tokens.md"][first["start"] : first["end"]]
    lines = shell.lines(
        "search",
        "--batch",
        batch(
            tmp_path, {"id": "a", "question": "roses water"}, "", "{oops", {"id": "c", "question": "x" * 3000}
        ),
        code=2,
    )
    assert [line["id"] for line in lines] == ["a", None, "c"]
    assert list(lines[0]) == ["id", "passages", "covered", "timings_ms"]
    assert lines[0]["passages"][0]["document"] == "gardens.md"
    assert lines[1]["error"].startswith("line 3: not valid JSON")
    assert lines[2]["error"].startswith("line 4: The question has 3,000 characters")


def test_ask_answers_with_sources_and_keeps_the_turn(shell: Shell) -> None:
    question = "What does a tokenizer cut text into? 🧩 שלום"
    turn = shell.json("ask", question)
    assert list(turn) == [
        *("id", "turn_id", "status", "answer", "sentences", "citations", "passages", "follow_ups"),
        *("timings_ms", "tokens", "model"),
    ]
    assert turn["status"] in ("answered", "quoted")
    assert "numbered pieces" in turn["answer"]
    assert turn["citations"][0]["document"] == "tokens.md"
    assert list(turn["timings_ms"]) == ["retrieve", "first_text", "generate", "verify", "total"]
    [asked] = shell.json("history")["questions"]
    assert (asked["turn_id"], asked["question"], asked["answer"]) == (
        turn["turn_id"],
        question,
        turn["answer"],
    )
    text = shell("ask", "And a token?", "--conversation", str(asked["conversation_id"]))
    assert re.search(r"^Sources\n\[1\] Tokens › ", text, re.M)
    assert len({item["conversation_id"] for item in shell.json("history")["questions"]}) == 1


def test_ask_batch_goes_on_after_a_bad_line(shell: Shell, tmp_path: Path) -> None:
    lines = shell.lines(
        "ask",
        "--batch",
        batch(
            tmp_path,
            {"id": 1, "question": "What is a token\u0000?", "must_say": ["piece"]},
            {"id": 2, "question": " "},
            {"id": 3, "question": "x" * 1_000_000},
            {
                "id": 4,
                "question": "Why?",
                "history": [{"role": "user", "content": "How often do roses need water?"}],
            },
        ),
        code=2,
    )
    assert [line["id"] for line in lines] == [1, 2, 3, 4]
    assert ["error" in line for line in lines] == [False, True, True, False]
    assert lines[1]["error"].startswith("line 2: The question is empty")
    assert "1,000,000 characters" in lines[2]["error"]
    assert lines[3]["passages"][0]["document"] == "gardens.md"
    asked = shell.json("history")["questions"]
    assert [item["question"] for item in asked] == ["Why?", "What is a token?"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--conversation", "77"], "77"),
        (["--adapter", "nobody"], "There is no adapter 'nobody'"),
        (["--conversation", str(2**70)], "--conversation"),
    ],
)
def test_what_does_not_exist_is_bad_input(shell: Shell, arguments: list[str], says: str) -> None:
    assert shell("ask", "What is a token?", *arguments, code=2) == ""
    assert says in shell.err
    assert shell.json("history")["questions"] == []


def test_a_model_that_breaks_off_fails_a_closed_book_turn_only(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ScriptedGenerator([GeneratorError("The server does not answer.")])
    monkeypatch.setattr("tutor.models.load_generator", lambda settings, adapter: broken)
    turn = shell.json("ask", "What is a token?", "--closed-book", code=1)
    assert (turn["status"], turn["error"]) == ("failed", "The server does not answer.")
    assert shell.err == "study-tutor: The server does not answer.\n"
    turn = shell.json("ask", "What does a tokenizer cut text into?")
    assert (turn["status"], turn["error"]) == ("quoted", "The server does not answer.")


def test_feedback_survives_the_round_trip_and_repeats_change_nothing(shell: Shell, tmp_path: Path) -> None:
    turn = shell.json("ask", "What is a token?")
    mine = {
        "turn_id": turn["turn_id"],
        "question": "What is a token?",
        "answer": turn["answer"],
        "rating": "down",
        "correction": "A numbered piece of text. 🧩",
    }
    other = {"turn_id": turn["turn_id"], "question": "Another home's question", "answer": "x", "rating": "up"}
    path = batch(tmp_path, mine, other, {"rating": "meh"})
    report = shell.json("feedback", "import", path, code=2)
    assert (report["imported"], report["unchanged"]) == (2, 0)
    assert report["rejected"] == [{"line": 3, "reason": 'rating must be "up" or "down"'}]
    assert shell.json("feedback", "import", path, code=2)["unchanged"] == 2
    first, second = sorted(shell.json("feedback", "list"), key=lambda row: row["id"])
    assert (first["turn_id"], first["correction"], first["fate"]) == (
        turn["turn_id"],
        mine["correction"],
        "queued",
    )
    assert "turn_id" not in second
    exported = tmp_path / "feedback.jsonl"
    shell("feedback", "export", str(exported))
    assert len(exported.read_text("utf-8").splitlines()) == 2
    assert shell.json("feedback", "import", str(exported))["unchanged"] == 2
    shell.home = tmp_path / "second home"
    assert shell.json("feedback", "import", str(exported))["imported"] == 2
    assert shell.json("feedback", "import", str(exported))["unchanged"] == 2
    again = [json.loads(line) for line in shell("feedback", "export", "-").splitlines()]
    assert [row.get("correction") for row in again] == [mine["correction"], None]


def test_feedback_carries_its_reason_and_its_fate_and_can_be_taken_back(shell: Shell, tmp_path: Path) -> None:
    said = {"question": "What is a token?", "answer": "A coin.", "rating": "down", "reason": "wrong"}
    path = batch(tmp_path, said, said | {"reason": "boring"}, said | {"reason": "off_topic"})
    report = shell.json("feedback", "import", path, code=2)
    assert (report["imported"], [item["line"] for item in report["rejected"]]) == (2, [2])
    assert "unknown reason 'boring'" in report["rejected"][0]["reason"]
    assert shell.json("feedback", "import", path, code=2)["unchanged"] == 2
    first, second = shell.json("feedback", "list")
    assert (first["reason"], second["reason"]) == ("wrong", "off_topic")
    assert (first["fate"], first["dataset_id"], first["adapter"]) == ("queued", None, None)
    assert [json.loads(line)["reason"] for line in shell("feedback", "export", "-").splitlines()] == [
        "wrong",
        "off_topic",
    ]
    assert shell.json("feedback", "opt-out") == {"opted_out": True, "concerned": 2}
    listed = shell.json("feedback", "list")
    assert {(row["fate"], row["fate_reason"]) for row in listed} == {
        ("withdrawn", "you opted out of training")
    }
    assert "kept out of training" in shell("feedback", "opt-out")
    assert shell.json("feedback", "opt-in") == {"opted_out": False, "concerned": 2}
    assert shell.json("feedback", "remove", str(first["id"])) == {"removed": first["id"]}
    shell("feedback", "remove", str(first["id"]), code=2)
    (left,) = shell.json("feedback", "list")
    assert (left["id"], left["fate"]) == (second["id"], "queued")
    assert "off_topic" in shell("feedback", "list")


def test_check_finds_what_doctor_then_reports(shell: Shell) -> None:
    shell("search", "tokens")
    assert shell.json("check")["ok"] is True
    assert shell.json("check")["counts"]["documents"] == 2
    from pysqlite3 import dbapi2

    connection = dbapi2.connect(str(shell.home / "study-tutor.sqlite3"))
    connection.execute("UPDATE chunks SET vector = x'00'")
    connection.commit()
    connection.close()
    assert shell.json("check", code=3)["problems"]
    report = shell.json("doctor", code=1)
    assert report["ok"] is False
    [data] = [item for item in report["checks"] if item["name"] == "data"]
    assert (data["ok"], data["next_step"]) == (False, "study-tutor check")
    assert all(item["next_step"] for item in report["checks"] if not item["ok"])


def test_every_error_in_the_table_exists_and_the_nearest_one_counts() -> None:
    import importlib

    for dotted in failures.EXIT_CODES:
        module, _, name = dotted.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), name), Exception), dotted
    from db.errors import DatabaseError, DatabaseUnavailable, NotFound, SchemaTooNew

    for error, code in (
        (DatabaseUnavailable("x"), 1),
        (NotFound("x"), 2),
        (SchemaTooNew("x"), 3),
        (DatabaseError("x"), 1),
        (OSError(28, "full"), 1),
        (MemoryError(), 1),
        (KeyboardInterrupt(), 130),
        (ValueError("ours"), None),
    ):
        assert failures.exit_code(error) == code
    assert failures.one_line(DatabaseError("two\n lines")) == "two lines"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.3.4.5", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.5", False),
        ("no.such.host.invalid", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    from tutor.commands.serve import is_loopback

    assert is_loopback(host) is loopback
