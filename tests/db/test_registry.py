"""What is served is the newest promotion; the same data set is registered once."""

from __future__ import annotations

from sqlalchemy import insert

from db import models, registry
from db.registry import ServedAdapter
from db.session import Database
from db.types import utc_now


def test_the_newest_promotion_is_served(database: Database) -> None:
    def promote(adapter_id: int | None) -> ServedAdapter | None:
        with database.session() as session:
            values = {"adapter_id": adapter_id, "reason": "", "created_at": utc_now()}
            session.execute(insert(models.PromotionRow).values(values))
        with database.session(readonly=True) as session:
            return registry.served_adapter(session)

    with database.session() as session:
        assert registry.served_adapter(session) is None
        for name in ("a", "b"):
            values = {"name": name, "path": f"/{name}", "base_model": "m", "sha256": name * 2}
            session.add(
                models.AdapterRow(
                    **values, state="registered", manifest={"files": {}}, report={}, created_at=utc_now()
                )
            )
        session.flush()
        newest, first = registry.list_adapters(session)
        assert (newest.name, first.name, newest.manifest) == ("b", "a", {"files": {}})
        assert registry.find_adapter(session, "b") == ServedAdapter("b", "/b", "m", "bb")
        assert registry.find_adapter(session, "c") is None
    assert promote(first.id) == ServedAdapter("a", "/a", "m", "aa")
    assert promote(newest.id) == ServedAdapter("b", "/b", "m", "bb")
    assert promote(first.id) == ServedAdapter("a", "/a", "m", "aa")  # a roll back is a promotion too
    assert promote(None) is None


def test_a_data_set_is_registered_once_and_jobs_are_listed(database: Database) -> None:
    with database.session() as session:
        first = registry.put_dataset(session, "ab", "/data/ab", {"train": 3}, 7)
        again = registry.put_dataset(session, "ab", "/elsewhere", {"train": 9}, 8)
        session.add(
            models.JobRow(
                kind="finetune",
                state="queued",
                config={},
                metrics=[],
                dataset_id=first.id,
                created_at=utc_now(),
            )
        )
        session.flush()
        (job,) = registry.list_jobs(session)
    assert again == first
    assert (first.counts, first.seed) == ({"train": 3}, 7)
    assert (job.state, job.progress, job.dataset_id, job.cancel_requested) == ("queued", 0.0, first.id, False)
