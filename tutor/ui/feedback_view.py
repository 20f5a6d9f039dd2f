"""What a learner can say about an answer, and what becomes of it, as HTML. Values in, text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tutor.ui.markup import esc, icon, join

if TYPE_CHECKING:
    from db.feedback import Feedback

BEFORE = "A thumb is kept for the next training run. It changes nothing now."
BEFORE_OUT = "A thumb is kept for you alone: you opted out of training."
PROMISE = "Saved for the next training run; nothing about the tutor changes now."
CORRECTED = "Your correction is saved for the next training run; nothing about the tutor changes now."
REASONS = (
    ("wrong", "Wrong"),
    ("unsupported", "Not in the sources"),
    ("off_topic", "Off topic"),
    ("too_long", "Too long"),
    ("should_abstain", "Should have said it doesn’t know"),
)
_THUMBS = (("up", "Good answer"), ("down", "Not a good answer"))


def feedback(turn_id: int, said: Feedback | None, *, opted_out: bool = False) -> str:
    """Thumbs with what happens to one, and once one is given its fate, reasons, a correction and the way back."""
    rating = said.rating if said else None
    thumbs = join(
        f'<button type="button" class="icon-button {name}" data-act="rate" data-rating="{name}" '
        f'aria-pressed="{str(rating == name).lower()}" aria-label="{label}" title="{label}">{icon("thumb")}</button>'
        for name, label in _THUMBS
    )
    more = _more(said) if said else ""
    before = "" if said else f'<span class="thumb-note">{BEFORE_OUT if opted_out else BEFORE}</span>'
    return f'<div class="feedback" data-turn="{turn_id}"><span class="thumbs">{thumbs}</span>{before}{more}</div>'


def fate(said: Feedback) -> str:
    """What became of it, in one sentence; text, not HTML."""
    why = f": {said.fate_reason}" if said.fate_reason else ""
    if said.fate == "rejected":
        return f"Left out of training{why}."
    if said.fate == "withdrawn":
        return f"Not used for training{why}."
    if said.fate == "in_dataset":
        return f"In data set {said.dataset_id}, made for training." if said.dataset_id else "In a data set."
    if said.fate == "in_adapter":
        return f"In adapter {said.adapter}, which was trained with it." if said.adapter else "In an adapter."
    return CORRECTED if said.correction else PROMISE


def _more(said: Feedback) -> str:
    opened = " open" if said.rating == "down" and not said.correction else ""
    summary = "Edit your correction" if said.correction else "Add a correction (optional)"
    return (
        f'<div class="feedback-more"><p class="promise" role="status">{esc(fate(said))} '
        '<button type="button" class="text-button" data-act="unrate">Remove</button></p>'
        f"{_reasons(said.reason) if said.rating == 'down' else ''}"
        f'<details{opened}><summary>{summary}</summary><form data-act="correct" data-rating="{esc(said.rating)}">'
        "<label>What should the answer have said?"
        f'<textarea name="correction" rows="3" maxlength="4000">{esc(said.correction or "")}</textarea></label>'
        '<button type="submit" class="button">Save correction</button></form></details></div>'
    )


def _reasons(chosen: str | None) -> str:
    choices = join(
        f'<button type="button" class="reason" data-act="reason" data-reason="{value}" '
        f'aria-pressed="{str(value == chosen).lower()}">{label}</button>'
        for value, label in REASONS
    )
    return f'<div class="reasons" role="group" aria-label="What is wrong with it? (optional)">{choices}</div>'
