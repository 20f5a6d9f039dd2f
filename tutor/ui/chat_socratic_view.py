"""What a Socratic turn shows before its answer, and the learner's own try above it, as HTML. Values in, text out.

`before` takes only what `tutor.socratic` made to be shown early; it never sees the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutor.socratic import Tried
from tutor.ui.lesson_view import VERDICTS, key_point
from tutor.ui.markup import READER_TAB, count, esc, join
from tutor.ui.review_view import blanked

MAX_REPLY_CHARS = 4000


@dataclass(frozen=True, slots=True)
class Held:
    """A turn whose answer is held back. `places` are (page title, heading or "", link); `ready` says that there is
    an answer to show."""

    places: Sequence[tuple[str, str, str]]
    sentence: str
    question: str
    ready: bool


def switch() -> str:
    """The switch of the composer. The browser remembers how it stands."""
    return (
        '<label class="switch"><input type="checkbox" role="switch" id="socratic-on" '
        'aria-describedby="socratic-how"><span class="switch-name">Socratic</span> '
        '<span class="switch-how" id="socratic-how">A hint first, then the answer</span></label>'
    )


def before(turn_id: int, held: Held) -> str:
    """Hint, question, and room for a try; nothing where the turn was stopped before it had an answer."""
    if not held.ready:
        return ""
    gapped = (
        f'<blockquote class="nudge-sentence">{blanked(held.sentence)}</blockquote>' if held.sentence else ""
    )
    name = f"reply-{turn_id}"
    return (
        f'<div class="nudge">{_look(held)}{gapped}<p class="nudge-question" id="{name}-q">{esc(held.question)}</p>'
        f'<form data-act="reply" novalidate><label for="{name}">Your answer, as far as you can</label>'
        f'<textarea id="{name}" name="reply" rows="3" maxlength="{MAX_REPLY_CHARS}" autocomplete="off" '
        f'aria-describedby="{name}-q"></textarea>'
        '<div class="actions"><button type="submit" class="button">Check my answer</button>'
        '<button type="button" class="button quiet" data-act="reveal">Show the answer</button></div></form></div>'
    )


def tried(own: Tried, *, opened: bool) -> str:
    """The learner's own answer with what it made of the real one. Folded, unless it was just given."""
    hits = sum(point.hit for point in own.points)
    verdict = own.verdict if own.verdict in VERDICTS else "incorrect"
    made = f"{hits} of {count(len(own.points), 'point')}"
    points = join(key_point(point) for point in own.points)
    return (
        f'<details class="tried"{" open" if opened else ""}><summary tabindex="0">'
        f'<span class="verdict-chip is-{verdict}">{VERDICTS[verdict]}</span>'
        f'<span>Your answer makes {made}</span></summary><p class="tried-reply">{esc(own.reply)}</p>'
        f'<ul class="points">{points}</ul></details>'
    )


def _look(held: Held) -> str:
    """Where to look: each page with its sections as links."""
    pages: dict[str, list[str]] = {}
    for title, heading, link in held.places:
        name = heading.rpartition(" › ")[2] or "the page"
        pages.setdefault(title, []).append(f'<a target="{READER_TAB}" href="{esc(link)}">{esc(name)}</a>')
    return join(
        f'<p class="nudge-place">Look in <strong>{esc(title)}</strong>: {" and ".join(links)}</p>'
        for title, links in pages.items()
    )
