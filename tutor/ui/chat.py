"""The Chat page: asks the tutor, streams what was checked, keeps conversations and ratings. Its looks: `chat_view.py`.

The browser sends the conversation with every question, so nothing here depends on a session of the server: a page
that was open during a restart goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import gradio as gr

from db import conversations
from db.errors import NotFound
from tutor import failures, progress, wire
from tutor.events import DraftDelta, PassagesFound, SentenceChecked, TurnLogged, TurnStarted
from tutor.ui import chat_side, chat_socratic_view, chat_view, layout, library
from tutor.ui.chat_calls import ChatCalls
from tutor.ui.chat_socratic import Socratic
from tutor.ui.chat_store import ChatStore, number, word
from tutor.ui.chat_suggest import Suggestion, weak_suggestions
from tutor.ui.chat_view import LiveView
from tutor.ui.markup import count

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tutor.events import Event
    from tutor.services import Services
    from tutor.ui.library import Library
    from tutor.ui.live import LiveTurn, LiveTurns

GENERATING = {"concurrency_id": "llm", "concurrency_limit": 2}
"""Every event that makes a model write shares these slots."""

WRITING_HINT = "Working out the answer, to make a hint of it…"
WEAKEST = 20  # concepts looked at for suggestions, weakest first


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the browser sends it."""

    question: str
    conversation: int | None = None
    page: str | None = None
    doc: str | None = None
    replaces: int | None = None
    request_id: str | None = None
    socratic: bool = False

    @classmethod
    def read(cls, question: Any, context: Any) -> Asked:
        """Take what is usable of the JSON that came with a question; the rest is treated as not given."""
        try:
            sent = json.loads(context) if isinstance(context, str) and context else {}
        except ValueError:
            sent = {}
        sent = sent if isinstance(sent, dict) else {}
        text = sent.get("question", question)
        return cls(
            question=text if isinstance(text, str) else "",
            conversation=number(sent.get("conversation")),
            page=word(sent.get("page")),
            doc=word(sent.get("doc")),
            replaces=number(sent.get("replaces")),
            request_id=word(sent.get("request_id"), 64),
            socratic=sent.get("socratic") is True,
        )


class ChatPage:
    """Handlers of the Chat page."""

    def __init__(self, services: Services, known: Library, live: LiveTurns) -> None:
        self._services = services
        self._database = services.database
        self._store = ChatStore(services.learner_id, known, live)
        self._socratic = Socratic(services, self._store)
        self._live = live

    def build(self, blocks: gr.Blocks) -> None:
        """Lay the page out and connect it."""
        layout.header("Chat")
        with gr.Row(elem_id="chat"):
            with gr.Column(elem_id="chat-list", min_width=0):
                listed = layout.surface("conversations", "")
            with gr.Column(elem_id="chat-main", min_width=0):
                calls = ChatCalls(self._services, self._store)
                on_turns = [
                    calls.rate,
                    calls.unrate,
                    calls.details,
                    calls.sources_of,
                    calls.save_card,
                    calls.quiz,
                ]
                on_held = [self._socratic.reply, self._socratic.reveal]
                thread = layout.surface("thread", "chat", [*on_turns, *on_held, calls.rename, calls.delete])
                live = layout.surface("live", "live")
                with gr.Row(elem_id="composer"):
                    gr.HTML(
                        chat_socratic_view.switch(),
                        elem_id="socratic",
                        apply_default_css=False,
                        head=layout.script(),
                        js_on_load="window.studyTutor.socratic(element);",
                    )
                    box = gr.Textbox(
                        label="Your question",
                        show_label=False,
                        placeholder="Ask about the course",
                        lines=1,
                        max_lines=6,
                        elem_id="question",
                        container=False,
                        html_attributes=gr.InputHTMLAttributes(enterkeyhint="send", autocomplete="off"),
                    )
                    send = gr.Button("Ask", elem_id="send", variant="primary")
                    stop = gr.Button("Stop", elem_id="stop")
                context = gr.Textbox(visible=False)
            with gr.Column(elem_id="chat-sources", min_width=0):
                sources = layout.surface("sources", "")
        blocks.load(
            self.open,
            outputs=[listed, thread, sources],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        gr.on(
            [box.submit, send.click, thread.submit],
            self.ask,
            inputs=[box, context],
            outputs=[box, thread, live, sources, listed],
            js="(question, context) => window.studyTutor.outgoing(question)",
            show_progress="hidden",
            api_visibility="private",
            **GENERATING,
        )
        stop.click(self.stop, queue=False, show_progress="hidden", api_visibility="private")
        blocks.unload(self.stop)

    def open(self, request: gr.Request) -> tuple[str, str, str]:
        """(conversations, thread, sources) for ?c=, ?page= and ?doc= in the browser's address."""
        listed, thread, sources = self.show(dict(request.query_params))
        generators = self._services.generators
        return listed, chat_view.warned(thread, generators.problem if generators else None), sources

    def show(self, query: Mapping[str, str]) -> tuple[str, str, str]:
        """The three surfaces for these query values."""
        with self._database.session(readonly=True) as session:
            wanted = number(query.get("c"))
            listed = self._store.listed(session, wanted)
            if query.get("c"):
                turns = self._store.turns(session, wanted)
                if turns is None:
                    return listed, chat_view.missing(), chat_side.sources((), (), {})
                thread = self._store.thread(session, turns, wanted)
                return listed, thread, self._store.sources(session, turns[-1] if turns else None)
            known = self._store.library
            current = known.find(session, doc=query.get("doc"), page=query.get("page"))
            suggested = library.suggestions(known.course(session), current)
            asked_about = current.path if current and current.source == library.COURSE else ""
            thread = chat_view.empty(
                suggested,
                current.title if current else None,
                weak=self._weak(session, suggested, asked_about),
                quiz_page=asked_about if self._store.can_be_asked(session, asked_about) else None,
            )
            return listed, thread, chat_side.sources((), (), {})

    def _weak(self, session: Session, taken: list[str], page: str) -> list[Suggestion]:
        """Questions about what the learner was unsure about, the open page's first."""
        learner = self._services.learner_id
        weakest = progress.weak_concepts(session, learner, datetime.now(UTC), limit=WEAKEST)
        pages = {page.path: page for page in self._store.library.course(session)}
        return weak_suggestions(sorted(weakest, key=lambda c: c.page != page), pages, taken)

    def ask(self, question: str, context: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """One turn for the page: (question box, thread, live answer, sources, conversations)."""
        asked = Asked.read(question, context)
        view = LiveView(asked.question.strip(), held=asked.socratic)
        with self._database.session(readonly=True) as session:
            ids = dict(self._store.library.ids(session))
        same = gr.skip()
        began = time.monotonic()
        turn = self._live.start(request.session_hash or "", lambda: self._answer(asked))
        try:
            written = ""
            for event in turn.events():
                take(view, event)
                view.seconds = int(time.monotonic() - began)
                if isinstance(event, TurnStarted):
                    yield (
                        "",
                        self._before(event),
                        chat_view.live(view, ids),
                        chat_side.sources((), (), ids),
                        same,
                    )
                    continue
                sources = same
                if isinstance(event, PassagesFound | SentenceChecked) and not view.held:
                    sources = chat_side.sources(view.passages, view.citations, ids, turn_id=view.turn_id)
                if (
                    now := chat_view.live(view, ids)
                ) != written or event is None:  # a beat finds out who is gone
                    written = now
                    yield same, same, written, sources, same
            last = self._finished(turn, ids)
        except Exception as error:  # noqa: BLE001 - told to the learner, or reported as ours
            last = (asked.question, same, chat_view.refused(asked.question, _reason(error)), same, same)
        finally:
            turn.stop()
        yield last

    def stop(self, request: gr.Request) -> None:
        """Stop what this browser page is waiting for."""
        self._live.stop(request.session_hash or "")

    def _answer(self, asked: Asked) -> Iterator[Event]:
        if asked.conversation is not None:
            with self._database.session(readonly=True) as session:
                if not self._store.owns(session, asked.conversation):
                    raise NotFound("This conversation was deleted. Start a new one to ask again.")
        events = self._services.tutor.answer(
            asked.question,
            learner_id=self._services.learner_id,
            conversation_id=asked.conversation,
            page=asked.page,
            request_id=asked.request_id,
            replaces=asked.replaces,
        )
        return self._socratic.hold(events) if asked.socratic else events

    def _before(self, started: TurnStarted) -> str:
        """The thread above the answer being written."""
        with self._database.session(readonly=True) as session:
            turns = conversations.turns_of(session, started.conversation_id)
            above = [turn for turn in turns if turn.id != started.turn_id]
            return self._store.thread(session, above, started.conversation_id, last_open=False)

    def _finished(self, turn: LiveTurn, ids: chat_side.Ids) -> tuple[Any, ...]:
        """The finished answer stays where it was written, so that nothing jumps and nothing is read out twice."""
        turn_id = turn.result.turn_id if turn.result else turn.turn_id
        with self._database.session(readonly=True) as session:
            stored = self._store.turn(session, turn_id)
            if stored is None:
                raise NotFound("The conversation was deleted while it was being answered.")
            number = stored.conversation_id
            done = chat_view.turn(self._store.view(session, stored), ids, newest=True, conversation=number)
            sources = self._store.sources(session, stored)
            return gr.skip(), gr.skip(), done, sources, self._store.listed(session, number)


def _reason(error: Exception) -> str:
    if failures.exit_code(error) is None:
        failures.report(error, home=None)
        return "Something went wrong on our side. Your question is kept in the box; try again."
    return failures.one_line(error)


def take(view: LiveView, event: Event | None) -> None:
    """Bring what is shown up to date with an event."""
    if isinstance(event, TurnStarted):
        view.turn_id, view.conversation_id = event.turn_id, event.conversation_id
    elif isinstance(event, PassagesFound):
        view.status = f"Reading {count(len(event.passages), 'passage')}…"
        view.passages = [] if view.held else [wire.passage_json(p, detail=True) for p in event.passages]
    elif isinstance(event, DraftDelta):
        view.status = WRITING_HINT if view.held else "Writing, and checking every sentence…"
    elif isinstance(event, SentenceChecked) and event.sentence.supported and not view.held:
        view.sentences.append(wire.sentence_json(event.sentence, detail=True))
        known = {citation["n"] for citation in view.citations}
        new = [wire.citation_json(c, detail=True) for c in event.citations if c.n not in known]
        view.citations.extend(new)
    elif isinstance(event, TurnLogged):
        view.status = "Done"
