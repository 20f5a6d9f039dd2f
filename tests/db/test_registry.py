"""Adapters and data sets: one row switches what is served, a rollback undoes one, withdrawn feedback leaves a mark."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from db import feedback, jobs, registry, study
from db.errors import DatabaseError, NotFound
from db.registry import ServedAdapter
from db.session import Database


def _register(database: Database, *names: str, **more: Any) -> None:
    with database.session() as session:
        for name in names:
            values: dict[str, Any] = {"path": f"/{name}", "base_model": "m", "sha256": name * 2}
            values |= {"manifest": {"files": {}}, "report": {"verdict": {"promote": True}}} | more
            registry.register_adapter(session, name=name, **values)


def _promote(database: Database, name: str | None, **more: Any) -> registry.Promotion:
    with database.session() as session:
        return registry.promote(session, name, "better", **more)


def _rollback(database: Database) -> str | None:
    with database.session() as session:
        return registry.rollback(session, "worse").adapter


def _served(database: Database) -> str | None:
    with database.session(readonly=True) as session:
        found = registry.served_adapter(session)
    return found.name if found else None


def _learner(database: Database) -> int:
    with database.session() as session:
        return study.learner(session, "me").id


def _rated(database: Database, learner_id: int, count: int) -> list[int]:
    with database.session() as session:
        return [
            feedback.save_feedback(session, learner_id, question=f"Q{i}", answer="A", rating="up").id
            for i in range(count)
        ]


def test_the_newest_promotion_is_served(database: Database) -> None:
    assert _served(database) is None
    _register(database, "a", "b")
    with database.session() as session:
        newest, first = registry.list_adapters(session)
        assert (newest.name, first.name, newest.manifest) == ("b", "a", {"files": {}})
        assert registry.find_adapter(session, "b") == ServedAdapter("b", "/b", "m", "bb")
        assert registry.find_adapter(session, "c") is registry.get_adapter(session, "c") is None
        assert registry.get_adapter(session, "a") == first
        assert registry.next_name(session) == "v1"
    for name in ("a", "b", "a", None):
        assert _promote(database, name).adapter == name
        assert _served(database) == name
    with database.session(readonly=True) as session:
        assert [p.adapter for p in registry.promotions(session)] == [None, "a", "b", "a"]


def test_a_second_click_adds_no_row(database: Database) -> None:
    _register(database, "a")
    assert _promote(database, "a") == _promote(database, "a")
    with database.session(readonly=True) as session:
        assert len(registry.promotions(session)) == 1
    assert _rollback(database) is None  # to the base, not to itself


def test_rollback_walks_back_and_promote_starts_anew(database: Database) -> None:
    with pytest.raises(DatabaseError, match="nothing to roll back"):
        _rollback(database)
    _register(database, "a", "b", "c")
    for name in ("a", "b", "c"):
        _promote(database, name)
    assert (_rollback(database), _rollback(database)) == ("b", "a")
    _promote(database, "c")
    assert (_rollback(database), _rollback(database)) == ("a", None)
    with pytest.raises(DatabaseError, match="nothing to roll back"):
        _rollback(database)
    with database.session(readonly=True) as session:
        history = registry.promotions(session)
        assert registry.standing(history) == [None]
        assert registry.standing(history[2:]) == [None, "a", "c"]
        assert [p.rollback for p in history] == [True, True, False, True, True, False, False, False]


def test_what_was_refused_is_promoted_by_force_only(database: Database) -> None:
    _register(database, "a", state="refused")
    with pytest.raises(DatabaseError, match="The adapter a is refused") as error:
        _promote(database, "a")
    assert "\n" not in str(error.value)
    assert _served(database) is None
    with pytest.raises(NotFound, match="no adapter 'zz'"):
        _promote(database, "zz", force=True)
    assert _promote(database, "a", force=True).adapter == "a"


def test_a_name_is_taken_once(database: Database) -> None:
    _register(database, "v1")
    with pytest.raises(DatabaseError, match="There is an adapter 'v1' already"):
        _register(database, "v1")
    with pytest.raises(ValueError, match="unknown state 'served'"):
        _register(database, "v2", state="served")
    with database.session() as session:
        assert registry.next_name(session) == "v2"
        assert registry.set_report(session, "v1", {"format": 1}).report == {"format": 1}
        assert registry.set_report(session, "v1", {}, state="refused").state == "refused"
        assert registry.set_report(session, "v1", {}).state == "refused"
        with pytest.raises(NotFound):
            registry.set_report(session, "v3", {})
        with pytest.raises(ValueError, match="unknown state 'served'"):
            registry.set_report(session, "v1", {}, state="served")


def test_rivals_promote_one_after_the_other(database: Database) -> None:
    _register(database, *"abcdef")
    gate = threading.Barrier(6)

    def promote(name: str) -> None:
        gate.wait()
        _promote(database, name)

    threads = [threading.Thread(target=promote, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with database.session(readonly=True) as session:
        history = registry.promotions(session)
    assert sorted(str(p.adapter) for p in history) == list("abcdef")
    assert _served(database) == history[0].adapter


def test_the_adapter_that_ships_is_offered_once(database: Database) -> None:
    offer: dict[str, Any] = {"path": "/p", "base_model": "m", "sha256": "ss", "manifest": {}, "report": {}}
    for _ in range(2):
        with database.session() as session:
            registry.offer_adapter(session, name="shipped", reason="comes with it", **offer)
    assert _served(database) == "shipped"
    assert _rollback(database) is None
    with database.session() as session:
        registry.offer_adapter(session, name="shipped", reason="comes with it", **offer)
        registry.offer_adapter(session, name="newer", reason="comes with it", **offer)
        registry.set_path(session, "shipped", "/moved")
        assert registry.find_adapter(session, "shipped") == ServedAdapter("shipped", "/moved", "m", "ss")
    assert _served(database) is None  # who went back to the base stays there


def test_withdrawn_feedback_marks_what_was_made_from_it(database: Database) -> None:
    me = _learner(database)
    one, two, three = _rated(database, me, 3)
    with database.session() as session:
        old = registry.put_dataset(session, "old", "/old", {}, 0, [one, two])
        new = registry.put_dataset(session, "new", "/new", {}, 0, [two, three, two])
        assert registry.feedback_of(session, new.id) == [two, three]
    _register(database, "v1", dataset_id=old.id)
    _register(database, "v2", dataset_id=new.id)
    _register(database, "r", dataset_id=old.id, state="refused")
    _promote(database, "v1")
    _promote(database, "v2")
    with database.session() as session:
        feedback.delete_feedback(session, one)
    assert _served(database) == "v2"
    with database.session(readonly=True) as session:
        states = {a.name: (a.state, a.withdrawn) for a in registry.list_adapters(session)}
        assert states == {"v1": ("withdrawn", 1), "v2": ("registered", 0), "r": ("refused", 1)}
        marked = registry.get_adapter(session, "v1")
        assert marked is not None
        assert marked.withdrawn_at is not None
        assert marked.withdrawn_at.tzinfo is not None
        newest, oldest = registry.list_datasets(session)
        assert (oldest.withdrawn, newest.withdrawn, oldest.withdrawn_at) == (1, 0, marked.withdrawn_at)
    with pytest.raises(DatabaseError, match=r"v1 contains withdrawn feedback \(1 of its ratings\); retrain"):
        _promote(database, "v1")
    assert _rollback(database) is None  # passed over: not served anew
    assert _promote(database, "v1", force=True).adapter == "v1"


def test_what_is_served_stays_when_its_feedback_is_withdrawn(database: Database) -> None:
    me = _learner(database)
    ids = _rated(database, me, 2)
    with database.session() as session:
        data = registry.put_dataset(session, "s", "/s", {}, 0, ids)
    _register(database, "v1", dataset_id=data.id)
    _promote(database, "v1")
    with database.session() as session:
        feedback.set_opt_out(session, me, True)
        adapter = registry.get_adapter(session, "v1")
        assert adapter is not None
        assert (adapter.state, adapter.withdrawn) == ("withdrawn", 2)
    assert _served(database) == "v1"
    assert _rollback(database) is None
    with database.session() as session:  # the learner lets the ratings in again
        feedback.set_opt_out(session, me, False)
        adapter = registry.get_adapter(session, "v1")
        assert adapter is not None
        assert (adapter.state, adapter.withdrawn) == ("registered", 0)
    assert _promote(database, "v1").adapter == "v1"


def test_what_was_withdrawn_while_the_data_set_was_made_is_marked_in_it(database: Database) -> None:
    me = _learner(database)
    gone, out, kept = _rated(database, me, 3)
    with database.session() as session:
        feedback.delete_feedback(session, gone)
        feedback.set_fate(session, [out], "withdrawn", reason="you said so")
        data = registry.put_dataset(session, "s", "/s", {}, 0, [gone, out, kept])
    assert data.withdrawn == 2
    _register(database, "v1", dataset_id=data.id)
    with pytest.raises(DatabaseError, match="contains withdrawn feedback"):
        _promote(database, "v1")


def test_a_data_set_is_registered_once_and_jobs_are_listed(database: Database) -> None:
    with database.session() as session:
        first = registry.put_dataset(session, "ab", "/data/ab", {"train": 3}, 7)
        again = registry.put_dataset(session, "ab", "/elsewhere", {"train": 9}, 8)
        jobs.set_dataset(session, jobs.create_job(session, "finetune", {}).id, first.id)
        (job,) = jobs.list_jobs(session)
    assert again == first
    assert (first.counts, first.seed) == ({"train": 3}, 7)
    assert (job.state, job.progress, job.dataset_id, job.cancel_requested) == ("queued", 0.0, first.id, False)
