"""What is served, what may not be, and blind votes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from db import study
from db.errors import DatabaseError, NotFound
from db.session import Database
from tests.tutor.improve.sample import Add, report
from tutor import voting
from tutor.generators.files import ADAPTER_WEIGHTS
from tutor.improve import Improve, refusal
from tutor.ui import (
    improve_vote_view,
)
from tutor.wire import InputError


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
