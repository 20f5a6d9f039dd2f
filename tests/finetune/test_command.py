"""`python -m finetune`, against a real database: what feedback makes, and what is said where there is nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from db import conversations, feedback, registry, study
from db.session import Database
from finetune.__main__ import main
from finetune.notes import write_prompt

QUESTION = "What is a token?"
PROMPT = write_prompt(QUESTION, ["A token is a piece of text that a model reads as one unit."])
SAID = "A token is a piece of text."


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without material, with one liked turn, and one disliked without a correction."""
    monkeypatch.setenv("STUDY_TUTOR_BUILTIN_COURSE", "false")
    database = Database.open(tmp_path / "study-tutor.sqlite3")
    with database.session() as session:
        me = study.learner(session, "me").id
        for rating in ("up", "down"):
            conversation = conversations.create_conversation(session, me).id
            turn = conversations.start_turn(session, conversation, QUESTION)
            sentence = {"text": SAID, "supported": True, "citations": [1], "origin": "model", "reasons": []}
            conversations.complete_turn(
                session,
                turn.id,
                status="answered",
                query=QUESTION,
                messages=[dict(message) for message in PROMPT],
                draft=SAID,
                answer=f"{SAID} [1]",
                sentences=[sentence],
                citations=[],
                passages=[],
                follow_ups=[],
                timings_ms={},
                tokens={},
                model={},
            )
            feedback.save_feedback(
                session, me, question=QUESTION, answer=f"{SAID} [1]", rating=rating, turn_id=turn.id
            )
    database.close()
    return tmp_path


def run(home: Path, *arguments: str) -> int:
    return main([*arguments, "--home", str(home)])


def test_a_dry_run_reports_what_feedback_makes_and_changes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "run", "--dry-run", "--no-exemplars", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["feedback"] == 2
    assert report["train"] + report["held_out"] == report["train_from_feedback"] + report["held_out"] <= 1
    assert all(isinstance(r["reason"], str) for r in report["rejected"])
    assert len(report["rejected"]) + report["from_feedback"] >= 2
    assert report["enough"] is False
    assert "examples to train on" in report["refusal"]
    assert len(report["sha256"]) == 64
    for example in report["examples"]:
        assert example["completion"] == SAID

    assert run(home, "list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed == {"served": None, "jobs": [], "adapters": [], "promotions": []}
    assert not (home / "datasets").exists()
    with Database.open(home / "study-tutor.sqlite3").session(readonly=True) as session:
        assert {row.fate for row in feedback.list_feedback(session)} == {"queued"}

    assert run(home, "run", "--dry-run", "--no-exemplars") == 0
    told = capsys.readouterr()
    assert "2 ratings" in told.out
    assert "No job would train on this" in told.err


def test_global_options_stand_before_the_command_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(home), "--json", "list"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == []


def test_what_is_not_there_is_said_in_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in {
        ("report",): 2,
        ("report", "v1"): 2,
        ("promote", "v1"): 2,
        ("export", "v1", str(home / "out")): 2,
        ("rollback",): 5,
        ("run", "--resume", "7"): 2,
        ("run", "--method", "magic"): 2,
        ("run", "--seed", "x"): 2,
        ("train",): 2,
    }.items():
        assert run(home, *arguments) == code, arguments
        told = capsys.readouterr()
        assert told.out == ""
        assert len(told.err.strip().splitlines()) == 1, told.err
        assert "Traceback" not in told.err


def test_an_adapter_that_was_never_examined_is_not_served(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Database.open(home / "study-tutor.sqlite3").session() as session:
        registry.register_adapter(
            session,
            name="v1",
            path=str(home / "adapters" / "v1"),
            base_model="smollm2-135m-instruct",
            sha256="0" * 64,
            manifest={},
            report={},
        )
    assert run(home, "promote", "v1") == 3  # its folder is not there either
    assert "is not there" in capsys.readouterr().err
    assert run(home, "report", "v1") == 0
    assert "never evaluated" in capsys.readouterr().err
    assert run(home, "list") == 0
    assert "not evaluated" in capsys.readouterr().out
