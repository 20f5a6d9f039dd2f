"""The Chat page: asks the tutor, streams what was checked, keeps conversations and ratings. Its looks: `chat_view.py`.

The browser sends the conversation with every question, so nothing here depends on a session of the server: a page
that was open during a restart goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from db import conversations
from db import feedback as feedback_rows
from db.errors import NotFound
from tutor import failures, wire
from tutor.events import DraftDelta, PassagesFound, SentenceChecked, TurnLogged, TurnStarted
from tutor.ui import chat_view, layout, library, what_view
from tutor.ui.chat_view import LiveView, TurnView
from tutor.ui.markup import count, when

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.conversations import Turn
    from tutor.events import Event
    from tutor.services import Services
    from tutor.ui.library import Library
    from tutor.ui.live import LiveTurn, LiveTurns

GENERATING = {"concurrency_id": "llm", "concurrency_limit": 2}
"""Every event that makes a model write shares these slots."""
MAX_ID = 2**53


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the browser sends it."""

    question: str
    conversation: int | None = None
    page: str | None = None
    doc: str | None = None
    replaces: int | None = None
    request_id: str | None = None

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
            page=_word(sent.get("page")),
            doc=_word(sent.get("doc")),
            replaces=number(sent.get("replaces")),
            request_id=_word(sent.get("request_id"), 64),
        )


class ChatPage:
    """Handlers of the Chat page."""

    def __init__(self, services: Services, known: Library, live: LiveTurns) -> None:
        self._services = services
        self._database = services.database
        self._learner = services.learner_id
        self._library = known
        self._live = live

    def build(self, blocks: gr.Blocks) -> None:
        """Lay the page out and connect it."""
        layout.header("Chat")
        with gr.Row(elem_id="chat"):
            with gr.Column(elem_id="chat-list", min_width=0):
                listed = layout.surface("conversations", "")
            with gr.Column(elem_id="chat-main", min_width=0):
                calls = [self.rate, self.details, self.sources_of, self.rename, self.delete]
                thread = layout.surface("thread", "chat", calls)
                live = layout.surface("live", "live")
                with gr.Row(elem_id="composer"):
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

    # --- opening ---------------------------------------------------------------------------------------------

    def open(self, request: gr.Request) -> tuple[str, str, str]:
        """(conversations, thread, sources) for ?c=, ?page= and ?doc= in the browser's address."""
        return self.show(dict(request.query_params))

    def show(self, query: Mapping[str, str]) -> tuple[str, str, str]:
        """The three surfaces for these query values."""
        with self._database.session(readonly=True) as session:
            wanted = number(query.get("c"))
            listed = self._listed(session, wanted)
            if query.get("c"):
                turns = self._turns(session, wanted)
                if turns is not None:
                    return listed, self._thread(session, turns, wanted), self._sources(session, turns)
                return listed, chat_view.missing(), chat_view.sources((), (), {})
            pages = self._library.course(session)
            current = self._library.find(session, doc=query.get("doc"), page=query.get("page"))
            suggested = library.suggestions(pages, current)
            title = current.title if current else None
            return listed, chat_view.empty(suggested, title), chat_view.sources((), (), {})

    # --- asking ----------------------------------------------------------------------------------------------

    def ask(self, question: str, context: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """One turn for the page: (question box, thread, live answer, sources, conversations)."""
        asked = Asked.read(question, context)
        view = LiveView(asked.question.strip())
        with self._database.session(readonly=True) as session:
            ids = dict(self._library.ids(session))
        same = gr.skip()
        turn = self._live.start(request.session_hash or "", lambda: self._answer(asked))
        finished: tuple[Any, ...] | None = None
        try:
            shown: Any = None
            for tick, event in enumerate(turn.events()):
                if event is None:
                    view.seconds = tick // 2 if view.passages else 0
                elif isinstance(event, TurnStarted):
                    view.turn_id, view.conversation_id = event.turn_id, event.conversation_id
                    yield (
                        "",
                        self._before(event),
                        chat_view.live(view, ids),
                        chat_view.sources((), (), ids),
                        same,
                    )
                    continue
                else:
                    take(view, event)
                sources = (
                    chat_view.sources(view.passages, view.citations, ids, turn_id=view.turn_id)
                    if isinstance(event, PassagesFound | SentenceChecked)
                    else same
                )
                written = chat_view.live(view, ids)
                if written != shown or event is None:
                    shown = written
                    yield same, same, written, sources, same
            finished = self._finished(turn, ids)
        except Exception as error:  # noqa: BLE001 - told to the learner, or reported as ours
            finished = (
                asked.question,
                same,
                chat_view.refused(asked.question, self._reason(error)),
                same,
                same,
            )
        finally:
            turn.stop()
        yield finished

    def stop(self, request: gr.Request) -> None:
        """Stop what this browser page is waiting for."""
        self._live.stop(request.session_hash or "")

    def _answer(self, asked: Asked) -> Iterator[Event]:
        if asked.conversation is not None:
            with self._database.session(readonly=True) as session:
                if not self._owns(session, asked.conversation):
                    raise NotFound("This conversation was deleted. Start a new one to ask again.")
        return self._services.tutor.answer(
            asked.question,
            learner_id=self._learner,
            conversation_id=asked.conversation,
            page=asked.page,
            request_id=asked.request_id,
            replaces=asked.replaces,
        )

    def _before(self, started: TurnStarted) -> str:
        """The thread above the answer being written."""
        with self._database.session(readonly=True) as session:
            turns = [
                t for t in conversations.turns_of(session, started.conversation_id) if t.id != started.turn_id
            ]
            return self._thread(session, turns, started.conversation_id, last_open=False)

    def _finished(self, turn: LiveTurn, ids: chat_view.Ids) -> tuple[Any, ...]:
        """The finished answer stays where it was written, so that nothing jumps and nothing is read out twice."""
        turn_id = turn.result.turn_id if turn.result else turn.turn_id
        with self._database.session(readonly=True) as session:
            stored = self._own_turn(session, turn_id)
            if stored is None:
                raise NotFound("The conversation was deleted while it was being answered.")
            done = chat_view.turn(
                self._view(session, stored), ids, newest=True, conversation=stored.conversation_id
            )
            sources = chat_view.sources(stored.passages, stored.citations, ids, turn_id=stored.id)
            return gr.skip(), gr.skip(), done, sources, self._listed(session, stored.conversation_id)

    @staticmethod
    def _reason(error: Exception) -> str:
        if failures.exit_code(error) is None:
            failures.report(error, home=None)
            return "Something went wrong on our side. Your question is kept in the box; try again."
        return failures.one_line(error)


def take(view: LiveView, event: Event) -> None:
    """Bring what is shown up to date with an event."""
    if isinstance(event, PassagesFound):
        view.passages = [wire.passage_json(p, detail=True) for p in event.passages]
        view.status = f"Reading {count(len(event.passages), 'passage')}…"
    elif isinstance(event, DraftDelta):
        view.status = "Writing, and checking every sentence…"
    elif isinstance(event, SentenceChecked) and event.sentence.supported:
        view.sentences.append(wire.sentence_json(event.sentence, detail=True))
        known = {citation["n"] for citation in view.citations}
        new = [wire.citation_json(c, detail=True) for c in event.citations if c.n not in known]
        view.citations.extend(new)
    elif isinstance(event, TurnLogged):
        view.status = "Done"


def number(value: Any) -> int | None:
    """A database id from what a browser sent, or None."""
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 16:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MAX_ID else None


def _word(value: Any, limit: int = 500) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= limit else None
