"""A page's questions as HTML: asked, answered, appealed. Values in, text out.

`asked` takes what a learner may see before answering (`Posed`), `answered` what they may see after (`Result`); there
is no third input, so nothing else of a question can get into a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tutor.lesson_values import MAX_ANSWER_CHARS, Gate, PointResult, Posed, Result
from tutor.scheduling import interval_text
from tutor.ui.library import COURSE
from tutor.ui.markup import count, esc, join, plain, reader_url, when


class KeyPoint(Protocol):
    """A key point as an answer treats it."""

    @property
    def text(self) -> str: ...
    @property
    def hit(self) -> bool: ...
    @property
    def contradicted(self) -> bool: ...
    @property
    def evidence(self) -> str | None: ...


VERDICTS = {"correct": "Correct", "partial": "Partly", "incorrect": "Not yet"}
UNKNOWN = "You said: I don't know yet"
_COUNTED = {"correct": "correct", "partial": "partly correct", "incorrect": "not yet correct"}
_FIRST = (
    "Before you read: what do you think? Answer in your own words, as far as you can. A wrong guess helps too; "
    "the page opens as soon as you commit."
)
_READ = '<button type="button" class="button" data-do="read">Read the page</button>'
_LATER = "Answer from memory, in your own words."


def first_question(gate: Gate, now: datetime) -> str:
    """What stands above a page: its first question, or the learner's last answer to it, folded."""
    return _block_of(gate.first, gate, now) if gate.first else ""


def later_questions(gate: Gate, now: datetime) -> str:
    """What stands below a page that was read: its other questions."""
    if not gate.later:
        return ""
    return (
        '<section class="later" aria-labelledby="later-title"><h2 id="later-title">Now without looking back</h2>'
        f"{join(_block_of(posed, gate, now) for posed in gate.later)}</section>"
    )


def asked(posed: Posed, *, again: bool = False) -> str:
    """A question with its form. `again`: it was answered before, so that there is something to go back to."""
    name = _name(posed.key)
    intro = _FIRST if posed.number == 1 and not again else _LATER
    cancel = '<button type="button" class="text-button" data-do="cancel">Cancel</button>' if again else ""
    return (
        f'<section class="ask is-open" {_identity(posed.page, posed.key)} data-request="{esc(posed.request_id)}" '
        f'aria-labelledby="ask-{name}"><form data-do="commit" novalidate>'
        f'<h2 class="ask-question" id="ask-{name}">{esc(posed.question)}</h2>'
        f'<p class="hint" id="how-{name}">{intro}</p>'
        f'<textarea name="answer" rows="5" maxlength="{MAX_ANSWER_CHARS}" autocomplete="off" '
        f'aria-labelledby="ask-{name}" aria-describedby="how-{name}"></textarea>'
        f'<div class="hints" aria-live="polite">{hints(posed.hints, posed.hints_left)}</div>'
        '<div class="ask-actions"><button type="submit" class="button">Commit answer</button>'
        '<button type="button" class="button quiet" data-do="unknown">I don\'t know yet</button>'
        f'{cancel}<span class="keys" aria-hidden="true">Ctrl + Enter commits</span></div>'
        '<p class="status ask-status" role="status"></p></form></section>'
    )


def hints(shown: Sequence[str], left: int) -> str:
    """The hints shown so far, and the button for the next one."""
    listed = join(f"<li>{esc(hint)}</li>" for hint in shown)
    steps = f'<ol class="hint-steps" aria-label="Hints">{listed}</ol>' if shown else ""
    more = "Show another hint" if shown else "Show a hint"
    button = (
        f'<button type="button" class="text-button" data-do="hint">{more} ({left} left)</button>'
        if left
        else '<p class="hint">That was the last hint.</p>'
    )
    return steps + button


def answered(
    result: Result, now: datetime, *, folded: bool = False, note: str = "", read_on: bool = False
) -> str:
    """A graded answer: verdict, points, reference answer, what comes next, and the appeal.

    `note` is said first; `read_on` offers the way to the page that has just opened below.
    """
    name = _name(result.key)
    unknown = result.answer is None
    said_of_it = _verdict(result, result.verdict)
    tone = _tone(result, result.verdict)
    head = f'<h2 class="verdict is-{tone}" id="ask-{name}" tabindex="-1">{said_of_it}</h2>'
    said = "" if unknown else f'<div class="said-block"><h3>Your answer</h3><p>{esc(result.answer)}</p></div>'
    used = f'<p class="meta">With {count(result.hints, "hint")}.</p>' if result.hints else ""
    points = join(key_point(point, unknown=unknown, quote=_quote(point)) for point in result.points)
    body = (
        f'{f"<p class=note>{esc(note)}</p>" if note else ""}{head}<p class="feedback-line">{esc(result.feedback)}</p>'
        f'{_counted(result)}<p class="ask-again">{esc(result.question)}</p>{said}{used}'
        f'<h3>{"What to look for" if unknown else "Point by point"}</h3><ul class="points">{points}</ul>'
        f'<div class="reference"><h3>Reference answer</h3><p>{esc(result.reference)}</p></div>'
        f"{_next(result, now)}"
        f'<div class="ask-actions">{_READ if read_on else ""}'
        '<button type="button" class="button quiet" data-do="again">Answer again</button>'
        f"{_appeal(result)}</div>"
        '<p class="status ask-status" role="status"></p>'
    )
    if folded:
        body = (
            f'<details class="fold"><summary><span class="verdict-chip is-{_tone(result, result.counted)}">'
            f"{_verdict(result, result.counted)}</span>"
            '<span class="fold-close">Your answer</span>'
            f'<span class="fold-question">{esc(result.question)}</span>'
            f'<span class="meta">{esc(when(result.at, now=now))}</span></summary>{body}</details>'
        )
    return (
        f'<section class="ask is-answered" {_identity(result.page, result.key)} data-attempt="{result.attempt_id}" '
        f'aria-labelledby="ask-{name}">{body}</section>'
    )


def _block_of(posed: Posed, gate: Gate, now: datetime) -> str:
    given = gate.results.get(posed.key)
    return answered(given, now, folded=True) if given else asked(posed)


def _identity(page: str, key: str) -> str:
    return f'data-page="{esc(page)}" data-key="{esc(key)}"'


def _name(key: str) -> str:
    return esc(key.rpartition("#")[2])


def _verdict(result: Result, verdict: str) -> str:
    return UNKNOWN if result.answer is None else VERDICTS.get(verdict, esc(verdict))


def _tone(result: Result, verdict: str) -> str:
    return "unknown" if result.answer is None else esc(verdict)


def key_point(point: KeyPoint, *, unknown: bool = False, quote: str = "") -> str:
    """One key point: made, missed or turned around, the learner's words for it, and what else is to be shown."""
    if point.contradicted:
        kind, mark, label = "against", "✕", "Your answer says otherwise"
    elif point.hit:
        kind, mark, label = "hit", "✓", "You made this point"
    else:
        kind, mark, label = "missed", "○", "A point to look for" if unknown else "Missing from your answer"
    words = (
        f'<p class="your-words">Your words: <q>{esc(point.evidence)}</q></p>'
        if point.evidence and kind != "missed"
        else ""
    )
    return (
        f'<li class="point is-{kind}"><span class="point-mark" aria-hidden="true">{mark}</span><div>'
        f'<span class="point-label">{label}</span><p class="point-text">{esc(point.text)}</p>{words}{quote}</div></li>'
    )


def _quote(point: PointResult) -> str:
    if not point.quote:
        return ""
    link = reader_url(COURSE, point.quote.page, cite=(point.quote.start, point.quote.end))
    text = plain(point.quote.text)
    return (
        f'<a class="page-says" href="{esc(link)}" data-quote="{esc(text)}">'
        f"<span>The page says</span> <q>{esc(text)}</q></a>"
    )


def _counted(result: Result) -> str:
    if result.counted == result.verdict:
        return ""
    why = f" You wrote: <q>{esc(result.override_reason)}</q>" if result.override_reason else ""
    return (
        f'<div class="counted"><span>Counted as <strong>{_COUNTED.get(result.counted, esc(result.counted))}</strong> '
        f"by you.{why}</span>"
        '<button type="button" class="text-button" data-do="take-back">Take it back</button></div>'
    )


def _next(result: Result, now: datetime) -> str:
    lines = ""
    if result.next_step:
        path, title = result.next_step
        lines += (
            f'<p class="next-step">This builds on <a href="{esc(reader_url(COURSE, path))}">{esc(title)}</a>, '
            "which you have not read yet.</p>"
        )
    if result.due:
        rest = interval_text(result.due - now)
        lines += (
            f'<p class="meta">{"Due for review now." if rest == "now" else f"Next review in {rest}."}</p>'
        )
    return lines


def _appeal(result: Result) -> str:
    if result.answer is None or result.counted != result.verdict:
        return ""
    name = _name(result.key)
    choices = join(
        f'<label><input type="radio" name="verdict" value="{verdict}" required> {words[0].upper() + words[1:]}</label>'
        for verdict, words in _COUNTED.items()
        if verdict != result.verdict
    )
    return (
        '<details class="appeal"><summary>I disagree</summary><form data-do="override">'
        f"<fieldset><legend>My answer should count as</legend>{choices}</fieldset>"
        f'<label for="why-{name}">Why?</label>'
        f'<textarea id="why-{name}" name="reason" rows="2" maxlength="1000"></textarea>'
        '<p class="hint">Your verdict counts from now on. The reason helps to make the grading better.</p>'
        '<button type="submit" class="button quiet">Count it this way</button></form></details>'
    )
