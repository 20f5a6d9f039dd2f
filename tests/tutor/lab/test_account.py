"""What training and answering have cost, added up."""

from __future__ import annotations

from db.jobs import Job
from db.registry import Adapter
from db.usage import TurnUsage
from tests.tutor.lab.sample import AT
from tutor.lab_account import make_account, thinned


def job(number: int, metrics: list[dict], state: str = "done") -> Job:
    fixed = {
        "kind": "adapter",
        "config": {},
        "dataset_id": None,
        "folder": None,
        "stage": "",
        "progress": 1.0,
    }
    never = {"cancel_requested": False, "pid": None, "exit_code": 0, "error": None, "heartbeat_at": None}
    return Job(
        id=number,
        state=state,
        metrics=metrics,
        created_at=AT,
        started_at=AT,
        finished_at=AT,
        **fixed,
        **never,
    )


def adapter(name: str, job_id: int | None, report: dict) -> Adapter:
    return Adapter(number := 1, name, "", "base", "", "registered", {}, report, job_id, number, AT)


def turn(total: float, load: float, prompt: int, completion: int) -> TurnUsage:
    return TurnUsage(AT, {"total": total, "load": load}, {"prompt": prompt, "completion": completion})


def test_the_account_is_the_sum_of_what_was_measured() -> None:
    metrics = [
        {"step": 1, "seconds": 2.0, "tokens": 100},
        {"step": 2, "seconds": 5.0, "tokens": 250},
        {"stage": "evaluating", "done": 1, "of": 2, "seconds": 99.0},
    ]
    found = make_account(
        [job(1, metrics), job(2, []), job(3, [{"step": 1, "seconds": 1.0, "tokens": 50}], "failed")],
        [
            adapter("v1", 1, {"training": {"seconds": 7.0, "tokens": 1}}),  # the job's own rows count
            adapter("first", None, {"training": {"seconds": 4.0, "tokens": 700}}),
            adapter("odd", None, {"training": {"seconds": float("nan"), "tokens": True}}),
        ],
        [
            turn(2000.0, 500.0, 100, 20),
            turn(500.0, 0.0, 0, 0),
            turn(9000.0, 0.0, 300, 80),
            TurnUsage(AT, {}, {}),
        ],
    )
    assert [(t.name, t.seconds, t.tokens, t.here) for t in found.trainings] == [
        ("v1", 5.0, 250, True),
        ("job 3 (failed)", 1.0, 50, True),
        ("first", 4.0, 700, False),
    ]
    assert (found.once("seconds"), found.once("tokens")) == (10.0, 1000.0)
    assert found.running("seconds") == [1.5, 2.0, 11.0]
    assert found.running("tokens") == [120.0, 120.0, 500.0]
    assert found.crossing("seconds") == 3
    assert found.crossing("tokens") is None
    assert found.still_to_go("seconds") is None
    assert found.still_to_go("tokens") == 3  # 500 more at 166.7 an answer


def test_where_nothing_was_trained_nothing_is_crossed() -> None:
    found = make_account([], [], [turn(2000.0, 0.0, 1, 1)])
    assert found.crossing("seconds") is None
    assert found.still_to_go("seconds") is None
    assert make_account([], [], []).running("tokens") == []


def test_a_long_line_is_thinned_to_its_ends_and_evenly_between() -> None:
    assert thinned([5.0, 6.0], 10) == [(1, 5.0), (2, 6.0)]
    few = thinned([float(n) for n in range(1, 1001)], 5)
    assert few == [(1, 1.0), (251, 251.0), (500, 500.0), (750, 750.0), (1000, 1000.0)]
