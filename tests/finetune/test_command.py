"""`python -m finetune`, against a real database."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from db import conversations, feedback, study
from db.session import Database
from finetune.__main__ import main

PROMPT = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "What is a token?"}]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one liked turn, and one disliked without a correction."""
    database = Database.open(tmp_path / "study-tutor.sqlite3")
    with database.session() as session:
        me = study.learner(session, "me").id
        conversation = conversations.create_conversation(session, me).id
        for rating in ("up", "down"):
            turn = conversations.start_turn(session, conversation, "What is a token?")
            conversations.complete_turn(
                session,
                turn.id,
                status="answered",
                query="What is a token?",
                messages=PROMPT,
                draft="A piece of text.",
                answer=f"A piece of text, {rating}. [1]",
                sentences=[],
                citations=[],
                passages=[],
                follow_ups=[],
                timings_ms={},
                tokens={},
                model={},
            )
            feedback.save_feedback(
                session,
                me,
                question="What is a token?",
                answer=f"A piece of text, {rating}. [1]",
                rating=rating,
                turn_id=turn.id,
            )
    database.close()
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, home: Path, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["finetune", *arguments, "--home", str(home)])
    return main()


def test_a_dry_run_reports_what_feedback_makes_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, home, "run", "--dry-run", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["feedback"] == 2
    assert report["train"] + report["held_out"] == 1
    assert [r["feedback_id"] for r in report["rejected"]] == [2]
    assert report["enough"] is False
    assert len(report["sha256"]) == 64

    assert run(monkeypatch, home, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"served": None, "jobs": [], "adapters": []}


def test_training_is_not_claimed(
    monkeypatch: pytest.MonkeyPatch, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, home, "run") == 2
    assert "does not train" in capsys.readouterr().err
