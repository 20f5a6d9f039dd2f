"""An adapter that is measured again: what the gate says then is what the registry and the Improve page go by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from db import feedback, registry, study
from db.errors import DatabaseError
from db.session import Database
from finetune.again import measure_again
from finetune.keeping import one_job_a_home
from tutor.failures import BusyError
from tutor.generators.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tutor.improve import Improve
from tutor.settings import Settings
from tutor.shipped import file_sha256

Measure = Callable[..., registry.Adapter]


def report(*, promote: bool, served: str | None = None) -> dict[str, Any]:
    rule = {"name": "target", "passed": promote, "text": "Right: it must be above 0."}
    return {"served": {"adapter": served}, "verdict": {"promote": promote, "rules": [rule]}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def improve(database: Database, settings: Settings) -> Improve:
    with database.session() as session:
        learner = study.learner(session, "me").id
    return Improve(database, settings, learner)


@pytest.fixture
def rated(database: Database, improve: Improve) -> int:
    """The id of a rating that became data set 1."""
    with database.session() as session:
        me = study.learner(session, "me").id
        said = feedback.save_feedback(session, me, question="Q", answer="A", rating="up").id
        data = registry.put_dataset(session, "one", "/nowhere", {}, 0, [said])
        feedback.set_fate(session, [said], "in_dataset", dataset_id=data.id)
    return said


@pytest.fixture
def measure(
    database: Database, settings: Settings, rated: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Measure:
    """measure(name, promote=, served=) -> the adapter after an evaluation that found this; `was`: its state before."""

    def measured(
        name: str, *, promote: bool, served: str | None = None, was: str = "refused"
    ) -> registry.Adapter:
        with database.session() as session:
            adapter = registry.get_adapter(session, name) or made(session, name, was)
        found = report(promote=promote, served=served)
        monkeypatch.setattr("finetune.evaluate.evaluate_adapter", lambda *_, **__: found)
        assert measure_again(settings, database, adapter) == found
        with database.session(readonly=True) as session:
            after = registry.get_adapter(session, name)
        assert after is not None
        assert after.report == found
        return after

    def made(session: Session, name: str, was: str) -> registry.Adapter:
        folder = tmp_path / name
        folder.mkdir()
        (folder / ADAPTER_CONFIG).write_text("{}")
        (folder / ADAPTER_WEIGHTS).write_bytes(name.encode())
        passed = was == "registered"
        adapter = registry.register_adapter(
            session, name=name, path=str(folder), base_model="b", sha256=file_sha256(folder / ADAPTER_WEIGHTS),
            state=was, manifest={}, report=report(promote=passed, served="v0"), dataset_id=1,
        )  # fmt: skip
        if passed:
            feedback.set_fate(session, [rated], "in_adapter", adapter_id=adapter.id)
        return adapter

    return measured


def _fate(database: Database, number: int) -> tuple[str, int | None, str | None]:
    with database.session(readonly=True) as session:
        said = next(row for row in feedback.list_feedback(session) if row.id == number)
    return said.fate, said.dataset_id, said.adapter


def test_what_was_refused_and_passes_can_be_promoted(
    measure: Measure, improve: Improve, database: Database, rated: int
) -> None:
    assert measure("v1", promote=True).state == "registered"
    result = improve.overview().result
    assert result is not None
    assert result.refusal == ""
    assert _fate(database, rated) == ("in_adapter", 1, "v1")
    improve.promote("v1")
    assert improve.overview().served.name == "v1"


def test_what_fails_stays_refused(measure: Measure, improve: Improve, database: Database, rated: int) -> None:
    assert measure("v1", promote=False).state == "refused"
    assert _fate(database, rated) == ("in_dataset", 1, None)
    with pytest.raises(DatabaseError, match="refused it"):
        improve.promote("v1")


def test_what_had_passed_and_fails_becomes_refused(
    measure: Measure, improve: Improve, database: Database, rated: int
) -> None:
    assert measure("v1", promote=False, was="registered").state == "refused"
    assert _fate(database, rated) == ("in_dataset", 1, None)
    with database.session() as session, pytest.raises(DatabaseError, match="v1 is refused"):
        registry.promote(session, "v1", "test")
    result = improve.overview().result
    assert result is not None
    assert "refused it" in result.refusal


def test_what_is_served_is_not_refused_for_being_no_better_than_itself(
    measure: Measure, database: Database, rated: int
) -> None:
    with database.session() as session:
        registry.promote(session, measure("v1", promote=True, was="registered").name, "test")
    assert measure("v1", promote=False, served="v1").state == "registered"
    assert _fate(database, rated) == ("in_adapter", 1, "v1")


def test_feedback_that_went_on_stays_where_it_is(measure: Measure, database: Database, rated: int) -> None:
    measure("v1", promote=False)
    with database.session() as session:
        data = registry.put_dataset(session, "two", "/nowhere", {}, 0, [rated])
        feedback.set_fate(session, [rated], "in_dataset", dataset_id=data.id)
    measure("v1", promote=True)
    assert _fate(database, rated) == ("in_dataset", data.id, None)


def test_taken_back_feedback_keeps_it_from_being_promoted(
    measure: Measure, improve: Improve, database: Database, rated: int
) -> None:
    with database.session() as session:
        feedback.set_fate(session, [rated], "withdrawn")
    assert measure("v1", promote=True).state == "withdrawn"
    assert _fate(database, rated)[0] == "withdrawn"
    with pytest.raises(DatabaseError, match="taken back"):
        improve.promote("v1")


def test_nothing_is_measured_while_a_job_runs(measure: Measure, settings: Settings) -> None:
    with one_job_a_home(settings.home), pytest.raises(BusyError):
        measure("v1", promote=True)
