"""What is known of each concept, and why, as HTML: bars by page, behind each its evidence. Values in, text out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import groupby

from tutor.mastery import ConceptMastery, Evidence
from tutor.ui.library import COURSE
from tutor.ui.markup import count, esc, join, reader_url, shorten, when

VERDICTS = (("correct", "Correct"), ("partial", "Partly"), ("incorrect", "Not yet"))
_KINDS = {"attempt": "Answered", "review": "Reviewed", "reading": "Read"}
_HOW = (
    "The score is made of these rows and of nothing else. Each question or card counts by its last three outcomes and "
    "by how likely you still remember it; one more, imagined and unanswered, keeps a single lucky answer from filling "
    "the bar. Reading adds a little."
)


def concepts(known: Sequence[ConceptMastery], also: str = "") -> str:
    """A bar for each concept that has evidence, by page; the others are named below. `also` names one to show
    anyway: its last row was just deleted, and may be brought back."""
    shown = [concept for concept in known if concept.score is not None or concept.concept == also]
    waiting = [concept for concept in known if concept not in shown]
    if not shown:
        return (
            '<p class="empty">Nothing is known yet. Answer the question that opens a page, read it, or review its '
            "cards: every row of it will be listed here, and you can delete or correct it.</p>"
        )
    pages = join(
        f'<div class="concept-page"><h3><a href="{esc(reader_url(COURSE, page))}">{esc(title)}</a></h3>'
        f'<div class="tiles">{join(_tile(concept) for concept in group)}</div>'
        '<div class="concept-panel" aria-live="polite"></div></div>'
        for (page, title), group in groupby(shown, key=lambda concept: (concept.page, concept.title))
    )
    return pages + (_waiting(waiting) if waiting else "")


def evidence(
    concept: ConceptMastery,
    now: datetime,
    overridden: Collection[int],
    next_step: tuple[str, str] | None,
    note: str = "",
) -> str:
    """Why a concept's score is what it is. `overridden` are the attempts with the learner's own verdict;
    `next_step` is (page, title) of an unread page that this one builds on."""
    counted = [row for row in concept.evidence if row.points > 0 or row.quality == 0 or row.kind == "reading"]
    replaced = [row for row in concept.evidence if row not in counted]
    rows = f'<ul class="rows evidence">{join(_row(row, now, overridden) for row in counted)}</ul>'
    if replaced:
        rows += (
            f'<details class="earlier"><summary>{count(len(replaced), "earlier row")} that newer ones replaced'
            f'</summary><ul class="rows evidence">{join(_row(row, now, overridden) for row in replaced)}</ul></details>'
        )
    return (
        f'{note}<h4>{esc(concept.concept)}</h4><p class="concept-sum">{_sum(concept)}</p>{_next(concept, next_step)}'
        f'{rows}<div class="ask-actions"><button type="button" class="button quiet" data-do="start" '
        f'data-kind="concept" data-concept="{esc(concept.concept)}">Quiz me on this</button></div>'
        f'<p class="hint">{_HOW}</p>'
    )


def undo_note(attempt_id: int) -> str:
    """Said after an answer was deleted."""
    return (
        '<p class="note" role="status">The answer is deleted and counts nowhere any more. '
        f'<button type="button" class="text-button" data-do="restore" data-attempt="{attempt_id}">Undo</button></p>'
    )


def _tile(concept: ConceptMastery) -> str:
    score = concept.score or 0.0
    said = "none" if concept.score is None else f"{score:.0%}"
    return (
        f'<button type="button" class="tile" data-do="evidence" data-concept="{esc(concept.concept)}" '
        f'aria-expanded="false"><span class="concept-name">{esc(concept.concept)}</span>'
        f'<span class="concept-score">{said}</span>'
        f'<span class="bar-track" aria-hidden="true"><span style="width:{score * 100:.1f}%"></span></span></button>'
    )


def _waiting(waiting: Sequence[ConceptMastery]) -> str:
    pages = join(
        f'<li><a href="{esc(reader_url(COURSE, page))}">{esc(title)}</a>'
        f"<span class='row-facts'>{esc(', '.join(concept.concept for concept in group))}</span></li>"
        for (page, title), group in groupby(waiting, key=lambda concept: (concept.page, concept.title))
    )
    return (
        f'<details class="waiting"><summary>{count(len(waiting), "concept")} without any evidence yet</summary>'
        f'<ul class="rows">{pages}</ul></details>'
    )


def _sum(concept: ConceptMastery) -> str:
    if concept.score is None:
        return "No evidence is left, so there is no score."
    read = concept.score - concept.recall
    return (
        f"<strong>{concept.score:.0%}</strong> = {concept.recall * 100:.1f} from answers and reviews"
        f" + {read * 100:.1f} from reading."
    )


def _next(concept: ConceptMastery, next_step: tuple[str, str] | None) -> str:
    if next_step is not None:
        link, title = esc(reader_url(COURSE, next_step[0])), esc(next_step[1])
        return (
            f'<p class="next-step">Next step: this builds on <a href="{link}">{title}</a>, '
            "which you have not read yet.</p>"
        )
    if concept.read_share < 1:
        link = esc(reader_url(COURSE, concept.page))
        return (
            f'<p class="next-step">Next step: read <a href="{link}">{esc(concept.title)}</a> to its end.</p>'
        )
    return ""


def _row(row: Evidence, now: datetime, overridden: Collection[int]) -> str:
    ref = row.page if row.kind == "reading" else str(row.id)
    facts = [when(row.at, now=now, tz=now.tzinfo)]
    if row.kind != "reading":
        facts.append(f"{row.retention:.0%} remembered")
    facts.append(f"+{row.points * 100:.1f}" if row.points or not row.quality else "replaced by newer ones")
    correct = ""
    if row.kind == "attempt" and row.id is not None:
        correct = _take_back(row.id) if row.id in overridden else _correct(row.id)
    sure = "Delete it?" if row.kind == "attempt" else "Delete for good?"
    return (
        f'<li data-kind="{row.kind}" data-ref="{esc(ref or "")}"><span class="evidence-text">'
        f'<span class="evidence-kind">{_KINDS[row.kind]}</span> {esc(shorten(row.text, 160))}</span>'
        f'<span class="tag">{esc(row.outcome)}</span><span class="row-facts">{esc(" · ".join(facts))}</span>'
        f'<span class="row-tools">{correct}<button type="button" class="text-button" data-do="delete" '
        f'data-sure="{sure}">Delete</button></span></li>'
    )


def _correct(attempt_id: int) -> str:
    choices = join(
        f'<label><input type="radio" name="verdict" value="{verdict}" required> {words}</label>'
        for verdict, words in VERDICTS
    )
    return (
        '<details class="appeal"><summary>Correct it</summary><form data-do="override" '
        f'data-attempt="{attempt_id}"><fieldset><legend>This answer should count as</legend>{choices}</fieldset>'
        f'<label for="why-{attempt_id}">Why? (helps to make the grading better)</label><textarea class="field" '
        f'id="why-{attempt_id}" name="reason" rows="2" maxlength="1000"></textarea>'
        '<button type="submit" class="button quiet">Count it this way</button></form></details>'
    )


def _take_back(attempt_id: int) -> str:
    return (
        f'<button type="button" class="text-button" data-do="take-back" data-attempt="{attempt_id}">'
        "Take my verdict back</button>"
    )
