"""The middle of the Chat page as HTML: turns and the answer being written. Values in, text out.

Turns come as the JSON that `tutor.wire` writes and the database keeps, so a finished answer and a restored one look
the same. Sentences that the check refused are shown in "What happened" only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tutor.socratic import Tried
from tutor.ui import chat_socratic_view
from tutor.ui.chat_side import Ids, Json, citation_mark, link, place_of
from tutor.ui.chat_socratic_view import Held
from tutor.ui.chat_suggest import Suggestion
from tutor.ui.feedback_view import feedback
from tutor.ui.markup import READER_TAB, count, esc, icon, join, plain, shorten, url

if TYPE_CHECKING:
    from db.feedback import Feedback

_BADGES = {
    "held": (
        "A hint first",
        "The answer is ready and checked. It comes after your try, or when you ask for it.",
    ),
    "answered": ("Checked against the material", "Every sentence shown is supported by the cited sources."),
    "quoted": ("In the material’s own words", "No sentence of the draft held up, so the sources speak."),
    "not_covered": ("Not covered by the material", "The tutor only answers from what is indexed."),
    "interrupted": (
        "Stopped before it was finished",
        "The question is saved. Retry to get the whole answer.",
    ),
    "failed": ("No answer", "The question is saved. Retry when the problem is solved."),
}


@dataclass(frozen=True, slots=True)
class TurnView:
    """A turn as the page shows it. `running` means that it is being answered right now, here or in another tab.

    `held` is what may be shown of a turn whose answer is held back; `tried` the learner's reply before the answer,
    `just_tried` right after it. `card` says when the saved answer comes up first (None: it is not saved); `quiz`
    that there is a page to be quizzed about.
    """

    id: int
    question: str
    status: str
    sentences: Sequence[Json] = ()
    citations: Sequence[Json] = ()
    passages: Sequence[Json] = ()
    follow_ups: Sequence[str] = ()
    answer: str = ""
    error: str | None = None
    rated: Feedback | None = None
    opted_out: bool = False
    running: bool = False
    held: Held | None = None
    tried: Tried | None = None
    just_tried: bool = False
    card: str | None = None
    quiz: bool = False


@dataclass(slots=True)
class LiveView:
    """What is known of an answer while it is written. Of a `held` one, only how far it is."""

    question: str
    held: bool = False
    turn_id: int | None = None
    conversation_id: int | None = None
    status: str = "Looking in the material…"
    seconds: int = 0
    sentences: list[Json] = field(default_factory=list)
    citations: list[Json] = field(default_factory=list)
    passages: list[Json] = field(default_factory=list)


def thread(turns: Sequence[TurnView], ids: Ids, *, conversation: int | None, last_open: bool = True) -> str:
    """All turns of a conversation. `last_open` lets the newest be retried and edited."""
    shown = join(
        turn(view, ids, newest=last_open and index == len(turns) - 1) for index, view in enumerate(turns)
    )
    return f'<div class="thread" data-conversation="{conversation or ""}">{shown}</div>'


def warned(shown: str, problem: str | None) -> str:
    """What is shown, under a line about what isn't served as it should be."""
    return f'<p class="error" role="status">{esc(problem)}</p>{shown}' if problem else shown


def turn(view: TurnView, ids: Ids, *, newest: bool, conversation: int | None = None) -> str:
    """One question with its answer and what can be done with both."""
    state = f' data-conversation="{conversation}"' if conversation else ""
    if view.running:
        body = '<p class="status">This answer is being written in another tab. Reload to see it.</p>'
        return _turn(view.id, _question(view, editable=False), body, state)
    if view.held is not None:
        badge = _badge("held" if view.status != "interrupted" else view.status)
        retry = _retry(primary=not view.held.ready) if newest and view.status == "interrupted" else ""
        body = f"{badge}{chat_socratic_view.before(view.id, view.held)}"
        body += f'<div class="actions">{retry}</div>' if retry else ""
        return _turn(view.id, _question(view, editable=newest), body, state)
    own = chat_socratic_view.tried(view.tried, opened=view.just_tried) if view.tried else ""
    body = (
        f"{own}{_badge(view.status)}{_answer(view, ids)}{_error(view)}{_nearest(view, ids)}"
        f"{_actions(view, newest=newest)}{_details(view.id)}"
    )
    chips = follow_ups(view.follow_ups) if newest else ""
    return _turn(view.id, _question(view, editable=newest), body + chips, state)


def live(view: LiveView, ids: Ids) -> str:
    """The answer being written: only checked sentences, and one quiet line about what is going on."""
    conversation = f' data-conversation="{view.conversation_id}"' if view.conversation_id else ""
    waited = f'<span aria-hidden="true"> {view.seconds} s</span>' if view.seconds >= 2 else ""
    body = (
        f'<div class="answer" aria-live="polite">{_sentences(view.sentences, view.citations, ids)}</div>'
        f'<p class="status"><span class="pulse" aria-hidden="true"></span><span role="status">{esc(view.status)}'
        f"</span>{waited}</p>"
    )
    question = f'<h2 class="question">{esc(view.question)}</h2>'
    return _turn(view.turn_id, question, body, f"{conversation} data-running")


def refused(question: str, reason: str) -> str:
    """A question that could not be asked, and why."""
    asked = f'<h2 class="question">{esc(shorten(question, 200))}</h2>' if question.strip() else ""
    return f'<article class="turn">{asked}<p class="error" role="alert">{esc(reason)}</p></article>'


def empty(
    suggested: Sequence[str],
    page_title: str | None,
    *,
    weak: Sequence[Suggestion] = (),
    quiz_page: str | None = None,
) -> str:
    """An empty conversation: what can be asked here, or the page to be quizzed about."""
    about = f"about “{page_title}”" if page_title else "about the course"
    label = f"From “{page_title}”" if page_title else "Suggested questions"
    doubts = _chips(weak, "From your answers") if weak else ""
    quiz = (
        f'<p class="welcome-quiz"><button type="button" class="button quiet" data-act="quiz" '
        f'data-page="{esc(quiz_page)}">Quiz me on this page</button></p>'
        if quiz_page
        else ""
    )
    return (
        f'<div class="thread" data-conversation=""><div class="welcome"><h1>Ask {esc(about)}</h1>'
        "<p>The tutor answers from the material only. It checks every sentence before it shows it, and says so "
        f"when the material has no answer.</p>{_chips([Suggestion(q) for q in suggested], label)}{doubts}{quiz}"
        "</div></div>"
    )


def missing() -> str:
    """A link to a conversation that was deleted or never was."""
    return (
        '<div class="thread" data-conversation=""><div class="welcome"><h1>This conversation is gone</h1>'
        f'<p>It was deleted, or the link is wrong. <a href="{esc(url("chat"))}">Start a new one</a>.</p></div></div>'
    )


def follow_ups(questions: Sequence[str]) -> str:
    """Questions to go on with."""
    return _chips([Suggestion(q) for q in questions], "You could ask next") if questions else ""


def saved_card(first_review: str) -> str:
    """What stands in the place of "Save as card" once it is done. `first_review` is "" when that was long ago."""
    when = f" – first review {esc(first_review)}" if first_review else " as a card"
    return f'<span class="saved" role="status" tabindex="-1">{icon("check")}Saved{when}</span>'


def _turn(turn_id: int | None, question: str, body: str, state: str) -> str:
    number = f' id="turn-{turn_id}" data-turn="{turn_id}"' if turn_id else ""
    return (
        f'<article class="turn"{number}{state}><div class="asked">{question}</div>'
        f'<div class="said">{body}</div></article>'
    )


def _question(view: TurnView, *, editable: bool) -> str:
    text = f'<h2 class="question">{esc(view.question)}</h2>'
    if not editable:
        return text
    return (
        f'{text}<button type="button" class="icon-button" data-act="edit" aria-label="Edit the question" '
        f'title="Edit the question">{icon("edit")}</button>'
    )


def _badge(status: str) -> str:
    label, title = _BADGES[status]
    return f'<p class="badge is-{status}" title="{esc(title)}">{label}</p>'


def _answer(view: TurnView, ids: Ids) -> str:
    shown = _sentences(view.sentences, view.citations, ids)
    if not shown and view.status == "answered" and view.answer:  # a closed-book answer from the API
        shown = f'<p class="hint">Not checked against the material:</p><p>{esc(view.answer)}</p>'
    return f'<div class="answer">{shown}</div>' if shown else ""


def _sentences(sentences: Sequence[Json], citations: Sequence[Json], ids: Ids) -> str:
    """Checked sentences as paragraphs, the material's own words set apart."""
    cited = {citation["n"]: citation for citation in citations}
    blocks: list[tuple[str, list[str]]] = []
    for sentence in sentences:
        if not sentence["supported"]:
            continue
        origin = sentence.get("origin", "model")
        marks = join(citation_mark(cited[n], ids) for n in sentence["citations"] if n in cited)
        text = f"<span>{esc(plain(sentence['text']) if origin == 'material' else sentence['text'])}{marks}</span>"
        if blocks and blocks[-1][0] == origin and origin != "material":
            blocks[-1][1].append(text)
        else:
            blocks.append((origin, [text]))
    return join(
        f"<blockquote>{' '.join(texts)}</blockquote>" if origin == "material" else f"<p>{' '.join(texts)}</p>"
        for origin, texts in blocks
    )


def _error(view: TurnView) -> str:
    if view.status not in ("failed", "interrupted") or not view.error:
        return ""
    return f'<p class="error">{esc(view.error)}</p>'


def _nearest(view: TurnView, ids: Ids) -> str:
    if view.status != "not_covered":
        return ""
    pages: dict[tuple[str, str], Json] = {}
    for passage in view.passages:
        pages.setdefault(place_of(passage)[:2], passage)
    links = join(
        f'<li><a target="{READER_TAB}" href="{esc(link(p, ids))}">{esc(p["title"])} › {esc(p["heading"])}</a></li>'
        for p in list(pages.values())[:3]
    )
    return f'<ul class="nearest" aria-label="Nearest pages">{links}</ul>' if links else ""


def _actions(view: TurnView, *, newest: bool) -> str:
    parts = []
    if view.status not in ("failed", "interrupted") and view.sentences:
        parts.append(feedback(view.id, view.rated, opted_out=view.opted_out))
    if view.status in ("answered", "quoted") and any(s["supported"] for s in view.sentences):
        save = '<button type="button" class="text-button" data-act="card">Save as card</button>'
        parts.append(save if view.card is None else saved_card(view.card))
        if view.quiz:
            parts.append('<button type="button" class="text-button" data-act="quiz">Quiz me on this</button>')
    if newest:
        parts.append(_retry(primary=view.status in ("failed", "interrupted")))
    elif view.passages:
        parts.append(
            f'<button type="button" class="text-button" data-act="sources">'
            f"{count(len(view.citations) or len(view.passages), 'source')}</button>"
        )
    return f'<div class="actions">{join(parts)}</div>'


def _retry(*, primary: bool) -> str:
    look = "button" if primary else "text-button"
    return f'<button type="button" class="{look}" data-act="retry">{icon("retry")}Retry</button>'


def _details(turn_id: int) -> str:
    return (
        f'<details class="what" data-turn="{turn_id}"><summary>What happened</summary>'
        '<div class="what-body"><p class="hint">Loading…</p></div></details>'
    )


def _chips(suggested: Sequence[Suggestion], label: str) -> str:
    chips = join(
        f'<li><button type="button" class="chip" data-act="ask">{esc(s.question)}</button>'
        f"{f'<span class=chip-why>{esc(s.why)}</span>' if s.why else ''}</li>"
        for s in suggested
    )
    return f'<div class="chips"><p class="chips-label">{esc(label)}</p><ul>{chips}</ul></div>'
