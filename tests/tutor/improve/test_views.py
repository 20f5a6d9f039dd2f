"""What the Improve page draws, and what it answers to nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest

from db import jobs
from tests.tutor.improve.sample import NOW, Add, job, report
from tutor.improve import Improve, JobView
from tutor.settings import Settings
from tutor.ui import (
    improve_job_view,
    improve_queue_view,
    improve_report_view,
    improve_view,
)


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
