"""Training on the Improve page: what a job is doing, what may be done with it, and how its loss falls. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tutor.improve import LIVE, MINUTES, RESUMABLE
from tutor.ui import charts
from tutor.ui.improve_view import is_number, sentence
from tutor.ui.markup import count, esc, join, minutes, when

if TYPE_CHECKING:
    from tutor.improve import JobView

DEFAULT_MINUTES = 15
MOST_POINTS = 240
_STAGES = (
    (
        "collecting",
        "Collect",
        "Ratings and examples become a data set; some of it is kept back for the exam.",
    ),
    ("training", "Train", "A small adapter learns. The base model’s weights stay as they are."),
    (
        "evaluating",
        "Examine",
        "The candidate answers the questions that were kept back, and so does what answers now.",
    ),
    (
        "registering",
        "Register",
        "The adapter is kept with its report. It answers nobody until it is promoted.",
    ),
)
_AFTER_TRAINING = ("evaluating", "registering", "done")
_SAID = {
    "starting": "Starting…",
    "running": "Running",
    "stopping": "Stopping at the next safe point; what was learned so far is kept.",
    "stopped": "Stopped unexpectedly",
    "cancelled": "Stopped by you",
    "failed": "Failed",
    "done": "Done",
}


def job(view: JobView | None, earlier: Sequence[JobView] = ()) -> str:
    """The state in words, and the buttons that fit it. Says nothing that changes while a job runs by itself."""
    if view is None:
        return (
            "<p>Nothing was trained on this machine yet. A training makes a small adapter from your ratings and the "
            f"examples that come with the program. {_PROMISE}</p>{_start()}"
        )
    number = view.job.id
    buttons = ""
    if view.state in LIVE:
        waiting = view.state == "stopping"
        buttons = (
            f'<button type="button" class="button quiet" data-do="cancel" data-job="{number}" data-focus="cancel"'
            f"{' disabled' if waiting else ''}>{'Stopping…' if waiting else 'Stop'}</button>"
        )
        note = f'<p class="hint">{_PROMISE}</p>'
    else:
        if view.state in RESUMABLE:
            buttons = (
                f'<button type="button" class="button" data-do="resume" data-job="{number}" data-focus="resume">'
                "Resume</button>"
            )
        note = f'<div class="anew">{_start(quiet=view.state in RESUMABLE)}</div>'
    return (
        f'<div class="job is-{view.state}"><div class="job-head"><div><p class="job-state">'
        f'<strong>Training {number}</strong> <span class="tag {_colour(view.state)}">{_word(view)}</span></p>'
        f"{_problem(view)}</div>{buttons}</div>{note}{_earlier(earlier)}</div>"
    )


def live(view: JobView | None) -> str:
    """What changes while a job runs: its stage, how far it is, its loss."""
    if view is None:
        return ""
    rows = [row for row in view.job.metrics if isinstance(row, Mapping)]
    losses = [
        (row["step"], row["loss"])
        for row in rows
        if is_number(row.get("step")) and is_number(row.get("loss"))
    ]
    running = view.state in LIVE
    planned = None
    if running and view.job.stage not in _AFTER_TRAINING:
        planned = next((row["steps"] for row in reversed(rows) if is_number(row.get("steps"))), None)
    bar = (
        f'<progress max="1" value="{view.job.progress:.3f}" aria-label="Progress of training {view.job.id}"></progress>'
        if running
        else ""
    )
    return (
        f'<div class="live" data-stage="{esc(stage_told(view))}">{_stages(view)}{bar}{_facts(view, rows)}'
        f"{loss_chart(losses, planned)}</div>"
    )


def stage_told(view: JobView | None) -> str:
    """What a screen reader hears when it changes."""
    if view is None:
        return ""
    if view.state == "running":
        stage = next((f"{name}. {what}" for key, name, what in _STAGES if key == view.job.stage), "Running.")
        return f"Training {view.job.id}: {stage}"
    return f"Training {view.job.id}: {_SAID[view.state]}"


def loss_chart(losses: Sequence[tuple[float, float]], planned: float | None) -> str:
    """The loss of each step, and its mean over the last few. The axes stay as they are while the curve grows.

    `planned` is how many steps there will be; None once there won't be more: the clock may have ended them early.
    """
    finite = [(step, loss) for step, loss in losses if math.isfinite(loss) and math.isfinite(step)]
    if len(finite) < 2:
        return ""
    top = _nice(max(loss for _, loss in finite))  # of all points: thinning them must not move the axis
    finite = _thin(finite)
    last = finite[-1][0]
    wide = max(float(planned or 0), 1.0, *(step for step, _ in finite))  # one that was resumed repeats steps
    smooth, mean = [], finite[0][1]
    for step, loss in finite:
        mean += (loss - mean) * 0.25
        smooth.append((step / wide, min(mean / top, 1)))
    drawing = (
        charts.y_axis([(0, "0"), (0.5, f"{top / 2:g}"), (1, f"{top:g}")])
        + charts.curve(((step / wide, min(loss / top, 1)) for step, loss in finite), "raw")
        + charts.curve(smooth, "mean")
        + charts.x_label(0, "0", "start")
        + charts.x_label(0.5, "step")
        + charts.x_label(1, f"{wide:,.0f}", "end")
    )
    every = max(1, len(finite) // 10)
    rows = [(f"{step:g}", f"{loss:.2f}") for step, loss in [*finite[:-1:every], finite[-1]]]
    legend = (
        '<figcaption class="chart-note"><strong>Loss</strong> how surprised the adapter is by the right answer; it '
        "should fall</figcaption>"
    )
    label = f"Loss from {finite[0][1]:.2f} at the beginning to {mean:.2f} at step {last:g} of {wide:g}"
    return charts.figure(label, drawing, ("Step", "Loss"), rows, legend)


_PROMISE = (
    "You can go on learning meanwhile: training waits while an answer is written, and survives a restart."
)


def _start(*, quiet: bool = False) -> str:
    options = join(
        f'<option value="{number}"{" selected" if number == DEFAULT_MINUTES else ""}>{number} minutes</option>'
        for number in MINUTES
    )
    return (
        '<form class="start" data-do="start"><label>Learn for at most <select name="minutes" data-focus="minutes">'
        f'{options}<option value="">as long as it takes</option></select></label>'
        f'<button type="submit" class="button{" quiet" if quiet else ""}" data-focus="start">'
        f"{'Start anew' if quiet else 'Start training'}</button></form>"
    )


def _word(view: JobView) -> str:
    return "Stopping" if view.state == "stopping" else _SAID[view.state]


def _colour(state: str) -> str:
    colours = {"done": "is-correct", "failed": "is-incorrect", "stopped": "is-partial"}
    return colours.get(state, "is-live" if state in LIVE else "")


def _problem(view: JobView) -> str:
    if view.state == "failed":
        return f'<p class="error">{esc(sentence(view.problem))}</p>'
    if view.state == "stopped":
        last = f" Its last words: {esc(view.problem)}" if view.problem else ""
        return f'<p class="row-facts">Nobody runs it any more. It goes on from its last checkpoint.{last}</p>'
    if view.state == "cancelled":
        return '<p class="row-facts">It can go on from its last checkpoint.</p>'
    if view.state == "done" and view.job.finished_at:
        took = _took(view)
        return f'<p class="row-facts">{when(view.job.finished_at)}{f" · took {took}" if took else ""}</p>'
    return ""


def _stages(view: JobView) -> str:
    keys = [key for key, _, _ in _STAGES]
    done = view.state == "done" or view.job.stage == "done"
    at = len(keys) if done else keys.index(view.job.stage) if view.job.stage in keys else -1
    items = []
    for number, (_, name, what) in enumerate(_STAGES):
        kind = "is-done" if number < at else "is-current" if number == at else "is-ahead"
        word = {"is-done": "done", "is-current": "now", "is-ahead": "not yet"}[kind]
        now = ' aria-current="step"' if kind == "is-current" else ""
        items.append(
            f'<li class="{kind}"{now}><span class="stage-name">{name}<span class="visually-hidden"> ({word})</span>'
            f'</span><span class="stage-what">{what}</span></li>'
        )
    return f'<ol class="stages" aria-label="Stages of training">{join(items)}</ol>'


def _facts(view: JobView, rows: Sequence[Mapping[str, Any]]) -> str:
    trained = next((row for row in reversed(rows) if is_number(row.get("loss"))), None)
    counted = next(
        (row for row in reversed(rows) if is_number(row.get("done")) and is_number(row.get("of"))), None
    )
    facts: list[tuple[str, str]] = []
    if trained and is_number(trained.get("steps")):
        facts.append(("Step", f"{trained['step']:,.0f} of {trained['steps']:,.0f}"))
    if trained:
        facts.append(("Loss", f"{trained['loss']:.2f}"))
    if trained and is_number(trained.get("examples")):
        facts.append(("Examples seen", f"{trained['examples']:,.0f}"))
    if counted and view.state in LIVE and counted.get("stage") == view.job.stage:
        name = {"collecting": "Looked up", "evaluating": "Examined"}.get(view.job.stage, "Done")
        facts.append((name, f"{counted['done']:,.0f} of {counted['of']:,.0f}"))
    if (
        view.state == "running"
        and view.job.stage == "training"
        and trained
        and is_number(trained.get("seconds_left"))
    ):
        facts.append(("Learning left", minutes(trained["seconds_left"])))
    elif trained and is_number(trained.get("seconds")):
        facts.append(("Learned for", minutes(trained["seconds"])))
    if not facts:
        return ""
    return f'<dl class="totals">{join(f"<div><dt>{name}</dt><dd>{esc(said)}</dd></div>" for name, said in facts)}</dl>'


def _earlier(views: Sequence[JobView]) -> str:
    if not views:
        return ""
    rows = join(
        f"<li><span>Training {view.job.id}</span>"
        f'<span class="row-facts">{esc(shortened(view))}</span>'
        f'<span class="row-facts">{when(view.job.finished_at or view.job.created_at)}</span></li>'
        for view in views[:20]
    )
    return (
        f'<details class="more" data-key="runs"><summary>{count(len(views), "earlier training")}</summary>'
        f'<ul class="rows runs">{rows}</ul></details>'
    )


def shortened(view: JobView) -> str:
    """How an earlier job ended, in a line."""
    return f"{_SAID[view.state]}{f': {view.problem}' if view.problem else ''}"


def _took(view: JobView) -> str:
    started, ended = view.job.started_at, view.job.finished_at or datetime.now(UTC)
    return minutes((ended - started).total_seconds()) if started else ""


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS, each the mean of its neighbours; where it ends, it ends."""
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]


def _nice(most: float) -> float:
    return next(
        (top for top in (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20) if most <= top),
        math.ceil(most / 10) * 10.0,
    )
