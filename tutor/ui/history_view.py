"""The History page as HTML: totals, a chart of minutes by day, pages read, questions asked. Values in, text out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from tutor.ui.markup import count, esc, join, minutes, shorten, url

SHOWN_QUESTIONS = 20  # older ones wait behind a click
PERIODS = (("week", "This week"), ("month", "Last 30 days"), ("all", "All time"))
CURRENT = ' aria-current="true"'
_HEIGHT = 160  # pixels of the tallest bar; app.css leaves room for the labels around it
_STATUS = {
    "answered": "Answered",
    "quoted": "Quoted",
    "not_covered": "Not covered",
    "interrupted": "Stopped",
    "failed": "Failed",
}


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
    """A question and what came of it."""

    question: str
    answer: str
    status: str
    link: str
    at: str
    rating: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """What this week comes to."""

    seconds: float
    sections: int
    questions: int
    days: int


def page(
    period: str,
    totals: Totals,
    days: Sequence[Day],
    pages: Sequence[PageRead],
    questions: Sequence[Question],
) -> str:
    """The whole page."""
    tabs = join(
        f'<a href="{esc(url("history", period=key))}"{CURRENT if key == period else ""}>{label}</a>'
        for key, label in PERIODS
    )
    return (
        '<div class="page" id="main" tabindex="-1" data-title="History"><article class="sheet wide"><h1>History</h1>'
        f'{_totals(totals)}<nav class="tabs" aria-label="Period">{tabs}</nav>'
        f"<section><h2>Minutes by day</h2>{chart(days)}</section>"
        f"<section><h2>Pages read</h2>{_pages(pages)}</section>"
        f"<section><h2>Questions asked</h2>{_questions(questions)}</section></article></div>"
    )


def chart(days: Sequence[Day]) -> str:
    """Bars from zero, one a day, with their values for screen readers in a table."""
    if not any(day.seconds > 0 for day in days):
        return (
            '<p class="empty">No study time in this period. Time counts while a page is open in front of you: '
            f'<a href="{esc(url())}">open the study path</a>.</p>'
        )
    top = nice_top(max(day.seconds for day in days) / 60)
    step = 100 / len(days)
    lines, bars = [], []
    for share in (0.0, 0.5, 1.0):
        y = _HEIGHT * (1 - share)
        label = f"{top * share:g}{' min' if share == 1 else ''}"
        lines.append(
            f'<line x1="0" x2="100%" y1="{y:g}" y2="{y:g}" class="{"grid" if share else "axis"}"/>'
            f'<text x="-8" y="{y + 4:g}" text-anchor="end">{label}</text>'
        )
    every = max(1, math.ceil(len(days) / 7))
    for index, day in enumerate(days):
        middle = step * (index + 0.5)
        tall = _HEIGHT * (day.seconds / 60) / top
        label = f"{_long(day.day)}: {minutes(day.seconds)}, {count(day.questions, 'question')}"
        bars.append(
            f'<g><title>{esc(label)}</title><rect x="{step * index:.2f}%" y="0" width="{step:.2f}%" '
            f'height="{_HEIGHT}" class="hit"/><rect x="{middle - step * 0.3:.2f}%" y="{_HEIGHT - tall:.1f}" '
            f'width="{step * 0.6:.2f}%" height="{tall:.1f}" rx="2" class="bar"/></g>'
        )
        if (len(days) - 1 - index) % every == 0:
            name = esc(_short(day.day, len(days)))
            bars.append(f'<text x="{middle:.2f}%" y="{_HEIGHT + 20}" text-anchor="middle">{name}</text>')
    rows = join(
        f"<tr><td>{_long(day.day)}</td><td>{day.seconds / 60:.0f}</td></tr>" for day in days if day.seconds
    )
    return (
        f'<figure class="chart"><svg role="img" aria-label="Minutes of study by day">{join(lines)}{join(bars)}</svg>'
        f'<div class="visually-hidden"><table><caption>Minutes of study by day</caption>{rows}</table></div></figure>'
    )


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
        (f"{totals.questions:,}", "question asked" if totals.questions == 1 else "questions asked"),
        (f"{totals.days} of 7", "days active"),
    )
    items = join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for value, label in facts)
    return f'<h2 class="visually-hidden">This week</h2><p class="meta">This week</p><dl class="totals">{items}</dl>'


def _pages(pages: Sequence[PageRead]) -> str:
    if not pages:
        return f'<p class="empty">No page was opened in this period. <a href="{esc(url())}">Start reading</a>.</p>'
    rows = join(
        f"<li>{_page_title(p)}<span class='row-facts'>"
        f"{esc(p.sections)} · {minutes(p.seconds)} · {esc(p.last)}</span></li>"
        for p in pages
    )
    return f'<ul class="rows">{rows}</ul>'


def _page_title(page: PageRead) -> str:
    return (
        f'<a href="{esc(page.link)}">{esc(page.title)}</a>'
        if page.link
        else f"<span>{esc(page.title)}</span>"
    )


def _questions(questions: Sequence[Question]) -> str:
    if not questions:
        return (
            '<p class="empty">No question was asked in this period. '
            f'<a href="{esc(url("chat"))}">Ask your first one</a>.</p>'
        )
    shown, earlier = questions[:SHOWN_QUESTIONS], questions[SHOWN_QUESTIONS:]
    more = (
        f'<details class="earlier"><summary>{count(len(earlier), "earlier question")}</summary>'
        f'<ul class="rows">{join(_question(q) for q in earlier)}</ul></details>'
    )
    return f'<ul class="rows">{join(_question(q) for q in shown)}</ul>' + (more if earlier else "")


def _question(q: Question) -> str:
    return (
        f'<li class="asked-row"><a href="{esc(q.link)}">{esc(shorten(q.question, 160))}</a>'
        f"<p>{esc(shorten(q.answer, 220)) if q.answer else 'No answer.'}</p>"
        f'<span class="row-facts">{_STATUS.get(q.status, q.status)} · {esc(q.at)}{_rated(q.rating)}</span></li>'
    )


def _rated(rating: str | None) -> str:
    return {"up": " · rated good", "down": " · rated not good"}.get(rating or "", "")


def _long(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"


def _short(day: date, shown: int) -> str:
    return f"{day:%a}" if shown <= 7 else f"{day.day} {day:%b}"
