"""Blind votes as HTML: one question at a time, names only after the vote, and the count. Values in, text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tutor.answer import without_citations
from tutor.ui.markup import count, esc, join
from tutor.voting import LETTERS, NO_DIFFERENCE, SYSTEMS, tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tutor.improve import Result
    from tutor.voting import Ballot


def vote(found: Result, item: str | None = None) -> str:
    """The ballot for `item`, or for the first question without a vote, and the count so far."""
    ballots = found.ballots
    if not ballots:
        return ""
    shown = next((ballot for ballot in ballots if ballot.item == item), None)
    shown = shown or next((ballot for ballot in ballots if ballot.choice is None), None)
    left = sum(ballot.choice is None for ballot in ballots)
    body = _ballot(shown, found, left) if shown else _all_done(len(ballots))
    return (
        f'<section class="vote" aria-labelledby="vote-title" data-adapter="{esc(found.adapter.name)}">'
        '<h2 id="vote-title">Judge for yourself</h2><p class="hint">The same question, answered by the base '
        "model, by what answered at the time and by the candidate, in an order that changes. Names come after your "
        "vote. It is for you: the gate doesn’t count votes.</p>"
        f"{body}{_count(found)}</section>"
    )


def _ballot(ballot: Ballot, found: Result, left: int) -> str:
    place = found.ballots.index(ballot) + 1
    answered = (
        "The notes answer this."
        if ballot.answerable
        else "The notes don’t answer this: it should be declined."
    )
    reference = ""
    if ballot.reference:
        reference = (
            '<details class="more" data-key="reference"><summary>What a person answered</summary>'
            f"<p>{esc(_plain(ballot.reference))}</p></details>"
        )
    panes = join(_pane(ballot, number, found) for number in range(len(ballot.texts)))
    if ballot.choice is None:
        foot = (
            f'<p class="vote-foot"><button type="button" class="text-button" data-do="vote" data-item="{ballot.item}" '
            f'data-choice="{NO_DIFFERENCE}">No difference</button></p>'
        )
    else:
        said = "You saw no difference." if ballot.choice == NO_DIFFERENCE else f"You chose {ballot.choice}."
        more = (
            '<button type="button" class="button" data-do="next" data-focus="next">Next question</button>'
            if left
            else '<span class="hint">That was the last one.</span>'
        )
        foot = f'<p class="vote-foot"><span class="vote-said" tabindex="-1">{said}</span>{more}</p>'
    return (
        f'<article class="ballot" data-item="{ballot.item}"><p class="hint">Question {place} of {len(found.ballots)} · '
        f'{answered}</p><p class="ballot-question" tabindex="-1">{esc(ballot.question)}</p>'
        f'<ol class="choices of-{len(ballot.texts)}">{panes}</ol>{reference}{foot}</article>'
    )


def _pane(ballot: Ballot, number: int, found: Result) -> str:
    letter, text = LETTERS[number], _plain(ballot.texts[number])
    if ballot.choice is None:
        head = f'<span class="choice-letter">{letter}</span>'
        foot = (
            f'<button type="button" class="button quiet" data-do="vote" data-item="{ballot.item}" '
            f'data-choice="{letter}" data-focus="vote-{letter}">{letter} is better</button>'
        )
        kind = ""
    else:
        chosen = ballot.choice == letter
        names = join(
            f'<span class="tag">{esc(_name(system, found))}</span>' for system in ballot.writers[number]
        )
        mark = '<span class="tag is-correct">your choice</span>' if chosen else ""
        head, foot, kind = (
            f'<span class="choice-letter">{letter}</span>{names}{mark}',
            "",
            " is-chosen" if chosen else "",
        )
    said = f'<p class="choice-text">{esc(text)}</p>'
    return f'<li class="choice{kind}"><p class="choice-head">{head}</p>{said}{foot}</li>'


def _name(system: str, found: Result) -> str:
    if system == "candidate":
        return f"candidate {found.adapter.name}"
    if system == "served":
        name = (found.adapter.report.get("served") or {}).get("adapter")
        return f"served {name}" if name else "served"
    return "base model"


def _all_done(number: int) -> str:
    return f'<p class="empty" tabindex="-1">You have voted on {"it" if number == 1 else f"all {number}"}.</p>'


def _count(found: Result) -> str:
    counted = tally(found.ballots)
    if not counted.voted:
        return ""
    rows = [(_name(system, found), counted.votes[system]) for system in reversed(SYSTEMS)]
    rows.append(("no difference", counted.no_difference))
    most = max(1, counted.voted)
    bars = join(
        f'<li><span class="tally-name">{esc(name)}</span>'
        f'<span class="bar-track"><span style="width:{votes / most:.0%}"></span></span>'
        f'<span class="tally-number">{count(votes, "vote")}</span></li>'
        for name, votes in rows
    )
    shared = _shared(found.ballots)
    return f'<div class="tally"><h3>{counted.voted} of {counted.of} voted</h3><ul>{bars}</ul>{shared}</div>'


def _shared(ballots: Sequence[Ballot]) -> str:
    twice = sum(len(ballot.chosen) > 1 for ballot in ballots)
    if not twice:
        return ""
    return f'<p class="hint">{count(twice, "vote")} went to an answer that two of them gave, and count for both.</p>'


def _plain(text: str) -> str:
    return " ".join(without_citations(text).split())
