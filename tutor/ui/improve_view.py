"""The Improve page as HTML: its frame, and what is served. Values in, text out.

The queue is drawn in `improve_queue_view.py`, jobs in `improve_job_view.py`, verdicts in `improve_report_view.py`,
votes in `improve_vote_view.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import quote

from tutor.ui.markup import esc, join, url, when

if TYPE_CHECKING:
    from db.registry import Promotion
    from tutor.improve import Served

PARTS = ("served", "queue", "preview", "job", "live", "result", "vote")
BASE = "the base model"


def page(parts: Mapping[str, tuple[str, str]]) -> str:
    """The whole page from part -> (digest, HTML). Each part is drawn anew by itself, so that nothing else moves."""
    drawn = {
        name: f'<div data-part="{name}" data-digest="{esc(parts[name][0])}">{parts[name][1]}</div>'
        for name in PARTS
    }
    return (
        '<div class="page" id="main" tabindex="-1" data-title="Improve"><article class="sheet wide improve">'
        '<h1>Improve</h1><p class="meta">Retrieval answers from your pages at once. This page is about the slow, '
        "separate way: training.</p>"
        '<p class="visually-hidden" role="status" aria-live="polite" id="improve-told"></p>'
        f"{drawn['served']}"
        '<section aria-labelledby="queue-title"><h2 id="queue-title">What you told the tutor</h2>'
        f"{drawn['queue']}{drawn['preview']}</section>"
        '<section aria-labelledby="training-title"><h2 id="training-title">Training</h2>'
        f"{drawn['job']}{drawn['live']}</section>{drawn['result']}{drawn['vote']}</article></div>"
    )


def called(name: str | None) -> str:
    """A version as people call it."""
    return name or BASE


def served(now: Served, versions: Sequence[Promotion]) -> str:
    """What answers, the way back, and what answered before."""
    if now.name:
        name = f'<h2 class="now-name" id="now-title">{esc(now.name)}</h2>'
        what = f"a trained adapter on {esc(now.base)}"
    else:
        name = '<h2 class="now-name" id="now-title">The base model</h2>'
        what = f"{esc(now.base)}, without an adapter"
    since = f" · since {_since(now.since)}" if now.since else ""
    print_ = (
        f' · weights <code data-fingerprint="{esc(now.name or "")}" title="The first digits of the SHA-256 of '
        'everything that computes an answer">…</code>'
    )
    back = ""
    if now.can_roll_back:
        back = (
            '<button type="button" class="button quiet" data-do="rollback" data-focus="rollback">'
            f"Roll back to {esc(called(now.back_to))}</button>"
        )
    if now.undo is not None:
        back += (
            f'<p class="undo-line"><span>{esc(now.undo[0] or "The base model")} was taken back.</span>'
            f'<button type="button" class="button quiet" data-do="undo" data-focus="undo" '
            f'data-name="{esc(now.undo[0] or "")}">Undo</button></p>'
        )
    return (
        f'<section class="now" aria-labelledby="now-title"><p class="now-label">Answering now</p>{name}'
        f'<p class="now-facts">{what}{since}{print_}</p><div class="now-actions">{back}</div>'
        f"{_versions(versions)}</section>"
    )


def _versions(versions: Sequence[Promotion]) -> str:
    if not versions:
        return ""
    rows = join(
        f'<li><span class="version-name">{_link(one.adapter)}{_now(number)}</span>'
        f'<span class="version-why">{esc(sentence(one.reason))}</span>'
        f'<time class="row-facts" datetime="{one.created_at:%Y-%m-%dT%H:%MZ}">{when(one.created_at)}</time></li>'
        for number, one in enumerate(versions)
    )
    return (
        f'<details class="more" data-key="versions"><summary>What answered when ({len(versions)})</summary>'
        f'<ol class="rows versions" reversed>{rows}</ol></details>'
    )


def _link(name: str | None) -> str:
    if name is None:
        return "The base model"
    return f'<a href="{esc(report_url(name))}">{esc(name)}</a>'


def report_url(name: str) -> str:
    """Where an adapter's report is read."""
    return url(f"improve/report/{quote(name, safe='')}")


def _now(number: int) -> str:
    return "" if number else ' <span class="tag is-correct">now</span>'


def _since(moment: datetime) -> str:
    said = when(moment)
    return {"just now": "a moment ago"}.get(said, said)


def sentence(text: str | None) -> str:
    """A reason as a sentence."""
    said = " ".join((text or "").split())
    return f"{_first(said)}{'' if said.endswith(('.', '!', '?')) else '.'}" if said else ""


def is_number(value: Any) -> TypeGuard[float]:
    """Whether this, of a report or a job's row that somebody may have edited, can be shown as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]
