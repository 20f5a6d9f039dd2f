"""Trainings: what a job is doing, its process, and what the next one would learn from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db import jobs
from db.errors import NotFound
from db.feedback import save_feedback
from db.session import Database
from tests.tutor.improve.sample import NOW, job
from tutor.failures import BusyError
from tutor.improve import Improve
from tutor.improve_jobs import Trainers, environment, state_of
from tutor.settings import Settings
from tutor.ui import (
    improve_queue_view,
)


@pytest.mark.parametrize(
    ("values", "alive", "ended", "later", "state"),
    [
        ({}, True, False, 0, "running"),
        ({}, True, False, 500, "running"),  # a laptop that slept
        ({}, False, False, 30, "running"),  # perhaps on another machine
        ({}, False, False, 61, "stopped"),
        ({}, False, True, 0, "stopped"),  # our own child: we know
        ({"cancel_requested": True}, True, False, 0, "stopping"),
        ({"state": "queued", "heartbeat_at": None, "started_at": None}, False, False, 10, "starting"),
        ({"state": "queued", "heartbeat_at": None, "started_at": None}, True, False, 500, "starting"),
        ({"state": "queued", "heartbeat_at": None, "started_at": None}, False, False, 100, "stopped"),
        ({"state": "queued", "heartbeat_at": None, "started_at": None}, False, True, 1, "stopped"),
        ({"state": "done"}, False, True, 500, "done"),
        ({"state": "failed"}, True, False, 0, "failed"),
    ],
)
def test_what_a_job_is_doing(
    values: dict[str, Any], alive: bool, ended: bool, later: int, state: str
) -> None:
    assert state_of(job(**values), NOW + timedelta(seconds=later), alive=alive, ended=ended) == state


def _eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_started_job_is_a_session_of_its_own_and_only_one_runs(
    improve: Improve, database: Database, settings: Settings
) -> None:
    number = improve.start(15)
    view = improve.overview().job
    assert view is not None
    assert (view.state, view.job.kind, view.job.config) == ("starting", "finetune", {"max_minutes": 15})
    assert view.job.folder == str(settings.home / "jobs" / str(number))
    pid = improve._trainers._children[number].pid
    assert os.getsid(pid) == pid
    _eventually(lambda: improve._trainers.last_words(number) != "")
    words = improve._trainers.last_words(number)
    assert words == f"ready run --home {settings.home} --job {number}"
    with pytest.raises(BusyError, match="still running"):
        improve.start(None)

    with database.session() as session:
        jobs.start_job(session, number, pid)
    assert improve.overview().busy
    another = Improve(database, settings, 1)  # the app after a restart: it knows the row only
    view = another.overview().job
    assert view is not None
    assert view.state == "running"
    with pytest.raises(BusyError):
        another.resume(number)

    os.kill(pid, signal.SIGKILL)
    _eventually(lambda: not improve.overview().busy)
    view = improve.overview().job
    assert view is not None
    assert (view.state, view.problem) == ("stopped", words)
    assert another._trainers.alive(view.job) is False
    assert improve.resume(number) == number
    view = improve.overview().job
    assert view is not None
    assert view.state == "starting"
    assert view.job.state == "queued"


def test_a_pid_that_another_program_has_now_is_not_the_job(improve: Improve, database: Database) -> None:
    with database.session() as session:
        old = jobs.create_job(session, "finetune", {})
        jobs.start_job(session, old.id, os.getpid(), now=datetime.now(UTC) - timedelta(days=2))
    view = improve.overview().job
    assert view is not None
    assert view.state == "stopped"


def test_cancelling_what_nobody_runs_ends_it_at_once(improve: Improve, database: Database) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with database.session() as session:
        lost = jobs.create_job(session, "finetune", {})
        jobs.start_job(session, lost.id, dead.pid, now=datetime.now(UTC) - timedelta(hours=1))
    improve.cancel(lost.id)
    view = improve.overview().job
    assert view is not None
    assert view.state == "cancelled"
    with pytest.raises(NotFound):
        improve.cancel(99)


def test_a_job_that_never_began_makes_way(improve: Improve, database: Database) -> None:
    number = improve.start(None)
    child = improve._trainers._children[number]
    child.kill()
    child.wait()
    assert improve.start(5) == number + 1
    states = {view.job.id: view.state for view in improve.overview().jobs}
    assert states == {number: "failed", number + 1: "starting"}


def test_a_trainer_that_can_not_be_started_leaves_a_failed_row(
    improve: Improve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", ("/nowhere/python",))
    with pytest.raises(OSError, match="No such file"):
        improve.start(None)
    view = improve.overview().job
    assert view is not None
    assert view.state == "failed"
    assert "could not be started" in view.problem


def test_the_trainer_gets_our_settings_and_no_secret_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STUDY_TUTOR_HOME", raising=False)
    given = Settings(home=tmp_path, learner="eve", threads=2, server_api_key="hidden")  # type: ignore[arg-type]
    found = {k: v for k, v in environment(given).items() if k.startswith("STUDY_TUTOR_")}
    assert found == {"STUDY_TUTOR_LEARNER": "eve", "STUDY_TUTOR_THREADS": "2"}
    assert not any("hidden" in value for value in environment(given).values())


def test_trainers_leave_no_zombie_that_looks_alive(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", (sys.executable, "-c", ""))
    trainers = Trainers(settings)
    pid = trainers.start(3, "--job", "3")
    other = Trainers(settings)  # nobody reaps it yet, and still it isn't alive
    _eventually(lambda: not other.alive(job(id=3, pid=pid, heartbeat_at=datetime.now(UTC))))
    _eventually(lambda: trainers.ended(job(id=3)))


# -- previews ----------------------------------------------------------------------------------------------------


ASKED = """
import json, os, sys
with open(os.environ["ASKED"], "a") as log: log.write("x")
print(json.dumps({"train": 3, "arguments": sys.argv[1:]}))
"""


def test_a_preview_is_asked_for_once_until_feedback_changes(
    improve: Improve, database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", (sys.executable, "-c", ASKED))
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    assert improve.preview(60, asked=False) is None  # it costs minutes: nothing begins by itself
    assert not (tmp_path / "asked").exists()
    found = improve.preview(60)
    assert found is not None
    assert (found.state, found.data["train"]) == ("ready", 3)
    assert found.data["arguments"] == ["run", "--home", str(settings.home), "--json", "--dry-run"]
    again = Improve(database, settings, 1)  # after a restart it is still known
    assert again.preview(0, asked=False) == found
    assert (tmp_path / "asked").read_text() == "x"
    with database.session() as session:
        save_feedback(session, 1, question="Q", answer="A", rating="up")
    assert again.preview(60).state == "ready"
    assert (tmp_path / "asked").read_text() == "xx"


def test_a_preview_that_fails_says_why_and_can_be_asked_again(
    improve: Improve, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = "import sys; print('study-tutor: no disk', file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", (sys.executable, "-c", fails))
    found = improve.preview(60)
    assert (found.state, found.problem) == ("failed", "No disk.")
    assert "No disk." in improve_queue_view.preview(found)
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", (sys.executable, "-c", "print('{}')"))
    assert improve.preview(60, asked=False).state == "failed"
    assert improve.preview(60).state == "ready"


def test_a_job_ends_the_asking(improve: Improve) -> None:
    assert improve.preview(0.1).state == "working"  # the stub never answers
    _eventually(lambda: improve._trainers._asked is not None)
    asked = improve._trainers._asked
    assert asked is not None
    improve.start(None)
    _eventually(lambda: asked.poll() is not None)
    assert improve._previews.known(improve.key()) is None
