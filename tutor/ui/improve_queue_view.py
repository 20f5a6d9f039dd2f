"""What the learner told the tutor and what became of it, and what the next training would learn from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tutor.ui.improve_view import sentence
from tutor.ui.markup import count, esc, icon, join, shorten, url, when

if TYPE_CHECKING:
    from db.feedback import Feedback
    from tutor.improve import Overview
    from tutor.improve_preview import Preview

SHOWN = 5
MOST_EXAMPLES, MOST_LEFT_OUT = 6, 50
_FEW = "Too few for a training yet."
_REASONS = {
    "wrong": "wrong",
    "unsupported": "not in the sources",
    "off_topic": "off topic",
    "too_long": "too long",
    "should_abstain": "should have declined",
}
_WAITING = {
    "queued": "waiting for the next training",
    "rejected": "left out",
    "in_dataset": "in a data set",
    "in_adapter": "trained on",
    "withdrawn": "taken back",
}


def queue(overview: Overview) -> str:
    """Ratings and corrections with what became of each, and whether they may be used at all."""
    rows = overview.feedback
    switch = (
        '<label class="switch"><input type="checkbox" role="switch" data-do="opt" data-focus="opt"'
        f"{'' if overview.opted_out else ' checked'}>"
        '<span class="switch-name">Use my ratings for training</span></label>'
    )
    if not rows:
        return (
            '<p class="empty">Nothing yet. Rate an answer in the <a href="'
            + esc(url("chat"))
            + '">chat</a>, or write '
            "what it should have said. The first training can run without: examples come with the program.</p>"
            f'<p class="queue-foot">{switch}</p>'
        )
    counts = {fate: sum(row.fate == fate for row in rows) for fate in _WAITING}
    said = " · ".join(
        f"<strong>{number}</strong> {_WAITING[fate]}" for fate, number in counts.items() if number
    )
    first, rest = rows[:SHOWN], rows[SHOWN:]
    more = ""
    if rest:
        more = (
            f'<details class="more" data-key="queue"><summary>Show {count(len(rest), "older one")}</summary>'
            f'<ul class="rows queue">{join(_row(row) for row in rest)}</ul></details>'
        )
    return (
        f'<p class="queue-sum">{said}</p><ul class="rows queue">{join(_row(row) for row in first)}</ul>{more}'
        f'<p class="queue-foot">{switch}</p>'
    )


def preview(found: Preview | None, questions: Mapping[int, str] | None = None) -> str:
    """What the next training would learn from; None as long as nobody asked the trainer. `questions` of ratings."""
    head = "<h3>What the next training would learn from</h3>"
    if found is None:
        return (
            f'<div class="preview" data-state="offer">{head}<p class="hint">Every example is looked up as a question '
            "is, which takes some minutes the first time.</p>"
            '<button type="button" class="button quiet" data-do="preview" data-focus="preview">Find out</button></div>'
        )
    if found.state == "working":
        return (
            f'<div class="preview" data-state="working">{head}<p class="status"><span class="pulse"></span>'
            "Every example is being looked up as a question is. This takes some minutes, once.</p></div>"
        )
    if found.state == "failed":
        return (
            f'<div class="preview" data-state="failed">{head}<p class="error">{esc(found.problem)}</p>'
            '<button type="button" class="button quiet" data-do="preview" data-focus="preview">Try again</button></div>'
        )
    return f'<div class="preview" data-state="ready">{head}{_dataset(found.data, questions or {})}</div>'


def preview_waiting() -> str:
    """In its place while a job has the machine."""
    return (
        '<div class="preview" data-state="later"><h3>What the next training would learn from</h3>'
        '<p class="hint">Found out when this training has ended.</p></div>'
    )


def _dataset(data: Mapping[str, Any], questions: Mapping[int, str]) -> str:
    facts = [(data.get("train"), "to learn from"), (data.get("held_out"), "kept back for the exam")]
    facts += [(data.get("from_feedback"), "from ratings"), (data.get("train_abstaining"), "teach to decline")]
    said = join(
        f"<div><dt>{what}</dt><dd>{number:,}</dd></div>" for number, what in facts if isinstance(number, int)
    )
    enough = "" if data.get("enough", True) else f'<p class="error">{esc(data.get("refusal") or _FEW)}</p>'
    examples = [one for one in _list(data.get("examples")) if isinstance(one, Mapping)]
    shown = ""
    if examples:
        rows = join(_example(one, questions) for one in examples[:MOST_EXAMPLES])
        shown = (
            '<details class="more" data-key="examples"><summary>What your ratings became</summary>'
            f'<ul class="rows examples">{rows}</ul></details>'
        )
    left = [one for one in _list(data.get("rejected")) if isinstance(one, Mapping)]
    out = ""
    if left:
        out = (
            '<details class="more" data-key="left-out">'
            f"<summary>{count(len(left), 'rating')} left out, and why</summary>"
            f'<ul class="rows">{join(_left_out(one, questions) for one in left[:MOST_LEFT_OUT])}</ul></details>'
        )
    return (
        f'<dl class="totals">{said}</dl>{enough}<p class="hint">What the tutor should have said, to questions with '
        f"their notes exactly as it gets them. Most come with the program; yours are added.</p>{shown}{out}"
    )


def _example(one: Mapping[str, Any], questions: Mapping[int, str]) -> str:
    question = questions.get(one.get("feedback_id") or 0) or _question(one)
    held = '<span class="tag">kept back for the exam</span>' if one.get("side") == "held_out" else ""
    return (
        f'<li><p class="example-question">{esc(shorten(question, 300))} {held}</p>'
        f'<p class="example-answer">{esc(shorten(str(one.get("completion") or ""), 400))}</p></li>'
    )


def _question(one: Mapping[str, Any]) -> str:
    """The question in the last message that would be sent."""
    messages = [message for message in _list(one.get("prompt")) if isinstance(message, Mapping)]
    return str(messages[-1].get("content", "")).rpartition("Question: ")[2] if messages else ""


def _left_out(one: Mapping[str, Any], questions: Mapping[int, str]) -> str:
    question = questions.get(one.get("feedback_id") or 0)
    what = f"“{shorten(question, 120)}”" if question else f"Rating {one.get('feedback_id')}"
    why = sentence(str(one.get("reason") or ""))
    return f'<li><span>{esc(what)}</span><span class="row-facts">{esc(why)}</span></li>'


def _row(row: Feedback) -> str:
    rating = "Good answer" if row.rating == "up" else "Not good"
    thumb = (
        f'<span class="thumb {row.rating}" title="{rating}">{icon("thumb")}'
        f'<span class="visually-hidden">{rating}: </span></span>'
    )
    why = _REASONS.get(row.reason or "", "")
    facts = [part for part in (why, when(row.updated_at)) if part]
    correction = (
        f'<p class="row-said"><span class="row-facts">Should have said:</span> {esc(shorten(row.correction, 300))}</p>'
        if row.correction
        else ""
    )
    fate, kind, more = _fate(row)
    because = f'<p class="row-said row-facts">{esc(more)}</p>' if more else ""
    return (
        f'<li>{thumb}<div class="row-what"><p class="row-question">{esc(shorten(row.question, 200))}</p>{correction}'
        f'{because}<p class="row-facts">{esc(" · ".join(facts))}</p></div>'
        f'<span class="tag {kind}">{esc(fate)}</span></li>'
    )


def _fate(row: Feedback) -> tuple[str, str, str]:
    """What became of it in a few words, its colour, and a sentence where one is needed."""
    match row.fate:
        case "rejected":
            return "Left out", "is-partial", sentence(row.fate_reason)
        case "in_dataset":
            return f"In data set {row.dataset_id}" if row.dataset_id else "In a data set", "", ""
        case "in_adapter":
            return f"In {row.adapter}" if row.adapter else "In an adapter", "is-correct", ""
        case "withdrawn":
            return "Taken back", "", sentence(row.fate_reason)
    return "Waiting", "", ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
