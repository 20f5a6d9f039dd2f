"""What was done in a period as HTML: the choice of period, kind and page, and the days. Values in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta, tzinfo

from tutor.ui.markup import count, esc, join, shorten, url
from tutor.ui.mastery_view import VERDICTS
from tutor.ui.timeline import Entry, TimelineDay

PERIODS = (("week", "This week"), ("month", "Last 30 days"), ("all", "All time"))
KINDS = (
    ("reading", "Reading"),
    ("answers", "Answers"),
    ("reviews", "Reviews"),
    ("questions", "Questions asked"),
)
SHOWN_DAYS = 14  # older ones wait behind a click
CURRENT = ' aria-current="true"'
_VERBS = {"reading": "Read", "answers": "Answered", "reviews": "Cards", "questions": "Asked"}
_WORDS = dict(VERDICTS)


def filters(period: str, kind: str | None, page: str | None, pages: Mapping[str, str]) -> str:
    """Tabs for the period, and a form for kind and page (`pages`: key -> title). Works without the script, too."""
    tabs = join(
        f'<a href="{esc(url("history", period=key, kind=kind, page=page))}#log" data-period="{key}"'
        f"{CURRENT if key == period else ''}>{label}</a>"
        for key, label in PERIODS
    )
    kinds = _options([("", "Everything"), *KINDS], kind or "")
    listed = _options([("", "All pages"), *pages.items()], page or "")
    return (
        f'<nav class="tabs" aria-label="Period">{tabs}</nav>'
        '<form class="filters" action="./history#log" method="get" data-do="filter">'
        f'<input type="hidden" name="period" value="{esc(period)}">'
        f'<label>Show <select name="kind">{kinds}</select></label>'
        f'<label>of <select name="page">{listed}</select></label></form>'
    )


def days(found: Sequence[TimelineDay], today: date, zone: tzinfo) -> str:
    """The days, the latest first."""
    if not found:
        return (
            '<p class="empty">Nothing of this kind in this period. '
            f'<a href="{esc(url())}">Go on with the study path</a>.</p>'
        )
    shown, earlier = found[:SHOWN_DAYS], found[SHOWN_DAYS:]
    more = (
        f'<details class="earlier"><summary>{count(len(earlier), "earlier day")}</summary>'
        f"{join(_day(each, today, zone) for each in earlier)}</details>"
    )
    return f'<div class="timeline">{join(_day(each, today, zone) for each in shown)}{more if earlier else ""}</div>'


def _options(choices: Sequence[tuple[str, str]], chosen: str) -> str:
    return join(
        f'<option value="{esc(key)}"{" selected" if key == chosen else ""}>{esc(label)}</option>'
        for key, label in choices
    )


def _day(each: TimelineDay, today: date, zone: tzinfo) -> str:
    entries = join(_entry(entry, zone) for entry in each.entries)
    return (
        f'<section class="day" aria-label="{esc(_named(each.day, today))}"><h3>{esc(_named(each.day, today))}</h3>'
        f"<ol>{entries}</ol></section>"
    )


def _entry(entry: Entry, zone: tzinfo) -> str:
    text = esc(shorten(entry.text, 160))
    title = f'<a href="{esc(entry.link)}">{text}</a>' if entry.link else f"<span>{text}</span>"
    detail = f"<p>{esc(shorten(entry.detail, 200))}</p>" if entry.detail else ""
    tag = (
        f'<span class="tag is-{esc(entry.tag)}">{esc(_WORDS.get(entry.tag, entry.tag))}</span>'
        if entry.tag
        else ""
    )
    facts = f'<span class="row-facts">{esc(entry.facts)}</span>' if entry.facts else ""
    at = entry.at.astimezone(zone)
    return (
        f'<li class="is-{entry.kind}"><time datetime="{at.isoformat(timespec="minutes")}">{at:%H:%M}</time>'
        f'<div><span class="entry-kind">{_VERBS[entry.kind]}</span> {title} {tag}{detail}{facts}</div></li>'
    )


def _named(day: date, today: date) -> str:
    if day == today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    return f"{day:%A}, {day.day} {day:%B}" + (f" {day.year}" if day.year != today.year else "")
