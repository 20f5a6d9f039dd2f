"""The Improve page in Chromium, over rows that the real functions of `db` wrote, and with the real trainer."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from db import jobs, registry
from db.feedback import save_feedback, set_fate

pytestmark = pytest.mark.timeout(700)
FITS = (
    "() => document.documentElement.scrollWidth > screen.width ? [...document.querySelectorAll('#main *, #top *')]"
    ".filter(e => e.getBoundingClientRect().right > screen.width + 1).map(e => e.tagName + '.' + e.className) : []"
)
SHOTS = os.environ.get("BROWSER_SHOTS")  # a folder for screenshots; none by default


def _share(value: float, wide: float = 0.1) -> dict[str, Any]:
    return {"value": value, "low": max(0.0, value - wide), "high": min(1.0, value + wide), "n": 120}


def _system(right: float, own: float, words: float) -> dict[str, Any]:
    return {
        "right": _share(right),
        "own_words": _share(own),
        "cites_gold": _share(right + 0.1),
        "supported": _share(own),
        "declined_unanswerable": _share(0.9, 0.05),
        "declined_answerable": _share(0.05, 0.04),
        "token_f1": _share(right - 0.02),
        "words": {"value": words, "low": words - 3, "high": words + 4, "n": 120},
        "total_ms": {"value": 2300 * words / 30, "low": 1900, "high": 2800, "n": 120},
    }


def _said(text: str, status: str = "answered") -> dict[str, str]:
    return {"status": status, "text": text}


def _rule(name: str, passed: bool, text: str) -> dict[str, Any]:
    return {"name": name, "passed": passed, "text": text, "value": 0.1, "low": 0.0, "high": 0.2, "limit": 0.0}


def report(name: str, *, promote: bool, served: str | None = None) -> dict[str, Any]:
    """A report as the trainer writes it."""
    rules = [
        _rule(
            "target",
            promote,
            "Right answers in the model's own checked words, candidate minus served: "
            f"{'+0.210 (+0.120 to +0.300' if promote else '+0.010 (-0.060 to +0.080'}, 120 questions); the lower end "
            "must be above 0.",
        ),
        _rule("right", True, "Right answers, candidate minus served: +0.017 (-0.033 to +0.067, 120 questions); the "
              "lower end must be at least -0.05."),
        _rule("words", True, "Length of an answer, as a multiple of what is served: 0.620; it must be at most 1.1."),
        _rule("closed_book", True, "Facts of the training pages said without any material, candidate minus base: "
              "+0.008; it must be at most 0.02."),
    ]  # fmt: skip
    return {
        "format": 1,
        "adapter": name,
        "base": {"name": "scripted", "weights_sha256": "ab" * 32},
        "served": {"adapter": served, "weights_sha256": "ab" * 32},
        "dataset": {"sha256": "cd" * 32, "train": 2412, "held_out": 140, "from_feedback": 12},
        "training": {"seconds": 742.0, "steps": 320, "examples": 2412, "tokens": 512000, "examples_per_s": 3.3,
                     "precision": "float32", "processes": 1, "peak_memory_mb": 1890, "losses": [[1, 2.1], [320, 0.7]]},
        "systems": {"candidate": _system(0.58, 0.74, 19), "served": _system(0.56, 0.22, 31),
                    "quotes": _system(0.57, 0.0, 34)},
        "paired": [{"measure": "right", "against": "served", "difference": 0.02, "low": -0.03, "high": 0.07, "n": 120}],
        "drafts": {},
        "closed_book": {"candidate": 0.06, "served": 0.05, "gain": {"value": 0.008}},
        "retention": {"base_nll": 3.1, "candidate_nll": 3.13, "increase": 0.03},
        "verdict": {"promote": promote, "rules": rules},
        "answers": [
            {"question": "What is a token?", "answerable": True, "reference": "A piece of text handled as one unit.",
             "base": _said("A token is a secret word, and many other things that I could tell about at length."),
             "served": _said("A token is a piece of text that a model handles as one unit. [1]", "quoted"),
             "candidate": _said("A piece of text that a model handles as one unit. [1]"),
             "quotes": _said("A token is a piece of text that a model handles as one unit. [1]", "quoted")},
            {"question": "Who baked the bread in 1900?", "answerable": False, "reference": "",
             "base": _said("It was baked by the baker."), "served": _said("It was baked by the baker."),
             "candidate": _said("The notes do not answer this.", "not_covered"), "quotes": _said("", "not_covered")},
            {"question": "Is a token a word?", "answerable": True, "reference": "Often it is shorter.",
             "base": _said("Often shorter."), "served": _said("Often shorter."), "candidate": _said("Often shorter.")},
        ],
        "versions": {"torch": "2"}, "config": {}, "seconds": 900.0,
    }  # fmt: skip


PATIENCE_MS = 180_000  # the trainer steps back behind whatever else the machine does
WITHOUT_EXEMPLARS = (
    sys.executable,
    "-c",
    "import sys; from finetune.__main__ import main; sys.exit(main([*sys.argv[1:], '--no-exemplars']))",
)
"""The real trainer, spared the search for the exemplars' notes, which takes minutes."""


class Follower:
    """A generator whose identity is what the registry serves, as the real one's is."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._script = server.script

    def __call__(self, adapter: str | None) -> Any:
        from tutor.generators.protocol import ModelIdentity
        from tutor.generators.scripted import ScriptedGenerator

        served = self._server.rows(registry.served_adapter)
        identity = ModelIdentity("scripted", served.name if served else None, ("12" if served else "ab") * 32)
        return ScriptedGenerator(self._script.write, 0.0, identity=identity)


@pytest.fixture
def improve(open_page: Callable[..., Any], server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """improve(**options) -> the page; the model that answers is the one that is served; no console error."""
    told: list[str] = []
    monkeypatch.setattr(server.services.tutor, "generator_for", Follower(server))
    monkeypatch.setattr("tutor.improve_jobs.COMMAND", WITHOUT_EXEMPLARS)

    def opened(**options: Any) -> Any:
        page = open_page("/improve", **options)
        page.on("console", lambda m: m.type == "error" and told.append(m.text))
        page.wait_for_selector(".now")
        return page

    yield opened
    assert [text for text in told if "ERR_CONNECTION_REFUSED" not in text] == []  # while the app restarts


def add_adapter(server: Any, name: str, *, promote: bool, served: str | None = None) -> None:
    folder = server.home / "adapters" / name
    folder.mkdir(parents=True, exist_ok=True)
    made = report(name, promote=promote, served=served)
    page = f"# Adapter {name}\n\nA **candidate** <script>alert(1)</script>.\n\n| | it |\n|---|---|\n| right | 0.58 |\n"
    (folder / "report.md").write_text(page, "utf-8")
    (folder / "adapter_config.json").write_text("{}", "utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    with server.services.database.session() as session:
        registry.register_adapter(
            session,
            name=name,
            path=str(folder),
            base_model="scripted",
            sha256=hashlib.sha256(b"weights").hexdigest(),
            state="registered" if promote else "refused",
            manifest={},
            report=made,
        )


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/improve-{name}.png", full_page=True)


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


def test_a_refused_adapter_says_which_rule_broke_and_has_no_button(
    server: Any, improve: Callable[..., Any]
) -> None:
    add_adapter(server, "v1", promote=False)
    page = improve()
    box = page.inner_text("[data-part=result]")
    assert "No. v1 broke a rule." in box
    assert "One rule refused it" in box
    assert page.locator("[data-do=promote]").count() == 0
    broken = page.locator(".rules .is-broken")
    assert broken.count() == 1
    assert "broken" in broken.inner_text()
    assert "+0.010 (-0.060 to +0.080, 120 questions)" in broken.inner_text()
    assert page.locator(".rules .is-kept").count() == 3
    shot(page, "refused")


def _order(page: Any) -> list[str]:
    return [one.inner_text() for one in page.locator(".choice-text").all()]


def test_votes_are_blind_counted_and_kept(server: Any, improve: Callable[..., Any]) -> None:
    add_adapter(server, "v2", promote=True)
    page = improve()
    page.wait_for_selector(".ballot")
    assert page.inner_text(".ballot-question") == "What is a token?"
    ballot = page.inner_html(".ballot")
    assert not any(name in ballot for name in ("candidate", "served", "base model", "v2"))
    assert [one.inner_text() for one in page.locator(".choice-letter").all()] == ["A", "B", "C"]
    assert not any("[1]" in text for text in _order(page))
    order = _order(page)
    page.reload()
    page.wait_for_selector(".ballot")
    assert _order(page) == order  # the same learner sees the same order
    shot(page, "vote")

    short = next(n for n, text in enumerate(order) if text.startswith("A piece of text"))
    page.locator(".choice").nth(short).get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".choice.is-chosen")
    assert _order(page) == order
    assert "candidate v2" in page.locator(".choice.is-chosen").inner_text()
    assert page.evaluate("() => document.activeElement.textContent") == "Next question"
    assert "1 of 2 voted" in page.inner_text(".tally")  # on the third question nothing differs
    assert "1 vote" in page.locator(".tally li", has_text="candidate v2").inner_text()
    shot(page, "voted")

    page.keyboard.press("Enter")
    page.wait_for_selector(".ballot-question >> text=Who baked the bread")
    assert page.locator(".choice").count() == 2  # two of them gave one answer
    page.click("text=No difference")
    page.wait_for_selector(".tally >> text=2 of 2 voted")
    assert "You saw no difference." in page.inner_text(".ballot")
    page.reload()
    page.wait_for_selector(".tally >> text=2 of 2 voted")
    assert "You have voted on all 2." in page.inner_text("[data-part=vote]")
    server.restart()
    page.reload()
    page.wait_for_selector(".tally >> text=2 of 2 voted")


def test_promote_roll_back_undo_by_keyboard(server: Any, improve: Callable[..., Any]) -> None:
    add_adapter(server, "v3", promote=True)
    page = improve()
    assert "Yes. v3 kept every rule." in page.inner_text("[data-part=result]")
    page.focus("[data-do=promote]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#now-title >> text=v3")
    assert server.rows(registry.served_adapter).name == "v3"
    page.wait_for_selector("[data-fingerprint] >> text=121212121212")
    assert "v3 answers now." in page.inner_text(".promoted")
    assert page.evaluate("() => document.activeElement.className") == "promoted"
    assert "v3 answers from now on." in page.inner_text("#improve-told")
    shot(page, "promoted")

    page.focus("[data-do=rollback]")
    assert page.inner_text("[data-do=rollback]") == "Roll back to the base model"
    page.keyboard.press("Enter")
    page.wait_for_selector("#now-title >> text=The base model")
    assert server.rows(registry.served_adapter) is None
    assert page.evaluate("() => document.activeElement.textContent") == "Undo"
    page.wait_for_selector("[data-fingerprint] >> text=abababababab")
    assert page.locator("[data-do=promote]").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_selector("#now-title >> text=v3")
    assert server.rows(registry.served_adapter).name == "v3"
    page.click(".now summary")
    rows = [row.inner_text() for row in page.locator(".versions li").all()]
    assert len(rows) == 3
    assert "Rollback undone." in rows[0]
    assert [one.inner_text() for one in page.locator(".versions .tag").all()] == ["now"]
    assert "Rolled back by hand." in rows[1]
    assert "The base model" in rows[1]

    page.click(".versions a >> nth=0")
    page.wait_for_selector("h1 >> text=Adapter v3")
    assert "A candidate <script>alert(1)</script>." in page.inner_text("#main")
    assert page.locator("table td >> text=0.58").count() == 1
    shot(page, "report")
    page.click("text=‹ Improve")
    page.wait_for_selector(".now")
    assert page.request.get(server.url + "/improve/report/nobody").status == 404
    assert page.request.get(server.url + "/improve/report/..%2F..%2Fsecret").status == 404
    assert page.request.get(server.url + "/improve/export/v3").headers["content-type"] == "application/zip"
    with server.services.database.session() as session:
        registry.rollback(session, "end of the test")


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
