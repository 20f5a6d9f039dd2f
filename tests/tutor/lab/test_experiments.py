"""The Lab's experiments with a real database, real search and real files."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest

from db import conversations, documents, registry, study, usage
from tests.tutor.lab.sample import QUESTION, REMEMBERED, add_adapter, runs
from tutor.events import TurnLogged
from tutor.lab import NOTE, NOTE_QUESTION, SOURCE, Lab
from tutor.models import weights_sha256
from tutor.services import Services
from tutor.settings import Settings
from tutor.turn import QuestionError
from tutor.ui.calls import UNREADABLE
from tutor.ui.lab import LabPage
from tutor.ui.library import Library
from tutor.ui.live import LiveTurns
from tutor.ui.metrics import Metrics
from tutor.wire import InputError

# ---- one question, four ways ----


def test_four_ways_are_real_turns_that_hear_nothing_of_each_other(services: Services, tmp_path: Path) -> None:
    add_adapter(services, tmp_path, "v1")
    found = runs(services)(run="panes", question=QUESTION)
    assert found["error"] == ""
    assert found["base-closed"].startswith(f"Not checked: it read no material {REMEMBERED}")
    assert found["adapter-closed"].startswith("Not checked")
    for pane in ("base-open", "adapter-open"):
        assert "Training is the process that changes the weights of a model." in found[pane]
        assert found[pane].startswith("Checked against the material")
    assert "Weights weights of" in found["adapter-open"]
    assert "Identical: asking changed no weight." in found["weights"]
    assert "Base + v1" in found["weights"]
    with services.database.session(readonly=True) as session:
        costs = usage.turn_usage(session)
        asked = [conversations.get_turn(session, number) for number in range(1, 5)]
    assert len(costs) == 4
    assert [turn.model["adapter"] for turn in asked if turn] == [None, None, "v1", "v1"]
    assert {turn.query for turn in asked if turn} == {QUESTION}
    assert [bool(turn.passages) for turn in asked if turn] == [False, True, False, True]


def test_an_experiment_stands_in_no_list_and_counts_as_one_question(
    services: Services, tmp_path: Path
) -> None:
    add_adapter(services, tmp_path, "v1")
    runs(services)(run="panes", question=QUESTION)
    with services.database.session(readonly=True) as session:
        learner = services.learner_id
        assert conversations.list_conversations(session, learner, include_empty=True) == []
        assert conversations.recent_turns(session, learner, 10) == []
        (day,) = study.daily_totals(session, learner, tz=UTC)
    assert day.questions == 1


def test_without_an_adapter_two_panes_run(services: Services) -> None:
    found = runs(services)(run="panes", question=QUESTION)
    assert "base-open" in found
    assert "adapter-open" not in found
    assert "Base +" not in found["weights"]


def test_a_question_that_cannot_be_asked_leaves_nothing_behind(services: Services) -> None:
    found = runs(services)(run="panes", question="   ")
    assert found["error"] == "The question is empty. Type what you want to know about the material."
    with pytest.raises(QuestionError), Lab(services).experiment("x" * 5000):
        pass
    with services.database.session(readonly=True) as session:
        listed = conversations.list_conversations(session, services.learner_id, include_empty=True)
    assert listed == []
    assert runs(services)(run="nothing")["error"].startswith("This could not be read")


def test_what_a_killed_run_left_is_put_away_and_what_runs_is_not(services: Services) -> None:
    with services.database.session() as session:
        conversations.create_conversation(session, services.learner_id, title="Lab: x", page=SOURCE)
        kept = conversations.create_conversation(
            session, services.learner_id, title="mine", page="training.md"
        )
    lab = Lab(services)

    def listed() -> set[int]:
        with services.database.session(readonly=True) as session:
            rows = conversations.list_conversations(session, services.learner_id, include_empty=True)
        return {row.id for row in rows}

    with lab.experiment(QUESTION) as running:
        lab.tidy()
        assert listed() == {kept.id, running}
    assert listed() == {kept.id}


def test_the_adapter_is_the_served_one_else_the_newest_registered_else_a_refused_one(
    services: Services, tmp_path: Path
) -> None:
    lab = Lab(services)
    assert lab.chosen() is None
    add_adapter(services, tmp_path, "bad", state="refused")
    assert (lab.chosen().name, lab.chosen().standing) == ("bad", "refused")  # type: ignore[union-attr]
    add_adapter(services, tmp_path, "v1")
    add_adapter(services, tmp_path, "v2")
    assert (lab.chosen().name, lab.chosen().standing) == ("v2", "registered")  # type: ignore[union-attr]
    with services.database.session() as session:
        registry.promote(session, "v1", "better")
    assert (lab.chosen().name, lab.chosen().standing) == ("v1", "served")  # type: ignore[union-attr]


# ---- weights ----


def test_weights_are_read_and_not_remembered(services: Services, model: Path, tmp_path: Path) -> None:
    lab, models_dir = Lab(services), services.settings.models_dir
    add_adapter(services, tmp_path, "v1")
    remembered = weights_sha256(model, models_dir)
    base, both = lab.read_weights("v1")
    assert both is not None
    assert base.sha256 == remembered != both.sha256
    assert base.bytes == (model / "model.safetensors").stat().st_size
    assert base.seconds > 0

    file = model / "model.safetensors"
    at = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # one bit
    file.write_bytes(data)
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert weights_sha256(model, models_dir) == remembered  # size and time are as they were
    assert lab.read_weights()[0].sha256 != remembered


def test_a_damaged_adapter_is_told_and_the_base_still_answers(services: Services, tmp_path: Path) -> None:
    path = add_adapter(services, tmp_path, "v1")
    (path / "adapter_model.safetensors").unlink()
    found = runs(services)(run="panes", question=QUESTION)
    assert "can't be read" in found["weights"]
    assert found["base-open"].startswith("Checked against the material")


def test_where_a_server_answers_the_page_says_what_cannot_be_seen(services: Services) -> None:
    settings = Settings(home=services.settings.home, server_url="http://127.0.0.1:1/v1", server_model="big")
    served = replace(services, settings=settings)
    page = LabPage(served, Library(), LiveTurns(Metrics()))
    assert "big" in page.open()
    assert "can’t be read here" in page.read_weights({})["error"]
    assert "No job has made an adapter yet." in page.registry({})["html"]
    assert "server" in page.pieces({"text": "a"})["error"]
    assert page.pieces({}) == page.bench_step({"step": "x"}) == {"error": UNREADABLE}
    assert "No training job has run yet" in page.account({})["html"]
    found = runs(served)(run="panes", question=QUESTION)
    assert "can’t be read here" in found["weights"]
    assert found["base-open"].startswith("Checked against the material")


# ---- the note ----


def test_the_note_is_found_while_it_exists_and_the_course_is_never_touched(services: Services) -> None:
    lab, run = Lab(services), runs(services)

    def course() -> list[tuple[str, str]]:
        with services.database.session(readonly=True) as session:
            listed = documents.list_documents(session, "course", with_text=True)
        return [(document.content_hash, document.text) for document in listed]

    before = course()
    first = run(run="note", note=NOTE, question=NOTE_QUESTION)
    assert "closes at five in the afternoon" in first["note-now"]
    assert first["note-verdict"].startswith("Now change a word")
    turn = int(first["turns"]["note-now"][0])
    second = run(run="note", note=NOTE.replace("five", "eight"), question=NOTE_QUESTION, before=turn)
    assert "closes at eight" in second["note-now"]
    assert "five" not in second["note-now"]
    assert (
        second["note-verdict"]
        == "The answer changed with the page. The weights did not: the same fingerprint."
    )
    assert lab.note().text == NOTE.replace("five", "eight")  # type: ignore[union-attr]

    assert lab.remove_note()
    assert not lab.remove_note()
    assert lab.note() is None
    with lab.experiment(NOTE_QUESTION) as conversation:
        *_, last = lab.ask(NOTE_QUESTION, conversation)
    assert isinstance(last, TurnLogged)
    assert "eight" not in last.result.answer
    assert course() == before
    assert not list(services.settings.home.glob("**/note.md"))


@pytest.mark.parametrize("text", ["", " \n", "x" * 3000])
def test_a_note_that_says_nothing_or_too_much_is_refused(services: Services, text: str) -> None:
    lab = Lab(services)
    with pytest.raises(InputError, match="note"):
        lab.save_note(text)
    assert lab.note() is None
