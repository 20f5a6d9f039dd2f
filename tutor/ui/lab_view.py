"""The Lab page as it is before anything was run, as HTML. What the runs fill in is `lab_runs_view.py`'s."""

from __future__ import annotations

from db.documents import StoredDocument
from tutor.lab import MAX_NOTE, NOTE, NOTE_QUESTION, PANES, QUESTION, Chosen, Pane
from tutor.ui.lab_runs_view import note_status, weights_table
from tutor.ui.markup import esc, join, url

_SECTIONS = (
    ("four", "Four ways"),
    ("still", "Chat changes nothing"),
    ("edit", "Edit a page"),
    ("job", "Run a job"),
    ("cost", "What it costs"),
    ("tokens", "Tokens"),
    ("bench", "Train your own"),
)
_STANDING = {"served": "served now", "registered": "registered, not served", "refused": "refused by the gate"}
IDLE = '<p class="hint">Nothing yet. Ask above.</p>'


def page(base: str, chosen: Chosen | None, note: StoredDocument | None, bench: str) -> str:
    """The whole page before anything was run. `note` is the lab's page if it is in the index now."""
    links = join(f'<a href="#{key}">{title}</a>' for key, title in _SECTIONS)
    return (
        '<div class="page" id="main" tabindex="-1" data-title="Lab"><article class="sheet wide lab"><h1>Lab</h1>'
        '<p class="meta">Retrieving and training, side by side. Every number here was measured on this machine.</p>'
        f'<nav class="ways" aria-label="Experiments">{links}</nav>'
        '<p class="visually-hidden" role="status" aria-live="polite" id="lab-told"></p>'
        f"{_four(base, chosen)}{_still()}{_edit(note)}{_job()}{_cost()}{_tokens()}"
        f'<section id="bench" aria-labelledby="bench-title"><h2 id="bench-title">Train your own</h2>'
        '<p class="lab-why">A classifier of product reviews with about a thousand weights: small enough to see all of '
        'training, and what changes when it is used.</p><div id="bench-body">'
        f"{bench}</div></section></article></div>"
    )


def _four(base: str, chosen: Chosen | None) -> str:
    panes = join(
        f'<section class="pane" aria-labelledby="pane-{pane.key}"><h3 id="pane-{pane.key}">'
        f"{esc(_model(pane, base, chosen))}<span>{_way(pane)}</span></h3>"
        f'<div class="pane-body" data-place="{pane.key}">{_idle(pane, chosen)}</div></section>'
        for pane in PANES
    )
    return (
        '<section id="four" aria-labelledby="four-title"><h2 id="four-title">One question, four ways</h2>'
        '<p class="lab-why"><strong>Closed book</strong> answers from the weights alone. <strong>With the '
        "course</strong>, the question is looked up first and every sentence is checked against what was found. "
        "An <strong>adapter</strong> is what training made of feedback and examples.</p>"
        '<form class="lab-ask" data-run="panes"><label for="lab-question">Question</label>'
        f'<input class="field" id="lab-question" name="question" value="{esc(QUESTION)}" maxlength="2000" required '
        'autocomplete="off"><div class="lab-buttons"><button type="submit" class="button">Ask all four</button>'
        '<button type="button" class="button quiet" data-do="stop" hidden>Stop</button></div></form>'
        f'<p class="status lab-status" data-place="panes-status"></p><div class="panes">{panes}</div></section>'
    )


def _still() -> str:
    return (
        '<section id="still" aria-labelledby="still-title"><h2 id="still-title">Chat changes nothing</h2>'
        '<p class="lab-why">“Ask all four” reads the weight files before its first answer and after its last, '
        "every byte, and takes a fingerprint of them. One changed bit would give another one.</p>"
        f'<div class="lab-table" data-place="weights">{weights_table()}</div>'
        '<button type="button" class="button quiet" data-do="read">Read them now</button></section>'
    )


def _edit(note: StoredDocument | None) -> str:
    status = note_status(note.chunk_count, doc=note.id) if note else note_status(None)
    return (
        '<section id="edit" aria-labelledby="edit-title"><h2 id="edit-title">Edit a page</h2>'
        '<p class="lab-why">This page is the lab’s own. Save it and it is searched at once; change a word, and the '
        "answer changes with it. No weight moves. The course stays as it is.</p>"
        '<form class="lab-note" data-run="note"><label for="lab-note">The page</label>'
        f'<textarea class="field" id="lab-note" name="note" rows="5" maxlength="{MAX_NOTE}" data-first="{esc(NOTE)}">'
        f"{esc(note.text if note else NOTE)}</textarea>"
        '<label for="lab-note-question">Question</label><input class="field" id="lab-note-question" name="question" '
        f'value="{esc(NOTE_QUESTION)}" maxlength="2000" required autocomplete="off">'
        '<div class="lab-buttons"><button type="submit" class="button">Save and ask</button>'
        '<button type="button" class="button quiet" data-do="restore">Put the first version back</button>'
        '<button type="button" class="text-button" data-do="remove-note">Take the page away</button></div></form>'
        f'<p class="status lab-status" data-place="note-status">{status}</p>'
        '<div class="panes notes"><section class="pane" aria-labelledby="note-before"><h3 id="note-before">Before</h3>'
        f'<div class="pane-body" data-place="note-before">{IDLE.replace("Ask above", "Save and ask twice")}</div>'
        '</section><section class="pane" aria-labelledby="note-now"><h3 id="note-now">Now</h3>'
        f'<div class="pane-body" data-place="note-now">{IDLE.replace("Ask above", "Save and ask")}</div></section>'
        "</div>"
        '<p class="lab-verdict" data-place="note-verdict"></p></section>'
    )


def _job() -> str:
    return (
        '<section id="job" aria-labelledby="job-title"><h2 id="job-title">Run a job</h2>'
        '<p class="lab-why">Training is the one thing that makes new weights: each job leaves an adapter of its own '
        "beside the base, and the base stays as it is.</p>"
        '<div class="lab-table" id="registry" data-load="registry"><p class="hint">Loading…</p></div>'
        f'<a class="button quiet" href="{esc(url("improve"))}">Run a job on Improve</a></section>'
    )


def _cost() -> str:
    return (
        '<section id="cost" aria-labelledby="cost-title"><h2 id="cost-title">What it costs</h2>'
        '<p class="lab-why">Training is paid once, every answer is paid again. Where the line crosses, answering has '
        "cost more.</p>"
        '<div id="account" data-load="account"><p class="hint">Loading…</p></div></section>'
    )


def _tokens() -> str:
    text = "Training changes weights; retrieval changes the prompt. 🙂 Übung, naïve, 東京, 12345"
    return (
        '<section id="tokens" aria-labelledby="tokens-title"><h2 id="tokens-title">Tokens</h2>'
        '<p class="lab-why">The model never sees letters. This is your text in its own tokenizer’s pieces, each with '
        "the number the model gets.</p>"
        '<label for="tokens-text">Text</label><textarea class="field" id="tokens-text" rows="3" maxlength="1000">'
        f'{esc(text)}</textarea><div id="pieces" data-load="tokens" aria-live="polite"><p class="hint">Loading…</p>'
        "</div></section>"
    )


def _model(pane: Pane, base: str, chosen: Chosen | None) -> str:
    if not pane.adapted:
        return base
    return f"Adapter {chosen.name}" if chosen else "Adapter"


def _way(pane: Pane) -> str:
    return "closed book" if pane.closed_book else "with the course"


def _idle(pane: Pane, chosen: Chosen | None) -> str:
    if not pane.adapted:
        return IDLE
    link = f'<a href="{esc(url("improve"))}">Improve</a>'
    if chosen is None:
        return f'<p class="hint">No adapter has been trained here yet. A job on {link} makes one.</p>'
    return f'<p class="hint">Nothing yet. Ask above. This adapter is {_STANDING[chosen.standing]}.</p>'
