"""The History page as HTML: totals, a chart of minutes by day, pages read, questions asked, your data.

Values in, text out. Its other parts are `history_charts.py`, `mastery_view.py` and `timeline_view.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from tutor.ui import charts
from tutor.ui.markup import count, esc, join, minutes, shorten, url
from tutor.ui.timeline import STATUS_WORDS

SHOWN_QUESTIONS = 20  # older ones wait behind a click
_PARTS = (
    ("days", "Days"),
    ("accuracy", "Accuracy"),
    ("concepts", "What you know"),
    ("log", "What you did"),
    ("data", "Your data"),
)


@dataclass(frozen=True, slots=True)
class Day:
    """One day in the server's time zone."""

    day: date
    seconds: float
    questions: int


@dataclass(frozen=True, slots=True)
class PageRead:
    """A page that was opened: `link` is None where it is no longer indexed."""

    title: str
    link: str | None
    sections: str
    seconds: float
    last: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what came of it. With `held_back` the answer waits for the learner's own try, and isn't here."""

    question: str
    answer: str
    status: str
    link: str
    at: str
    rating: str | None = None
    held_back: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """What this week comes to: `answers` are those to the tutor's questions, `days` those with any study."""

    seconds: float
    sections: int
    questions: int
    days: int
    answers: int = 0
    reviews: int = 0


def page(totals: Totals, streak: str, heatmap: str, accuracy: str, concepts: str, log: str, data: str) -> str:
    """The whole page; all but the totals are HTML."""
    ways = join(f'<a href="#{anchor}">{name}</a>' for anchor, name in _PARTS)
    return (
        '<div class="page" id="main" tabindex="-1" data-title="History"><article class="sheet wide history">'
        f'<h1>History</h1>{_totals(totals)}<nav class="ways" aria-label="On this page">{ways}</nav>'
        f'<section id="days"><h2>Days</h2>{streak}{heatmap}</section>'
        f'<section id="accuracy"><h2>Accuracy by week</h2>{accuracy}</section>'
        f'<section id="concepts"><h2>What you know</h2><div id="mastery">{concepts}</div></section>'
        f'<section id="log">{log}</section><section id="data"><h2>Your data</h2>{data}</section>'
        "</article></div>"
    )


def log(filters: str, minutes_chart: str, timeline: str, pages: str, asked: str) -> str:
    """What was done in the chosen period; "" leaves a part out."""
    parts = (
        ("Minutes by day", minutes_chart),
        ("Day by day", timeline),
        ("Pages read", pages),
        ("Questions asked", asked),
    )
    shown = join(f"<section><h3>{title}</h3>{part}</section>" for title, part in parts if part)
    return f'<h2>What you did</h2>{filters}<div class="log-body">{shown}</div>'


def chart(days: Sequence[Day]) -> str:
    """Bars from zero, one a day, with their values for screen readers in a table."""
    if not any(day.seconds > 0 for day in days):
        return (
            '<p class="empty">No study time in this period. Time counts while a page is open in front of you: '
            f'<a href="{esc(url())}">open the study path</a>.</p>'
        )
    top = nice_top(max(day.seconds for day in days) / 60)
    step = 100 / len(days)
    axis = charts.y_axis(
        [(share, f"{top * share:g}{' min' if share == 1 else ''}") for share in (0.0, 0.5, 1.0)]
    )
    bars = []
    every = max(1, math.ceil(len(days) / 7))
    for index, day in enumerate(days):
        middle = step * (index + 0.5)
        tall = charts.HEIGHT * (day.seconds / 60) / top
        label = f"{_long(day.day)}: {minutes(day.seconds)}, {count(day.questions, 'question')}"
        bars.append(
            f'<g><title>{esc(label)}</title><rect x="{step * index:.2f}%" y="0" width="{step:.2f}%" '
            f'height="{charts.HEIGHT}" class="hit"/>'
            f'<rect x="{middle - step * 0.3:.2f}%" y="{charts.HEIGHT - tall:.1f}" '
            f'width="{step * 0.6:.2f}%" height="{tall:.1f}" rx="2" class="bar"/></g>'
        )
        if (len(days) - 1 - index) % every == 0:
            bars.append(charts.x_label(middle / 100, _short(day.day, len(days))))
    rows = [(_long(day.day), f"{day.seconds / 60:.0f}") for day in days if day.seconds]
    return charts.figure("Minutes of study by day", axis + join(bars), ("Day", "Minutes"), rows)


def nice_top(longest: float) -> float:
    """The end of the minutes axis: at least 5, whole halves, just above the longest day."""
    for top in (6, 10, 20, 30, 40, 60, 80, 120, 180, 240, 360, 480, 720, 960, 1440):
        if longest <= top:
            return float(top)
    return math.ceil(longest / 240) * 240.0


def fill_days(days: Sequence[Day], first: date, last: date) -> list[Day]:
    """The days from first to last, those without activity as zero."""
    known = {day.day: day for day in days}
    span = (last - first).days
    return [known.get(d := first + timedelta(n), Day(d, 0.0, 0)) for n in range(span + 1)]


def _totals(totals: Totals) -> str:
    facts = (
        (minutes(totals.seconds), "studied"),
        (f"{totals.sections:,}", "section read" if totals.sections == 1 else "sections read"),
        (f"{totals.answers:,}", "answer given" if totals.answers == 1 else "answers given"),
        (f"{totals.reviews:,}", "card reviewed" if totals.reviews == 1 else "cards reviewed"),
        (f"{totals.questions:,}", "question asked" if totals.questions == 1 else "questions asked"),
        (f"{totals.days} of 7", "days active"),
    )
    items = join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for value, label in facts)
    return f'<h2 class="visually-hidden">This week</h2><p class="meta">This week</p><dl class="totals">{items}</dl>'


def pages(read: Sequence[PageRead]) -> str:
    """The pages that were opened in the period."""
    if not read:
        return f'<p class="empty">No page was opened in this period. <a href="{esc(url())}">Start reading</a>.</p>'
    rows = join(
        f"<li>{_page_title(p)}<span class='row-facts'>"
        f"{esc(p.sections)} · {minutes(p.seconds)} · {esc(p.last)}</span></li>"
        for p in read
    )
    return f'<ul class="rows">{rows}</ul>'


def _page_title(page: PageRead) -> str:
    return (
        f'<a href="{esc(page.link)}">{esc(page.title)}</a>'
        if page.link
        else f"<span>{esc(page.title)}</span>"
    )


def questions(asked: Sequence[Question]) -> str:
    """The questions asked in the period, each with its answer."""
    if not asked:
        return (
            '<p class="empty">No question was asked in this period. '
            f'<a href="{esc(url("chat"))}">Ask your first one</a>.</p>'
        )
    shown, earlier = asked[:SHOWN_QUESTIONS], asked[SHOWN_QUESTIONS:]
    more = (
        f'<details class="earlier"><summary>{count(len(earlier), "earlier question")}</summary>'
        f'<ul class="rows">{join(_question(q) for q in earlier)}</ul></details>'
    )
    return f'<ul class="rows">{join(_question(q) for q in shown)}</ul>' + (more if earlier else "")


def _question(q: Question) -> str:
    return (
        f'<li class="asked-row"><a href="{esc(q.link)}">{esc(shorten(q.question, 160))}</a>'
        f"<p>{_answer(q)}</p>"
        f'<span class="row-facts">{STATUS_WORDS.get(q.status, q.status)} · {esc(q.at)}{_rated(q.rating)}</span></li>'
    )


def _answer(q: Question) -> str:
    if q.held_back:
        return "The answer waits in the chat until you have tried yourself."
    return esc(shorten(q.answer, 220)) if q.answer else "No answer."


def _rated(rating: str | None) -> str:
    return {"up": " · rated good", "down": " · rated not good"}.get(rating or "", "")


def _long(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"


def _short(day: date, shown: int) -> str:
    return f"{day:%a}" if shown <= 7 else f"{day.day} {day:%b}"
