"""The Improve page in Chromium, over rows that the real functions of `db` wrote, and with the real trainer."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from db import jobs, registry
from db.feedback import save_feedback, set_fate
from tests.browser.improve_rows import Follower, add_adapter, shot

pytestmark = pytest.mark.timeout(700)
FITS = (
    "() => document.documentElement.scrollWidth > screen.width ? [...document.querySelectorAll('#main *, #top *')]"
    ".filter(e => e.getBoundingClientRect().right > screen.width + 1).map(e => e.tagName + '.' + e.className) : []"
)
PATIENCE_MS = 180_000  # the trainer steps back behind whatever else the machine does


def _feedback(server: Any) -> None:
    services = server.services
    with services.database.session() as session:
        rows = [
            save_feedback(session, services.learner_id, question=question, answer="…", rating=rating, **more)
            for question, rating, more in (
                ("What is a token?", "up", {}),
                (
                    "Why do tokens exist?",
                    "down",
                    {"reason": "too_long", "correction": "To have a fixed vocabulary."},
                ),
                ("How long is a pace?", "down", {"correction": "Seven metres <b>long</b>."}),
                ("Is bread baked daily?", "up", {}),
            )
        ]
        snapshot = registry.put_dataset(session, "cd" * 32, "datasets/cd", {}, 0, [rows[3].id])
        set_fate(session, [rows[2].id], "rejected", reason="no passage says this")
        set_fate(session, [rows[3].id], "in_dataset", dataset_id=snapshot.id)


def test_feedback_is_listed_with_its_fate_and_can_be_kept_out(
    server: Any, improve: Callable[..., Any]
) -> None:
    page = improve()
    assert page.title() == "Improve · Study Tutor"
    assert "The base model" in page.inner_text(".now")
    page.wait_for_selector("[data-fingerprint] >> text=abababababab")
    assert "Nothing yet" in page.inner_text("[data-part=queue]")
    assert page.locator("[data-do=rollback]").count() == 0

    _feedback(server)
    page.reload()
    page.wait_for_selector(".queue")
    told = page.inner_text("[data-part=queue]")
    assert "2 waiting for the next training · 1 left out · 1 in a data set" in told
    for text in ("too long", "To have a fixed vocabulary.", "No passage says this.", "In data set 1"):
        assert text in told
    assert "Seven metres <b>long</b>." in told  # text, not markup
    page.wait_for_selector(".preview[data-state=offer]")
    page.get_by_role("button", name="Find out").click()
    page.wait_for_selector(".preview[data-state=ready]", timeout=PATIENCE_MS)
    assert "to learn from" in page.inner_text(".preview")
    shot(page, "queue")

    page.get_by_role("switch", name="Use my ratings for training").uncheck()
    page.wait_for_selector(".queue-sum >> text=4 taken back")
    page.get_by_role("switch").check()
    page.wait_for_selector(".queue-sum >> text=4 waiting")


def _beat(server: Any, number: int, **values: Any) -> None:
    with server.services.database.session() as session:
        jobs.beat(session, number, **values)


def _steps(start: int, end: int, steps: int = 200) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "steps": steps,
            "loss": 0.6 + 2 / (1 + step / 18) + (step * 7 % 5) * 0.04,
            "seconds": step * 2.0,
            "seconds_left": (steps - step) * 2.0,
            "examples": step * 8,
            "tokens": step * 900,
        }
        for step in range(start, end)
    ]


def test_a_running_job_is_watched_stops_and_is_found_dead(server: Any, improve: Callable[..., Any]) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        with server.services.database.session() as session:
            job = jobs.create_job(session, "adapter", {}, server.home / "jobs")
            jobs.start_job(session, job.id, sleeper.pid)
            jobs.beat(session, job.id, stage="collecting", progress=0.02)
        page = improve()
        page.wait_for_selector("[aria-current=step] >> text=Collect")
        assert "when this training has ended" in page.inner_text(".preview")
        assert page.locator("[data-do=start]").count() == 0
        page.focus("[data-do=cancel]")
        _beat(server, job.id, stage="training", progress=0.1, metrics=_steps(1, 40))
        page.wait_for_selector("[aria-current=step] >> text=Train")
        page.wait_for_selector(".chart polyline.mean")
        assert "39 of 200" in page.inner_text(".live")
        assert "5 min" in page.inner_text(".live .totals")
        assert f"Training {job.id}: Train." in page.inner_text("#improve-told")
        before = page.eval_on_selector(".live .chart", "e => [e.getBoundingClientRect().top, e.offsetHeight]")
        top = page.text_content(".live .chart svg text:nth-of-type(3)")
        _beat(server, job.id, progress=0.5, metrics=_steps(40, 150))
        page.wait_for_selector(".live >> text=149 of 200")
        assert (
            page.eval_on_selector(".live .chart", "e => [e.getBoundingClientRect().top, e.offsetHeight]")
            == before
        )
        assert page.text_content(".live .chart svg text:nth-of-type(3)") == top
        assert page.evaluate("() => document.activeElement.dataset.do") == "cancel"
        assert page.eval_on_selector(".live progress", "e => e.value") == pytest.approx(0.5)
        shot(page, "running")

        page.keyboard.press("Enter")
        page.wait_for_selector("[data-do=cancel]:disabled")
        assert server.rows(jobs.get_job, job.id).cancel_requested
        assert "stopping at the next safe point" in page.inner_text("#improve-told").lower()
        with server.services.database.session() as session:
            jobs.finish_job(session, job.id, "cancelled", exit_code=130)
        page.wait_for_selector(".job.is-cancelled")
        assert page.locator("[data-do=resume]").count() == 1
        page.wait_for_selector(".preview:is([data-state=offer], [data-state=ready])")

        with server.services.database.session() as session:
            jobs.requeue(session, job.id)
            jobs.start_job(session, job.id, sleeper.pid)
            jobs.beat(session, job.id, stage="training")
        page.reload()
        page.wait_for_selector("[data-do=cancel]")
        sleeper.kill()
        sleeper.wait()
        from datetime import UTC, datetime, timedelta

        with server.services.database.session() as session:
            jobs.beat(session, job.id, now=datetime.now(UTC) - timedelta(seconds=90))
        page.wait_for_selector(".job.is-stopped")
        assert "Stopped unexpectedly" in page.inner_text(".job")
        assert page.locator("[data-do=resume]").count() == 1
        with server.services.database.session() as session:
            jobs.finish_job(
                session, job.id, "failed", exit_code=1, error="the loss is not a number at step 40"
            )
        page.reload()
        page.wait_for_selector(".job.is-failed >> text=The loss is not a number at step 40.")
        shot(page, "failed")
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_it_without_sideways_scrolling(
    server: Any, improve: Callable[..., Any], dark: bool
) -> None:
    add_adapter(server, "v4-dark" if dark else "v4", promote=not dark)
    with server.services.database.session() as session:
        job = jobs.create_job(session, "adapter", {}, server.home / "jobs")
        jobs.start_job(session, job.id, os.getpid())
        jobs.beat(session, job.id, stage="training", progress=0.4, metrics=_steps(1, 120))
    try:
        page = improve(width=360, height=780, phone=True, dark=dark)
        page.wait_for_selector(".chart polyline.mean")
        assert page.evaluate(FITS) == []
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
        assert (
            page.evaluate("() => (e => e.scrollWidth - e.clientWidth)(document.querySelector('.top nav'))")
            <= 0
        )
        table = page.eval_on_selector(".measures-wrap", "e => e.scrollWidth - e.clientWidth")
        assert table <= 0
        small = page.evaluate(
            "() => [...document.querySelectorAll('#main button, #main summary, #main select, .top a')]"
            ".filter(e => e.offsetParent && e.getBoundingClientRect().height < 32).map(e => e.textContent)"
        )
        assert small == []
        shot(page, "phone-dark" if dark else "phone")
    finally:
        with server.services.database.session() as session:
            jobs.finish_job(session, job.id, "failed", exit_code=1, error="end of the test")


@pytest.fixture
def few(tmp_path: Path) -> tuple[str, ...]:
    """The real trainer as a command, with a tiny model, two pages of the course and a few exemplars on them."""
    home = Path(__file__).parents[1] / "finetune" / "job_home.py"
    spec = importlib.util.spec_from_file_location("job_home", home)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_few(tmp_path / "few")
    return sys.executable, str(home), "shipped", str(tmp_path / "few")


@pytest.mark.models
@pytest.mark.timeout(1200)
def test_a_real_training_is_started_stopped_and_resumed(
    server: Any,
    improve: Callable[..., Any],
    few: tuple[str, ...],
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STUDY_TUTOR_GENERATOR", str(tiny_base))  # what the app gets, its trainer gets
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", few)
    page = improve()
    page.select_option("select[name=minutes]", "5")
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector("[data-do=cancel]")
    page.wait_for_selector("[aria-current=step]", timeout=PATIENCE_MS)
    job = server.rows(jobs.list_jobs)[0]
    assert job.state == "running"
    assert job.pid is not None
    assert os.getsid(job.pid) == job.pid  # its own session: it doesn't end with the app
    assert psutil.Process(job.pid).nice() == 10
    assert (server.home / "jobs" / str(job.id) / "log.txt").is_file()

    page.click("[data-do=cancel]")
    page.wait_for_selector(".job.is-cancelled", timeout=PATIENCE_MS)
    assert server.rows(jobs.get_job, job.id).state == "cancelled"
    page.click("[data-do=resume]")
    page.wait_for_selector("[data-do=cancel]")
    server.restart()  # the training goes on without the app
    server.services.tutor.generator_for = Follower(server)
    page.reload()
    page.wait_for_selector(".job.is-done", timeout=PATIENCE_MS)
    done = server.rows(jobs.get_job, job.id)
    assert (done.state, done.progress, done.exit_code) == ("done", 1.0, 0)
    assert done.config["max_minutes"] == 5
    made = server.rows(registry.list_adapters)[0]
    assert made.job_id == job.id
    assert page.inner_text("#result-title") == f"Is {made.name} better?"
    assert page.locator(".rules li").count() == len(made.report["verdict"]["rules"])
    assert page.locator("[data-do=promote]").count() == (1 if made.report["verdict"]["promote"] else 0)
    shot(page, "real")
    page.click("text=Read the whole report")
    page.wait_for_selector(".report h1")
    assert page.locator(".report table").count() > 0
    shot(page, "real-report")
