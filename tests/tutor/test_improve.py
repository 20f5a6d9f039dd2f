"""The Improve page without a browser: states of jobs, processes, refusals, blind votes, previews, and what is drawn."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db import jobs, registry, study
from db.errors import DatabaseError, NotFound
from db.feedback import save_feedback
from db.jobs import Job
from db.session import Database
from tutor import voting
from tutor.failures import BusyError
from tutor.generators.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tutor.improve import Improve, JobView, refusal
from tutor.improve_jobs import Trainers, environment, state_of
from tutor.settings import Settings
from tutor.ui import (
    improve_job_view,
    improve_queue_view,
    improve_report_view,
    improve_view,
    improve_vote_view,
)
from tutor.wire import InputError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def job(**values: Any) -> Job:
    known: dict[str, Any] = {
        "id": 7, "kind": "finetune", "state": "running", "config": {}, "dataset_id": None, "folder": None,
        "stage": "training", "progress": 0.2, "metrics": [], "cancel_requested": False, "pid": 1, "exit_code": None,
        "error": None, "heartbeat_at": NOW, "created_at": NOW, "started_at": NOW, "finished_at": None,
    }  # fmt: skip
    return Job(**known | values)


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


STUB = """
import sys, time
print("study-tutor: ready", *sys.argv[1:], flush=True)
time.sleep(600)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", learner="eve", threads=2)


@pytest.fixture
def improve(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Improve]:
    """Over an empty database; what it starts is a process that writes a line and then waits."""
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", (sys.executable, "-c", STUB))
    with database.session() as session:
        learner_id = study.learner(session, "eve").id
    made = Improve(database, settings, learner_id)
    yield made
    for child in made._trainers._children.values():
        child.kill()
        child.wait()


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


# -- what is served ----------------------------------------------------------------------------------------------


def report(*, promote: bool = True, served: str | None = None, **more: Any) -> dict[str, Any]:
    rules = [
        {"name": "target", "passed": promote, "text": "Right: +0.1 (0.0 to 0.2); it must be above 0."},
        {"name": "words", "passed": True, "text": "Length: 0.7; it must be at most 1.1."},
    ]
    return {"served": {"adapter": served}, "verdict": {"promote": promote, "rules": rules}, **more}


Add = Callable[..., registry.Adapter]


@pytest.fixture
def add(database: Database, tmp_path: Path) -> Add:
    """add(name, report, state="registered") -> an adapter whose files are there."""

    def added(name: str, made: dict[str, Any], state: str = "registered") -> registry.Adapter:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        (folder / ADAPTER_CONFIG).write_text("{}")
        (folder / ADAPTER_WEIGHTS).write_bytes(name.encode())
        with database.session() as session:
            return registry.register_adapter(
                session, name=name, path=str(folder), base_model="b",
                sha256=hashlib.sha256(name.encode()).hexdigest(), state=state, manifest={}, report=made,
            )  # fmt: skip

    return added


def test_promote_roll_back_and_undo(improve: Improve, add: Add) -> None:
    add("v1", report())
    assert improve.overview().served.can_roll_back is False
    improve.promote("v1")
    now = improve.overview().served
    assert (now.name, now.can_roll_back, now.back_to, now.undo) == ("v1", True, None, None)
    add("v2", report(served="v1"))
    improve.promote("v2")
    improve.rollback()
    now = improve.overview().served
    assert (now.name, now.back_to, now.undo) == ("v1", None, ("v2",))
    with pytest.raises(DatabaseError, match="Something else"):
        improve.undo("v9")
    improve.undo("v2")
    now = improve.overview().served
    assert (now.name, now.back_to, now.undo) == ("v2", "v1", None)
    with pytest.raises(DatabaseError):
        improve.undo("v1")
    with pytest.raises(NotFound):
        improve.promote("v9")
    assert [one.adapter for one in improve.overview().versions] == ["v2", "v1", "v2", "v1"]


def test_what_may_not_be_served_is_refused_with_a_reason(improve: Improve, add: Add) -> None:
    bad = add("v1", report(promote=False), "refused")
    assert refusal(bad, None) == "One rule refused it; what answered before goes on answering."
    with pytest.raises(DatabaseError, match="One rule refused it"):
        improve.promote("v1")
    stale = add("v2", report(served="v0"))
    assert "examined against v0, and now the base model answers" in refusal(stale, None)
    assert refusal(stale, "v0") == ""
    assert "taken back" in refusal(replace(stale, withdrawn=1), "v0")
    assert "never examined" in refusal(replace(stale, report={}), "v0")
    spoilt = add("v3", report())
    (Path(spoilt.path) / ADAPTER_WEIGHTS).write_bytes(b"v4")
    with pytest.raises(DatabaseError, match="damaged"):
        improve.promote("v3")
    assert improve.overview().served.name is None


# -- votes -------------------------------------------------------------------------------------------------------

ANSWERS = [
    {"question": "Q1", "answerable": True, "reference": "R", "base": {"text": "b"}, "served": {"text": "s"},
     "candidate": {"text": "c"}},
    {"question": "Q2", "base": {"text": "same  text"}, "served": {"text": "same text"}, "candidate": {"text": "c"}},
    {"question": "Q3", "base": {"text": "x"}, "served": {"text": "x"}, "candidate": {"text": "x"}},
    {"question": "Q4", "base": {"text": ""}, "candidate": None},
    "nonsense",
]  # fmt: skip


def test_ballots_are_shuffled_merged_and_steady() -> None:
    found = voting.ballots(ANSWERS, "v1", 1)
    assert [ballot.question for ballot in found] == ["Q1", "Q2"]
    assert sorted(found[0].texts) == ["b", "c", "s"]
    assert sorted(found[1].writers) == [("base", "served"), ("candidate",)]
    assert found == voting.ballots(ANSWERS, "v1", 1)
    firsts = {voting.ballots(ANSWERS, "v1", learner)[0].texts[0] for learner in range(40)}
    assert firsts == {"b", "c", "s"}  # no place tells who wrote it


def test_votes_are_kept_once_and_counted_for_all_who_wrote_it(
    improve: Improve, database: Database, add: Add
) -> None:
    add("v1", report(answers=ANSWERS))
    first, second = improve.result("v1").ballots
    letter = "ABC"[first.texts.index("c")]
    improve.vote("v1", first.item, letter)
    improve.vote("v1", first.item, "none")  # too late: the names are known by now
    improve.vote("v1", second.item, "AB"[second.writers.index(("base", "served"))])
    counted = voting.tally(improve.result("v1").ballots)
    assert counted == voting.Tally({"base": 1, "served": 1, "candidate": 1}, 0, 2, 2)
    with database.session(readonly=True) as session:
        assert len(study.events(session, 1, kinds=["vote"])) == 2
    for item, choice in (("unknown", "A"), (second.item, "C"), (first.item, "")):
        with pytest.raises(InputError):
            improve.vote("v1", item, choice)
    add("v2", report(answers=ANSWERS))
    assert voting.tally(improve.result("v2").ballots).voted == 0  # another adapter, other votes


def test_no_name_is_on_the_page_before_the_vote(improve: Improve, add: Add) -> None:
    add("v1", report(answers=ANSWERS))
    html = improve_vote_view.vote(improve.result("v1"))
    ballot = html[html.index("<article") : html.index("</article>")]
    assert not any(name in ballot for name in ("candidate", "served", "base model"))
    item = improve.result("v1").ballots[0].item
    html = improve_vote_view.vote(improve.vote("v1", item, "none"), item)
    assert all(name in html for name in ("candidate v1", ">served<", "base model", "You saw no difference."))


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


# -- what is drawn -----------------------------------------------------------------------------------------------


def test_the_loss_is_drawn_on_steady_axes_and_told_in_a_table() -> None:
    few, more = ([(n, 3 / n) for n in range(1, end)] for end in (5, 2000))
    first, second = (improve_job_view.loss_chart(losses, 2000) for losses in (few, more))
    for chart in (first, second):
        assert ">3</text>" in chart
        assert ">2,000</text>" in chart
    assert second.count(",") < 2000  # thinned out
    assert improve_job_view.loss_chart([(1, 2.0)], 10) == ""
    assert "nan" not in improve_job_view.loss_chart([(1, 2.0), (2, float("nan")), (3, 1.0)], 10)


@pytest.mark.parametrize(
    ("state", "stage", "end"),
    [
        ("running", "training", "320"),
        ("stopping", "training", "320"),
        ("running", "evaluating", "40"),
        ("stopped", "training", "40"),
        ("cancelled", "training", "40"),
        ("done", "done", "40"),
    ],
)
def test_the_loss_ends_where_the_clock_ended_it(state: str, stage: str, end: str) -> None:
    metrics = [{"step": step, "steps": 320, "loss": 3 / step} for step in range(1, 41)]
    html = improve_job_view.live(JobView(job(metrics=metrics, stage=stage), state, ""))  # type: ignore[arg-type]
    assert f">{end}</text>" in html
    assert f"at step 40 of {end}" in html


def test_each_state_of_a_job_offers_what_fits_it() -> None:
    offered = {}
    for state in ("starting", "running", "stopping", "stopped", "failed", "cancelled", "done"):
        html = improve_job_view.job(JobView(job(finished_at=NOW), state, "<b>why</b>"))  # type: ignore[arg-type]
        offered[state] = {name for name in ("start", "cancel", "resume") if f'data-do="{name}"' in html}
        assert "<b>" not in html
    assert offered == {
        "starting": {"cancel"}, "running": {"cancel"}, "stopping": {"cancel"}, "stopped": {"resume", "start"},
        "failed": {"resume", "start"}, "cancelled": {"resume", "start"}, "done": {"start"},
    }  # fmt: skip


def test_a_report_of_another_version_is_drawn_as_far_as_it_goes(improve: Improve, add: Add) -> None:
    odd = report(
        systems={"candidate": {"right": {"value": "?"}, "words": {"value": 12}}, "served": None},
        paired=[{"measure": "x"}, None], closed_book=3, training={"seconds": None}, answers="none",
    )  # fmt: skip
    odd["verdict"]["rules"].append({"name": "<i>bare</i>"})
    add("<v>", odd)
    html = improve_report_view.result(improve.result("<v>"))
    assert "&lt;v&gt; kept every rule" in html
    assert "<i>" not in html
    assert ">12<" in html


def test_a_report_page_is_clean_and_links_back() -> None:
    text = (
        "---\nlicense: x\n---\n# v1\n\n[out](javascript:alert(1)) <img src=x onerror=alert(1)>\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    html = improve_report_view.report_page("v1", text, "")
    assert 'href="javascript' not in html
    assert "<img" not in html
    assert "license" not in html
    assert "<td>2</td>" in html
    assert 'href="./improve"' in html
    assert improve_view.report_url("a/../b c") == "./improve/report/a%2F..%2Fb%20c"


def test_the_queue_shows_what_the_trainer_said_about_each_rating() -> None:
    data = {
        "train": 10, "held_out": 2, "from_feedback": 1, "train_abstaining": 3, "enough": False, "refusal": "Too few.",
        "rejected": [{"feedback_id": 5, "reason": "no note says it"}, {"feedback_id": 6, "reason": "repeated"}],
        "examples": [{"feedback_id": 4, "side": "held_out", "completion": "Yes.",
                      "prompt": [{"role": "user", "content": "Notes:\n- n\n\nQuestion: Why <b>?"}]}],
    }  # fmt: skip
    from tutor.improve_preview import Preview

    html = improve_queue_view.preview(Preview("ready", json.loads(json.dumps(data))), {5: "How?"})
    for said in (
        "Too few.",
        "“How?”",
        "No note says it.",
        "Rating 6",
        "Why &lt;b&gt;?",
        "kept back for the exam",
        "2 ratings left out",
    ):
        assert said in html


def test_trainers_leave_no_zombie_that_looks_alive(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", (sys.executable, "-c", ""))
    trainers = Trainers(settings)
    pid = trainers.start(3, "--job", "3")
    other = Trainers(settings)  # nobody reaps it yet, and still it isn't alive
    _eventually(lambda: not other.alive(job(id=3, pid=pid, heartbeat_at=datetime.now(UTC))))
    _eventually(lambda: trainers.ended(job(id=3)))


@pytest.mark.parametrize(
    "sent", [None, 3, "x", [], {}, {"job": "1", "minutes": "5", "out": "yes", "name": 7, "known": 3}]
)
def test_nonsense_from_a_browser_is_answered_in_a_line(
    settings: Settings, fake_embedder: Any, sent: Any
) -> None:
    from tutor.services import build_services
    from tutor.ui.improve import ImprovePage

    known = settings.model_copy(update={"builtin_course": False})
    services = build_services(
        known, embedder=fake_embedder, generator_for=lambda name: pytest.fail("not asked")
    )
    page = ImprovePage(services)
    try:
        for call in (
            page.cancel,
            page.resume,
            page.promote,
            page.rollback,
            page.undo,
            page.vote,
            page.ballot,
        ):
            answer = call(sent)
            assert list(answer) == ["error"], call.__name__
            assert "our side" not in answer["error"], call.__name__
        assert list(page.opt_out(sent)) == ["error"]
        assert set(page.parts(sent)["parts"]) == set(improve_view.PARTS)
        if isinstance(sent, dict) and "minutes" in sent:
            assert list(page.start(sent)) == ["error"]
        assert page.report("../x").status_code == page.export("../x").status_code == 404
        with services.database.session(readonly=True) as session:
            assert jobs.list_jobs(session) == []
    finally:
        services.close()
