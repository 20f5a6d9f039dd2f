"""The Lab page's account of training and answering, and its tokens, as HTML. Values in, text out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tutor.lab_account import Account, Unit, thinned
from tutor.lab_tokens import Piece
from tutor.ui import charts
from tutor.ui.markup import count, day, esc, join

MOST_POINTS = 200
_NAMES: dict[Unit, str] = {"seconds": "Time", "tokens": "Tokens"}
_MARKS = {" ": "·", "\n": "⏎\n", "\t": "⇥"}


def account(found: Account) -> str:
    """What was spent on either side, and both charts."""
    charted = join(_side(found, unit) for unit in ("seconds", "tokens"))
    rows = join(
        f'<tr><th scope="row">{esc(training.name)}</th><td>{amount(training.seconds, "seconds")}</td>'
        f'<td>{amount(training.tokens, "tokens")}</td><td><span class="hint">{esc(day(training.at, year=True))}'
        f"{'' if training.here else ', came with the program'}</span></td></tr>"
        for training in found.trainings
    )
    trained = (
        '<div class="lab-table"><table><caption class="visually-hidden">Training so far</caption><thead><tr>'
        '<th scope="col">Trained</th><th scope="col">Time</th><th scope="col">Tokens</th><th scope="col">When</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
        if rows
        else '<p class="hint">No training job has run yet, so there is no cost for the line to cross.</p>'
    )
    return f'<div class="account">{charted}</div>{trained}'


def _side(found: Account, unit: Unit) -> str:
    running, once = found.running(unit), found.once(unit)
    spent = running[-1] if running else 0.0
    told = (
        f'<dl class="account-sums"><div><dt><i class="is-answering"></i>{count(len(running), "answer")}</dt>'
        f"<dd>{amount(spent, unit)}</dd></div>"
        f'<div><dt><i class="is-training"></i>Training, once</dt><dd>{amount(once, unit) if once else "–"}</dd></div>'
        f"</dl>"
    )
    return (
        f'<section class="account-side"><h3>{_NAMES[unit]}</h3>{told}{_chart(found, unit)}'
        f'<p class="hint">{esc(_crossing(found, unit))}</p></section>'
    )


def _crossing(found: Account, unit: Unit) -> str:
    if not found.once(unit):
        return "Nothing was trained, so there is nothing to cross."
    if number := found.crossing(unit):
        return f"Crossed with answer {number:,}: since then answering has cost more than training."
    if (left := found.still_to_go(unit)) is None:
        return "No answer yet."
    return f"Not crossed. At the mean of the answers so far it would take {count(left, 'more answer')}."


def _chart(found: Account, unit: Unit) -> str:
    running, once = found.running(unit), found.once(unit)
    if not running:
        return '<p class="empty">The line begins with your first question.</p>'
    top = _round_up(max(running[-1], once), unit)
    last = len(running)
    points = [(0.0, 0.0), *((number / last, spent / top) for number, spent in thinned(running, MOST_POINTS))]
    marks = charts.y_mark(once / top, "training") if once else ""
    if crossed := found.crossing(unit):
        marks += charts.x_mark(crossed / last, "crossing")
    labels = [(0.0, "0"), (0.5, _short(top / 2, unit)), (1.0, _short(top, unit))]
    drawing = (
        charts.y_axis(labels)
        + marks
        + charts.curve(points, "line")
        + charts.x_label(0, "0", "start")
        + charts.x_label(1, count(last, "answer"), "end")
    )
    shown = thinned(running, 10)
    rows = [(f"{number:,}", amount(spent, unit), amount(once, unit)) for number, spent in shown]
    label = f"{_NAMES[unit]} spent on answering, and on training once"
    return charts.figure(label, drawing, ("Answers", "Answering", "Training"), rows)


def amount(value: float, unit: Unit) -> str:
    """1.2 s, 8 min 12 s, 3 h 20 min; 12,431 tokens are 12,431."""
    if unit == "tokens":
        return f"{value:,.0f}"
    if value < 60:
        return f"{value:.1f}".removesuffix(".0") + " s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(value / 60)
    return f"{minutes // 60:,} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def _short(value: float, unit: Unit) -> str:
    """A round number for an axis: 50 k, 2 M."""
    if unit == "seconds":
        return amount(value, unit)
    for size, letter in ((1_000_000, " M"), (1000, " k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _round_up(value: float, unit: Unit) -> float:
    """The end of an axis whose half is a round number, too."""
    steps = (1.0, 2.0, 4.0, 10.0, 20.0, 40.0, 60.0, 120.0, 240.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
    if unit == "seconds" and value <= steps[-1]:
        return next(step for step in steps if step >= value)
    size = 3600.0 if unit == "seconds" else 1.0
    power = size * 10.0 ** math.floor(math.log10(max(value, size) / size))
    return next((step * power for step in (1, 2, 4) if step * power >= value), 10 * power)


def tokens(pieces: Sequence[Piece], text: str) -> str:
    """Every token with its number, and how many there are to a word."""
    if not pieces:
        return '<p class="hint">Type something.</p>'
    shown = join(_piece(piece) for piece in pieces)
    words = len(text.split())
    number = len(pieces)
    each = f"{number / words:.2f} tokens a word · " if words else ""
    facts = f"{each}{len(text) / number:.2f} characters a token"
    split = any(piece.kind == "bytes" for piece in pieces)
    note = (
        '<p class="hint">Dashed pieces are bytes: the character isn’t in the vocabulary and is put together from '
        "several.</p>"
        if split
        else ""
    )
    special = (
        '<p class="hint">Solid pieces are control tokens. In the chat they are taken apart first, so that nobody can '
        "end a message for the model.</p>"
        if any(piece.kind == "special" for piece in pieces)
        else ""
    )
    return (
        f'<p class="token-count"><strong>{count(number, "token")}</strong> <span class="hint">{count(words, "word")}, '
        f'{count(len(text), "character")} · {facts}</span></p><ol class="tokens">{shown}</ol>{note}{special}'
    )


def _piece(piece: Piece) -> str:
    of = f' title="bytes of {esc(piece.of.strip() or piece.of)}"' if piece.kind == "bytes" else ""
    text = piece.text if piece.kind == "bytes" else "".join(_MARKS.get(c, c) for c in piece.text)
    spoken = (
        f'<span class="visually-hidden"> bytes of {esc(piece.of)}</span>' if piece.kind == "bytes" else ""
    )
    return f'<li class="is-{piece.kind}"{of}><span>{esc(text)}</span>{spoken}<small>{piece.id}</small></li>'
