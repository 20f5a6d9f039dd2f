"""Jobs: only legal steps, one at a time, alive or not told by a beat and a pid, and resumable after a kill."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from db import jobs, registry
from db.errors import DatabaseError, NotFound
from db.session import Database
from db.types import utc_now

STEPS = {
    "queued": {"running", "cancelled", "failed"},
    "running": {"done", "failed", "cancelled"},
    "failed": {"queued"},
    "cancelled": {"queued"},
    "done": set(),
}


def _job(database: Database, state: str = "queued") -> int:
    with database.session() as session:
        job = jobs.create_job(session, "finetune", {"seed": 7}, Path("/home/jobs"))
        if state not in ("queued",):
            jobs.start_job(session, job.id, 4242)
        if state in jobs.ENDED:
            jobs.finish_job(session, job.id, state, exit_code=1, error="Because.\n  So.")
    return job.id


def _step(database: Database, job_id: int, to: str) -> None:
    with database.session() as session:
        if to == "running":
            jobs.start_job(session, job_id, 1)
        elif to == "queued":
            jobs.requeue(session, job_id)
        else:
            jobs.finish_job(session, job_id, to)


@pytest.mark.parametrize("to", list(STEPS))
@pytest.mark.parametrize("state", list(STEPS))
def test_only_legal_steps(database: Database, state: str, to: str) -> None:
    job_id = _job(database, state)
    if to in STEPS[state]:
        _step(database, job_id, to)
    else:
        with pytest.raises(DatabaseError, match=rf"Job {job_id} is {state}") as refused:
            _step(database, job_id, to)
        assert "\n" not in str(refused.value)
    with database.session(readonly=True) as session:
        job = jobs.get_job(session, job_id)
    assert job is not None
    assert job.state == (to if to in STEPS[state] else state)


def test_a_job_tells_how_far_it_is(database: Database) -> None:
    job_id = _job(database)
    with database.session() as session:
        data = registry.put_dataset(session, "ab", "/d", {}, 0)
        started = jobs.start_job(session, job_id, 99)
        assert (started.state, started.pid, started.folder) == ("running", 99, f"/home/jobs/{job_id}")
        assert started.config == {"seed": 7}
        jobs.set_dataset(session, job_id, data.id)
        jobs.beat(session, job_id, stage="training", progress=0.5, metrics=[{"step": 1, "loss": 2.0}])
    with database.session() as session:
        jobs.beat(session, job_id, progress=2.0, metrics=[{"step": 2, "loss": float("nan")}])
        job = jobs.beat(session, job_id)
    assert (job.stage, job.progress, job.dataset_id) == ("training", 1.0, data.id)
    assert job.metrics == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}]
    with database.session() as session:
        done = jobs.finish_job(session, job_id, "done")
        assert (done.state, done.stage, done.exit_code, done.error) == ("done", "done", 0, None)
        with pytest.raises(DatabaseError, match="is done, not running"):
            jobs.beat(session, job_id)
        assert [job.id for job in jobs.list_jobs(session)] == [job_id]


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_is_asked(database: Database) -> None:
    first = _job(database)
    with database.session() as session:
        assert jobs.request_cancel(session, first).state == "cancelled"
        assert jobs.request_cancel(session, first).state == "cancelled"
        with pytest.raises(DatabaseError, match="can't become running"):
            jobs.start_job(session, first, 1)
    second = _job(database, "running")
    with database.session() as session:
        assert jobs.request_cancel(session, second).state == "running"
        assert jobs.beat(session, second).cancel_requested
        jobs.finish_job(session, second, "cancelled", exit_code=1)
        again = jobs.requeue(session, second)
    assert (again.state, again.cancel_requested, again.pid, again.finished_at) == (
        "queued",
        False,
        None,
        None,
    )


def test_one_job_runs_at_a_time(database: Database) -> None:
    running, waiting = _job(database, "running"), _job(database)
    with database.session() as session:
        with pytest.raises(DatabaseError, match=rf"Job {running} is running"):
            jobs.start_job(session, waiting, 2)
        later = utc_now() + timedelta(seconds=jobs.STALE_S + 1)
        assert jobs.live_job(session) == jobs.get_job(session, running)
        assert jobs.live_job(session, later) is None
        assert jobs.start_job(session, waiting, 2, now=later).state == "running"


def test_two_that_start_together_are_one(database: Database) -> None:
    waiting = [_job(database), _job(database)]
    refused: list[str] = []
    gate = threading.Barrier(2)

    def start(job_id: int) -> None:
        gate.wait()
        try:
            with database.session() as session:
                jobs.start_job(session, job_id, 1)
        except DatabaseError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start, args=(job_id,)) for job_id in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with database.session(readonly=True) as session:
        states = sorted(job.state for job in jobs.list_jobs(session))
    assert (states, len(refused)) == (["queued", "running"], 1)


@pytest.mark.parametrize(
    ("silent_s", "alive", "lost"),
    [(1, True, False), (1, False, True), (jobs.STALE_S + 5, True, False), (jobs.LOST_S + 5, True, True)],
    ids=["lives", "killed", "slept", "another program has its pid"],
)
def test_a_killed_job_is_found_and_can_be_resumed(
    database: Database, silent_s: int, alive: bool, lost: bool
) -> None:
    job_id = _job(database, "running")
    later = utc_now() + timedelta(seconds=silent_s)
    with database.session() as session:
        found = jobs.reap(session, lambda pid: alive and pid == 4242, now=later)
        assert [job.id for job in found] == ([job_id] if lost else [])
        job = jobs.get_job(session, job_id)
        assert job is not None
        assert (job.state, job.error) == (("failed", jobs.LOST) if lost else ("running", None))
        if lost:
            assert jobs.requeue(session, job_id).state == "queued"
            assert jobs.start_job(session, job_id, 5).started_at == job.started_at


def test_the_error_is_one_line(database: Database) -> None:
    with database.session(readonly=True) as session:
        job = jobs.get_job(session, _job(database, "failed"))
    assert job is not None
    assert (job.error, job.exit_code) == ("Because. So.", 1)


def test_what_is_not_there(database: Database) -> None:
    with database.session() as session:
        assert jobs.get_job(session, 1) is None
        for step in (
            lambda: jobs.start_job(session, 1, 1),
            lambda: jobs.beat(session, 1),
            lambda: jobs.request_cancel(session, 1),
            lambda: jobs.requeue(session, 1),
            lambda: jobs.finish_job(session, 1, "failed"),
        ):
            with pytest.raises(NotFound):
                step()
        with pytest.raises(ValueError, match="ends as one of"):
            jobs.finish_job(session, 1, "queued")
        job = jobs.create_job(session, "finetune", {})
        assert job.folder is None
        with pytest.raises(NotFound, match="Data set 5"):
            jobs.set_dataset(session, job.id, 5)
