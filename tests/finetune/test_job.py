"""A whole job on a tiny model: data set, training, comparison, verdict, serving, rollback; every way it can end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from db import conversations, feedback, jobs, registry, study
from db.session import Database
from finetune import gate
from finetune.__main__ import main
from finetune.adapters import check_adapter
from finetune.job import KIND
from finetune.keeping import one_job_a_home
from finetune.notes import write_prompt
from tests.finetune.job_home import use_few, write_few
from tutor.services import build_services
from tutor.settings import load_settings

QUICK = {
    "precision": "float32", "epochs": 1, "learning_rate": 1e-2, "rank": 2, "alpha": 4, "row_tokens": 400,
    "threads": 1, "checkpoint_seconds": 0.2, "min_examples": 5,
}  # fmt: skip
NOTE = "Automation is the use of a machine or a program to carry out a task without a person doing each step."
CORRECTED = "A machine or a program carries out a task without a person doing each step."
WRONG = "Automation was invented on a boat by seven bakers."
QUESTIONS = {CORRECTED: "Could you tell me what automation is?", WRONG: "And who invented that?"}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_few(tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="module")
def ready(few: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose course is indexed and searched for the exemplars, with two ratings."""
    home = tmp_path_factory.mktemp("job") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_TUTOR_GENERATOR", str(tiny_base))
        use_few(few, patch.setattr)
        assert main(["run", "--dry-run", "--home", str(home)]) == 0
    with closing(Database.open(home / "study-tutor.sqlite3")) as database, database.session() as session:
        me = study.learner(session, "me").id
        for correction, question in QUESTIONS.items():
            conversation = conversations.create_conversation(session, me).id
            turn = conversations.start_turn(session, conversation, question)
            conversations.complete_turn(
                session, turn.id, status="answered", query=turn.question,
                messages=[dict(m) for m in write_prompt(turn.question, [NOTE])],
                draft="It is a bank.", answer="It is a bank.", sentences=[], citations=[], passages=[],
                follow_ups=[], timings_ms={}, tokens={}, model={},
            )  # fmt: skip
            feedback.save_feedback(
                session, me, question=turn.question, answer="It is a bank.", rating="down", turn_id=turn.id,
                correction=correction,
            )  # fmt: skip
    return home


@pytest.fixture
def home(ready: Path, few: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the ready home, and the settings that name the tiny model."""
    monkeypatch.setenv("STUDY_TUTOR_GENERATOR", str(tiny_base))
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process is pytest's
    monkeypatch.setattr("finetune.pacing.give_way", lambda threads=None: None)
    use_few(few, monkeypatch.setattr)
    return Path(shutil.copytree(ready, tmp_path / "home"))


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    with closing(Database.open(home / "study-tutor.sqlite3")) as opened:
        yield opened


def new_job(database: Database, home: Path, **config: Any) -> int:
    with database.session() as session:
        return jobs.create_job(session, KIND, QUICK | config, home / "jobs").id


def row_of(database: Database, job_id: int) -> jobs.Job:
    with database.session(readonly=True) as session:
        found = jobs.get_job(session, job_id)
    assert found is not None
    return found


def fates(database: Database) -> dict[str | None, str]:
    with database.session(readonly=True) as session:
        return {row.correction: row.fate for row in feedback.list_feedback(session)}


def served(database: Database) -> str | None:
    with database.session(readonly=True) as session:
        found = registry.served_adapter(session)
    return found.name if found else None


def command(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str) -> tuple[int, Any]:
    """Exit code, and what was printed as JSON or else to stderr."""
    capsys.readouterr()
    code = main(["--home", str(home), "--json", *arguments])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.strip() else err.strip()


def test_a_job_from_feedback_to_serving_and_back(
    home: Path, database: Database, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = new_job(database, home, epochs=2)
    code, said = command(capsys, home, "run", "--job", str(job))
    assert code == 0, said
    assert (said["adapter"], said["state"], said["promote"], said["served"]) == (
        "v1",
        "refused",
        False,
        False,
    )
    assert {"enough", "target"} <= {*said["broken"]}  # a random model, and a dozen questions

    row = row_of(database, job)
    assert (row.state, row.stage, row.progress, row.exit_code, row.error) == ("done", "done", 1.0, 0, None)
    losses = [m["loss"] for m in row.metrics if "loss" in m]
    assert len(losses) >= 2
    assert [m["stage"] for m in row.metrics if "stage" in m][-1] == "evaluating"
    assert fates(database) == {CORRECTED: "in_dataset", WRONG: "rejected"}
    assert served(database) is None

    with database.session(readonly=True) as session:
        adapter = registry.get_adapter(session, "v1")
    assert adapter is not None
    folder = home / "adapters" / "v1"
    names = {
        "adapter_model.safetensors",
        "adapter_config.json",
        "README.md",
        "report.json",
        "report.md",
        "manifest.json",
    }
    assert names <= {file.name for file in folder.iterdir()}
    assert Path(adapter.path) == folder
    report = adapter.report
    assert json.loads((folder / "report.json").read_text("utf-8")) == report
    assert report["training"]["losses"][0][1] > 0
    assert report["dataset"]["from_feedback"] == 1
    assert report["served"] == {"adapter": None, "weights_sha256": report["base"]["weights_sha256"]}
    assert report["candidate"]["weights_sha256"] not in ("", report["base"]["weights_sha256"])
    assert "## Model card" in (folder / "report.md").read_text("utf-8")
    check_adapter(
        folder, adapter.manifest, [tiny_base.name], report["base"]["weights_sha256"], base=tiny_base
    )

    code, shown = command(capsys, home, "report")
    assert (code, shown["adapter"]) == (0, "v1")
    code, listed = command(capsys, home, "list")
    assert (listed["served"], listed["jobs"][0]["state"], listed["adapters"][0]["state"]) == (
        None,
        "done",
        "refused",
    )

    code, why = command(capsys, home, "promote", "v1")
    assert code == 5
    assert "Held-out questions" in why
    assert "\n" not in why
    assert command(capsys, home, "promote", "v1", "--anyway")[0] == 2  # it needs a reason
    assert served(database) is None
    code, said = command(capsys, home, "promote", "v1", "--anyway", "--reason", "to look at it")
    assert (code, said["served"], said["reason"]) == (0, "v1", "against the gate: to look at it")
    with closing(build_services(load_settings(home=home))) as services:
        turn = services.tutor.ask("What is a tokenizer?", learner_id=services.learner_id)
    assert (turn.model.adapter, turn.model.weights_sha256) == ("v1", report["candidate"]["weights_sha256"])
    assert command(capsys, home, "rollback")[1]["served"] is None
    assert served(database) is None
    assert command(capsys, home, "rollback")[0] == 5

    assert command(capsys, home, "export", "v1", str(tmp_path / "v1.zip"))[0] == 0
    assert names <= {Path(n).name for n in zipfile.ZipFile(tmp_path / "v1.zip").namelist()}
    assert command(capsys, home, "export", "v1", str(tmp_path / "v1"))[0] == 0
    check_adapter(tmp_path / "v1", None, [tiny_base.name], report["base"]["weights_sha256"])
    assert command(capsys, home, "export", "v1", str(tmp_path / "v1"))[0] == 2  # exists
    assert command(capsys, home, "export", "v1", str(tmp_path / "v1"), "--force")[0] == 0
    assert command(capsys, home, "export", "v2", str(tmp_path / "v2"))[0] == 2
    assert command(capsys, home, "run", "--resume", str(job))[0] == 2  # it is done
    assert command(capsys, home, "run", "--name", "v1")[0] == 2  # it is taken

    weights = bytearray((folder / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "adapter_model.safetensors").write_bytes(weights)
    code, why = command(capsys, home, "promote", "v1", "--anyway", "--reason", "nothing helps")
    assert code == 3
    assert "damaged" in why
    assert served(database) is None


def test_what_the_gate_lets_pass_is_served_and_its_feedback_is_in_it(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    easy = gate.Rule("enough", "Held-out questions", ("questions",), "at least", 3)

    def lenient(evaluation: Mapping[str, Any]) -> gate.Verdict:
        return strict(evaluation, (easy,))

    strict = gate.judge
    monkeypatch.setattr(gate, "judge", lenient)
    job = new_job(database, home)
    code, said = command(capsys, home, "run", "--job", str(job), "--promote", "--name", "mine")
    assert (code, said["state"], said["served"], said["broken"]) == (0, "registered", True, [])
    assert served(database) == "mine"
    assert fates(database)[CORRECTED] == "in_adapter"
    with database.session() as session:
        registry.rollback(session, "test")
    with database.session() as session:  # now the verdict is about something else than what is served
        registry.promote(session, None, "test")
    assert command(capsys, home, "promote", "mine")[0] == 0
    code, said = command(capsys, home, "run", "--job", str(new_job(database, home)))
    with database.session(readonly=True) as session:
        second = registry.get_adapter(session, said["adapter"])
    assert second is not None
    assert second.report["served"]["adapter"] == "mine"
    assert command(capsys, home, "rollback")[0] == 0
    code, why = command(capsys, home, "promote", second.name)
    assert code == 5
    assert "compared with the adapter mine, and now the base model is served" in why
    code, again = command(capsys, home, "report", second.name, "--again")
    assert (code, again["served"]["adapter"]) == (0, None)
    assert again["training"] == second.report["training"]
    assert command(capsys, home, "promote", second.name)[0] == 0
    assert served(database) == second.name


def test_killed_it_goes_on_from_its_checkpoint(
    home: Path, database: Database, few: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = new_job(database, home, epochs=60)
    program = Path(__file__).with_name("job_home.py")
    line = [sys.executable, str(program), "quick", str(few), "--home", str(home)]
    process = subprocess.Popen(
        [*line, "run", "--job", str(job)], cwd=Path(__file__).parents[2], env={**os.environ}
    )
    try:
        deadline = time.monotonic() + 120
        while (
            not any((home / "jobs" / str(job) / "checkpoint").glob("*"))
            or row_of(database, job).stage != "training"
        ):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)
    finally:
        process.kill()
        process.wait()
    row = row_of(database, job)
    assert (row.state, row.pid) == ("running", process.pid)
    assert served(database) is None
    with database.session(readonly=True) as session:
        assert registry.list_adapters(session) == []

    code, said = command(capsys, home, "run", "--resume", str(job), "--max-minutes", "0.05")
    assert (code, said["job"]) == (0, job)
    with database.session(readonly=True) as session:
        adapter = registry.get_adapter(session, said["adapter"])
    assert adapter is not None
    assert adapter.report["training"]["resumed_at"] > 0
    assert row_of(database, job).state == "done"


def test_asked_to_stop_it_stops_and_can_go_on(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("finetune.heart.BEAT_S", 0.2)
    job = new_job(database, home, epochs=60)

    def cancel() -> None:
        deadline = time.monotonic() + 120
        while row_of(database, job).stage != "training":
            assert time.monotonic() < deadline
            assert row_of(database, job).state not in jobs.ENDED
            time.sleep(0.1)
        with database.session() as session:
            jobs.request_cancel(session, job)

    asking = threading.Thread(target=cancel)
    asking.start()
    code, _ = command(capsys, home, "run", "--job", str(job))
    asking.join()
    assert code == 130
    row = row_of(database, job)
    assert (row.state, row.exit_code) == ("cancelled", 130)
    assert "resume it" in (row.error or "")
    with database.session() as session:
        assert jobs.requeue(session, job).state == "queued"


def test_numbers_that_are_none_end_it_with_a_reason(
    home: Path, database: Database, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    import torch
    from safetensors.torch import load_file, save_file

    broken = Path(shutil.copytree(tiny_base, tmp_path / "broken"))
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setenv("STUDY_TUTOR_GENERATOR", str(broken))
    job = new_job(database, home)
    code, why = command(capsys, home, "run", "--job", str(job))
    assert code == 1
    assert "no finite number" in why
    row = row_of(database, job)
    assert (row.state, row.exit_code) == ("failed", 1)
    assert "no finite number" in (row.error or "")
    assert served(database) is None
    assert not (home / "adapters").exists()


def test_too_little_to_learn_from_is_refused_and_nothing_changes(
    home: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fates(database)
    code, why = command(capsys, home, "run", "--no-exemplars")
    assert code == 5
    assert "examples to train on" in why
    assert fates(database) == before == {CORRECTED: "queued", WRONG: "queued"}
    with database.session(readonly=True) as session:
        (row,) = jobs.list_jobs(session)
        assert (row.state, row.exit_code) == ("failed", 5)
        assert registry.list_adapters(session) == registry.list_datasets(session) == []
    assert not (home / "datasets").exists()


def test_two_jobs_at_once_are_one_too_many(
    home: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with one_job_a_home(home):
        code, why = command(capsys, home, "run")
    assert code == 4
    assert "another fine-tune job" in why
    with database.session(readonly=True) as session:
        assert jobs.list_jobs(session) == []
    assert command(capsys, home, "run", "--job", "99")[0] == 2
    assert command(capsys, home, "run", "--job", "1", "--resume", "1")[0] == 2
