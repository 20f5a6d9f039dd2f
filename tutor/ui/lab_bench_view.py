"""The review bench of the Lab page as HTML: six steps, one under the other. Values in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutor.lab_bench import MAX_CHARS, Inference
from tutor.review_classifier import LABELS
from tutor.ui import charts
from tutor.ui.lab_runs_view import sha
from tutor.ui.markup import count, esc, join

Json = Mapping[str, Any]
_NAMES = {"positive": "Positive", "neutral": "Neutral", "negative": "Negative"}


def bench(state: Json) -> str:
    """All steps. `state` is `tutor.lab_bench.ReviewBench.state`."""
    fresh = state["fresh"]
    deployed = "deploy" in fresh
    steps = (
        ("Collect", _collect(state), True),
        ("Clean", _clean(state, "clean" in fresh), "clean" in fresh),
        ("Train", _train(state, fresh), "train" in fresh),
        ("Evaluate", _evaluate(state, fresh), "evaluate" in fresh),
        ("Deploy", _deploy(state, fresh), deployed),
        ("Infer", _infer(state), False),
    )
    shown = join(
        f'<li class="bench-step{" is-done" if done else ""}"><h3>{name}'
        f"{'<span class=visually-hidden> (done)</span>' if done else ''}</h3>{body}</li>"
        for name, body, done in steps
    )
    reset = (
        '<button type="button" class="text-button" data-bench="reset" data-focus="reset">Start over</button>'
    )
    return f'<ol class="bench-steps">{shown}</ol>{reset}'


def _collect(state: Json) -> str:
    mine = [review for review in state["reviews"] if not review["held_out"]]
    held_out = [review for review in state["reviews"] if review["held_out"]]
    labelled = sum(review["label"] is not None for review in mine)
    own = [review for review in reversed(mine) if review["own"]]
    rows = join(_review(review) for review in (*own, *(review for review in mine if not review["own"])))
    exam = join(
        f'<li>{esc(review["text"])} <span class="tag">{_NAMES[review["label"]]}</span></li>'
        for review in held_out
    )
    kinds = join(f'<option value="{name}">{_NAMES[name]}</option>' for name in LABELS)
    return (
        f'<p class="bench-said">{count(len(mine), "review")}, {labelled} labelled. Label the rest, or add your own.</p>'
        f'<ul class="reviews" tabindex="0" aria-label="Reviews to label">{rows}</ul>'
        '<form class="bench-add" data-bench="add"><label for="bench-new">A review of your own</label>'
        f'<input class="field" id="bench-new" name="text" maxlength="{MAX_CHARS}" required autocomplete="off" '
        'data-focus="new"><select class="field" name="label" aria-label="Label"><option value="">No label</option>'
        f'{kinds}</select><button type="submit" class="button quiet">Add</button></form>'
        f'<details class="exam"><summary>{count(len(held_out), "review")} held out for the exam</summary>'
        f"<ul>{exam}</ul></details>"
    )


def _review(review: Json) -> str:
    number = review["id"]
    choices = join(
        f'<label><input type="radio" name="review-{number}" value="{value}" data-bench="label" data-review="{number}" '
        f'data-focus="label-{number}-{value}"{" checked" if (review["label"] or "") == value else ""}>'
        f"<span>{name}</span></label>"
        for value, name in (*_NAMES.items(), ("", "None"))
    )
    return (
        f'<li><p>{esc(review["text"])}</p><div class="review-tools"><fieldset class="segments">'
        f'<legend class="visually-hidden">Label of “{esc(review["text"])}”</legend>{choices}</fieldset>'
        f'<button type="button" class="text-button" data-bench="remove" data-review="{number}" '
        f'aria-label="Remove “{esc(review["text"])}”"><span>Remove</span></button></div></li>'
    )


def _clean(state: Json, fresh: bool) -> str:
    cleaned = state["cleaned"]
    said = "Twins, empty reviews and reviews without a label can’t be trained on."
    more = ""
    if cleaned and fresh:
        said = f"{count(len(cleaned['kept']), 'review')} to train on, {len(cleaned['dropped'])} left out."
        texts = {review["id"]: review["text"] for review in state["reviews"]}
        rows = join(
            f"<li><q>{esc(texts[number])}</q> <span>{esc(why)}</span></li>"
            for number, why in cleaned["dropped"]
        )
        more = f'<ul class="dropped">{rows}</ul>' if rows else ""
    elif cleaned:
        said = "The reviews have changed since; clean again."
    return _step(said, "clean", "Clean", primary=not fresh) + more


def _train(state: Json, fresh: Sequence[str]) -> str:
    made, ready = state["candidate"], "clean" in fresh
    if made is None:
        said = "Gradient descent, 60 steps, from weights of zero."
        return _step(said, "train", "Train", primary=ready, enabled=ready)
    stale = "" if "train" in fresh else " The reviews have changed since; train again."
    losses = made["losses"]
    said = f"{count(made['examples'], 'review')}, {made['parameters']:,} weights, {len(losses) - 1} steps.{stale}"
    start = "zeros" if made["from_zeros"] else "the last training"
    facts = (
        '<dl class="bench-facts">'
        f"<div><dt>Loss</dt><dd>{losses[0]:.3f} → {losses[-1]:.3f}</dd></div>"
        f"<div><dt>Weights</dt><dd>{sha(made['before'])} → {sha(made['fingerprint'])}</dd></div>"
        f'<div><dt>Moved</dt><dd>{made["change"]:.3f} <span class="hint">from {start}</span></dd></div></dl>'
    )
    button = _step(said, "train", "Train on", primary=ready and "train" not in fresh, enabled=ready)
    return button + _loss_chart(losses) + facts


def _loss_chart(losses: Sequence[float]) -> str:
    top = max(1.2, *losses)
    last = len(losses) - 1
    points = [(number / last, loss / top) for number, loss in enumerate(losses)]
    drawing = (
        charts.y_axis([(0.0, "0"), (0.5 / top, "0.5"), (1.0 / top, "1")])
        + charts.curve(points, "line")
        + charts.x_label(0, "before", "start")
        + charts.x_label(1, f"step {last}", "end")
    )
    rows = [(str(number), f"{losses[number]:.3f}") for number in range(0, last + 1, max(1, last // 6))]
    return charts.figure("Loss by step", drawing, ("Step", "Loss"), rows)


def _evaluate(state: Json, fresh: Sequence[str]) -> str:
    found, ready = state["evaluation"], "train" in fresh
    if found is None or "evaluate" not in fresh:
        said = "Nine reviews it has never seen. No weight changes."
        return _step(said, "evaluate", "Evaluate", primary=ready, enabled=ready)
    said = (
        f"{found['right']} of {found['asked']} right on reviews it has never seen; "
        f"{found['trained_right']} of {found['trained_asked']} on its own."
    )
    head = join(f'<th scope="col">{_NAMES[name]}</th>' for name in LABELS)
    body = join(
        f'<tr><th scope="row">{_NAMES[name]}</th>'
        + join(f'<td class="{_cell(i == j, n)}">{n}</td>' for j, n in enumerate(found["table"][i]))
        + "</tr>"
        for i, name in enumerate(LABELS)
    )
    table = (
        '<p class="hint">Rows: what it is. Columns: what the classifier says.</p><table class="confusion">'
        '<caption class="visually-hidden">Held-out reviews by what they are and what was said</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
        f'<p class="hint">Weights before the exam {sha(found["of"])}, after {sha(found["after"])}. One review is '
        f"{100 / found['asked']:.0f} points here: a bigger exam would say more.</p>"
    )
    return _step(said, "evaluate", "Evaluate again", primary=False, enabled=ready) + table


def _cell(diagonal: bool, number: int) -> str:
    return ("is-right" if diagonal else "is-wrong") if number else "is-none"


def _deploy(state: Json, fresh: Sequence[str]) -> str:
    deployed, ready = state["deployed"], "evaluate" in fresh and "deploy" not in fresh
    said = (
        "Nothing is in use yet."
        if deployed is None
        else f"Version {deployed['version']} is in use: {sha(deployed['fingerprint'])}"
    )
    rows = join(
        f'<li>Version {version["version"]}: {sha(version["fingerprint"])} <span class="hint">'
        f"{version['right']} of {version['asked']} right, {count(version['examples'], 'review')}</span></li>"
        for version in state["versions"][1:]
    )
    earlier = (
        f'<details class="exam"><summary>Earlier versions</summary><ul>{rows}</ul></details>' if rows else ""
    )
    return _step(said, "deploy", "Deploy", primary=ready, enabled=ready, safe=True) + earlier


def _infer(state: Json) -> str:
    off = "" if state["deployed"] else " disabled"
    return (
        '<p class="bench-said">Any review. The weights in use are read, never written.</p>'
        '<form class="bench-add is-short" data-bench="infer"><label for="bench-infer">Review</label>'
        f'<input class="field" id="bench-infer" name="text" maxlength="{MAX_CHARS}" required autocomplete="off" '
        f'data-focus="infer" placeholder="Lovely sound, but the strap broke"{off}>'
        f'<button type="submit" class="button"{off}>Infer</button></form>'
        '<div class="inferred" id="inferred" aria-live="polite"></div>'
    )


def inferred(found: Inference) -> str:
    """What the classifier says of one review."""
    best = max(range(len(LABELS)), key=lambda i: found.probabilities[i])
    bars = join(
        f'<div class="{"is-best" if i == best else ""}"><dt>{_NAMES[name]}</dt><dd><span class="bar-track">'
        f'<span style="width:{found.probabilities[i]:.1%}"></span></span>{found.probabilities[i]:.0%}</dd></div>'
        for i, name in enumerate(LABELS)
    )
    same = "the same" if found.before == found.after else "different"
    return (
        f'<p><q>{esc(found.text)}</q></p><dl class="chances">{bars}</dl><p class="hint">Version {found.version}. '
        f"Weights before {sha(found.before)}, after {sha(found.after)}: {same}.</p>"
    )


def _step(said: str, act: str, name: str, *, primary: bool, enabled: bool = True, safe: bool = False) -> str:
    """A line of what stands and the button of the step; `safe` marks text that is HTML already."""
    look = "button" if primary else "button quiet"
    off = "" if enabled else " disabled"
    return (
        f'<div class="bench-act"><p class="bench-said">{said if safe else esc(said)}</p><button type="button" '
        f'class="{look}" data-bench="{act}" data-focus="{act}"{off}>{name}</button></div>'
    )
