"""The Review page as HTML: the card in front of the learner, what comes after the last one, the cards that slip.

Values in, text out. A card's back is in nothing here before the learner asked for it: `Shown.back` is None until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tutor.scheduling import interval_text
from tutor.ui.card_source import Source
from tutor.ui.markup import READER_TAB, count, esc, join, shorten, url

BLANK = "____"
MAX_SIDE = 4000
_ORIGINS = {"question": "Question from a page", "takeaway": "Fill in the term", "answer": "From your chat"}
_RATINGS = ((1, "again", "Again"), (2, "hard", "Hard"), (3, "good", "Good"), (4, "easy", "Easy"))


@dataclass(frozen=True, slots=True)
class Shown:
    """The card on screen. `rests` says for each rating when the card would come back; `request_id` names the rating."""

    id: int
    origin: str
    front: str
    request_id: str
    back: str | None = None
    rests: tuple[tuple[str, str], ...] = ()
    source: Source | None = None
    leech: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """How many cards are due, were reviewed today, and exist; whether the latest rating can be taken back."""

    due: int
    today: int
    cards: int
    undo: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A card in a list. `chance` is None before its first review; `shown` names its page."""

    id: int
    front: str
    origin: str
    page: str
    due: datetime
    chance: float | None
    lapses: int
    suspended: bool
    source: Source | None = None


def page(study: str, curve: str, leeches: Sequence[Listed], cards: int) -> str:
    """The whole page around the card."""
    below = ""
    if cards:
        slipping = _leeches(leeches) if leeches else ""
        below = (
            f"{slipping}<section><h2>How well you remember</h2>{curve}</section>"
            '<details class="all-cards" data-load="cards"><summary>'
            f"All cards ({cards:,})</summary><div class='loaded' aria-live='polite'></div></details>"
        )
    return (
        '<div class="page" id="main" tabindex="-1" data-title="Review"><article class="sheet review"><h1>Review</h1>'
        f'<div id="study">{study}</div>{below}</article></div>'
    )


def card(shown: Shown, counts: Counts, note: str = "") -> str:
    """One card: its front, and once asked for its back with the ratings."""
    label = _ORIGINS.get(shown.origin, "Card")
    back, actions = "", ""
    if shown.back is None:
        actions = (
            '<button type="button" class="button" data-do="reveal">Show the answer <kbd>Space</kbd></button>'
        )
    else:
        back = (
            f'<div class="flash-back" tabindex="-1"><span class="flash-label">Answer</span>'
            f"<p>{esc(shown.back)}</p>{_source(shown.source)}</div>"
        )
        rests = dict(shown.rests)
        actions = join(
            f'<button type="button" class="rate is-{name}" data-do="rate" data-rating="{number}" '
            f'aria-keyshortcuts="{number}"><span><kbd>{number}</kbd> {title}</span>'
            f'<span class="rest">{esc(rests.get(name, ""))}</span></button>'
            for number, name, title in _RATINGS
        )
        actions = f'<div class="ratings" role="group" aria-label="How well did you know it?">{actions}</div>'
    slips = (
        '<p class="hint">This card keeps slipping. Reword it, or read its section again.</p>'
        if shown.leech
        else ""
    )
    more = (
        '<div class="flash-tools"><button type="button" class="text-button" data-do="edit-form">Edit</button>'
        '<button type="button" class="text-button" data-do="suspend">Suspend</button>'
        '<button type="button" class="text-button" data-do="delete" data-sure="Delete for good?">Delete</button>'
        f"{_curve_button(shown) if shown.back is not None else ''}</div>"
    )
    return (
        f'{_counts(counts, note)}<section class="flash" data-card="{shown.id}" data-request="{esc(shown.request_id)}"'
        f'{" data-open" if shown.back is not None else ""} aria-label="Card">'
        f'<div class="flash-front" tabindex="-1"><span class="flash-label">{label}</span>'
        f"<p>{blanked(shown.front)}</p></div>{back}{slips}<div class='flash-actions'>{actions}</div>"
        f'{more}<div class="card-curve"></div></section>'
        '<div class="after-card"><button type="button" class="button quiet" data-do="start" data-kind="due">'
        'Mixed quiz without the tutor</button><span class="hint">A few of these, asked and graded one after the '
        "other, without hints.</span></div>"
    )


def edit_form(card_id: int, front: str, back: str) -> str:
    """Both sides of a card to change."""
    return (
        f'<form class="flash flash-edit" data-do="edit" data-card="{card_id}"><h2>Edit the card</h2>'
        f'<label for="edit-front">Front</label><textarea id="edit-front" name="front" rows="3" maxlength="{MAX_SIDE}" '
        f'required>{esc(front)}</textarea><label for="edit-back">Back</label><textarea id="edit-back" name="back" '
        f'rows="5" maxlength="{MAX_SIDE}" required>{esc(back)}</textarea><p class="hint">What is known of your memory '
        'of this card stays as it is.</p><div class="flash-actions"><button type="submit" class="button">Save</button>'
        '<button type="button" class="button quiet" data-do="show">Cancel</button></div></form>'
    )


def done(
    counts: Counts,
    next_due: datetime | None,
    now: datetime,
    weak: Sequence[tuple[str, float]],
    note: str = "",
) -> str:
    """Nothing is due: when the next card is, and what can be done meanwhile. Without cards, where they come from.

    `next_due` and `now` are in the learner's time zone.
    """
    if not counts.cards:
        return (
            f'{_note(note)}<div class="empty"><p><strong>No cards yet.</strong> A card is made from every question you '
            "answer on a page, from the takeaways of each page you finish, and from answers you save in the chat.</p>"
            f'<p><a class="button" href="{esc(url())}">Open the study path</a></p></div>'
        )
    if next_due is None:
        says, wait = "All your cards are suspended. Resume some in the list below.", ""
    else:
        rest = interval_text(next_due - now)
        clock = f" ({next_due:%H:%M})" if next_due.date() == now.date() else ""
        says = f"The next card is due in {rest}{clock}."
        wait = f' data-next="{max(1, round((next_due - now).total_seconds()))}"'
    quizzes = ""
    if weak:
        buttons = join(
            f'<li><button type="button" class="chip" data-do="start" data-kind="concept" data-concept="{esc(name)}">'
            f'{esc(name)} <span class="chip-note">{score:.0%}</span></button></li>'
            for name, score in weak
        )
        quizzes = (
            '<div class="chips"><p class="chips-label">Meanwhile, a quiz on what you know least:</p>'
            f"<ul>{buttons}</ul></div>"
        )
    return (
        f'{_counts(counts, note)}<div class="flash all-done"{wait}>'
        f'<p class="done-title" tabindex="-1">Nothing is due.</p><p>{esc(says)}</p></div>{quizzes}'
    )


def listed(cards: Sequence[Listed], now: datetime) -> str:
    """Every card in one list, by page."""
    groups: dict[str, list[Listed]] = {}
    for each in cards:
        groups.setdefault(each.page, []).append(each)
    return join(
        f'<h3>{esc(title or "Without a page")}</h3><ul class="rows card-rows">'
        f"{join(_row(each, now) for each in group)}</ul>"
        for title, group in groups.items()
    )


def _row(each: Listed, now: datetime) -> str:
    if each.suspended:
        state = "suspended"
    elif each.due <= now:
        state = "due now"
    else:
        state = f"due in {interval_text(each.due - now)}"
    facts = [state] + ([] if each.chance is None else [f"{each.chance:.0%} remembered"])
    if each.lapses:
        facts.append(f"forgotten {count(each.lapses, 'time')}")
    return (
        f'<li data-card="{each.id}"><span class="card-front">{blanked(shorten(each.front, 160))}</span>'
        f'<span class="row-facts">{esc(" · ".join(facts))}</span>{_tools(each)}<div class="card-curve"></div></li>'
    )


def _tools(each: Listed) -> str:
    rest = ("resume", "Resume") if each.suspended else ("suspend", "Suspend")
    return (
        '<span class="row-tools"><button type="button" class="text-button" data-do="curve">Curve</button>'
        '<button type="button" class="text-button" data-do="edit-form">Edit</button>'
        f'<button type="button" class="text-button" data-do="{rest[0]}">{rest[1]}</button>'
        '<button type="button" class="text-button" data-do="delete" data-sure="Delete for good?">Delete</button></span>'
    )


def _leeches(cards: Sequence[Listed]) -> str:
    items = join(
        f'<li data-card="{each.id}"><span class="card-front">{blanked(shorten(each.front, 160))}</span>'
        f'<span class="row-facts">forgotten {count(each.lapses, "time")}</span>'
        f"{_source(each.source)}{_tools(each)}<div class='card-curve'></div></li>"
        for each in cards
    )
    return (
        '<section class="leeches"><h2>Cards that keep slipping</h2><p class="hint">You had learned these and forgot '
        "them again and again. Reading the section once more, or rewording the card, helps more than another "
        f'review.</p><ul class="rows card-rows">{items}</ul></section>'
    )


def _curve_button(shown: Shown) -> str:
    return '<button type="button" class="text-button" data-do="curve">Forgetting curve</button>'


def _counts(counts: Counts, note: str) -> str:
    today = f'<span class="today-count">{counts.today:,} reviewed today</span>' if counts.today else ""
    undo = (
        '<button type="button" class="text-button" data-do="undo" aria-keyshortcuts="U">Undo <kbd>U</kbd></button>'
        if counts.undo
        else ""
    )
    return (
        f'<div class="review-head"><span class="due-count" role="status"><strong>{counts.due:,}</strong> due</span>'
        f"{today}{undo}</div>{_note(note)}"
    )


def _note(note: str) -> str:
    return f'<p class="note" role="status">{esc(note)}</p>' if note else ""


def _source(source: Source | None) -> str:
    if source is None:
        return ""
    place = f"{source.title} › {source.section}" if source.section else source.title
    return (
        f'<a class="flash-source" href="{esc(source.link)}" target="{READER_TAB}">Read it in {esc(place)}</a>'
    )


def blanked(text: str) -> str:
    """Text with its gap drawn as a line, and named for screen readers."""
    gap = '<span class="blank"><span class="visually-hidden">(blank)</span></span>&NoBreak;'
    return esc(text).replace(BLANK, gap)
