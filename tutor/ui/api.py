"""The named Gradio endpoints that programs call: /ask (streams), /search, /feedback, /history; the rest in api_study.

Parameters and results are the JSON of the command line. Everything else the pages use is private.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import gradio as gr

from db import feedback
from tutor import failures, wire
from tutor.commands.ask import search_one
from tutor.commands.study import history_json, local_zone
from tutor.events import PassagesFound, SentenceChecked, TurnLogged, TurnStarted
from tutor.turn import QuestionError
from tutor.ui.api_study import StudyApi
from tutor.ui.chat import GENERATING
from tutor.ui.chat_store import number

if TYPE_CHECKING:
    from tutor.events import Event
    from tutor.generators.protocol import Message
    from tutor.services import Services
    from tutor.ui.live import LiveTurns

MAX_PASSAGES = 50


class Api:
    """The endpoints, sharing what the pages share."""

    def __init__(self, services: Services, live: LiveTurns) -> None:
        self._services = services
        self._live = live

    def build(self) -> None:
        """Publish the endpoints; call inside the Blocks."""
        gr.api(self.ask, api_name="ask", **GENERATING)
        gr.api(self.search, api_name="search")
        gr.api(self.feedback, api_name="feedback")
        gr.api(self.history, api_name="history")
        StudyApi(self._services, _told).build()

    def ask(
        self,
        question: str,
        conversation_id: int | None = None,
        history: list[dict] | None = None,
        page: str | None = None,
        closed_book: bool = False,
        adapter: str | None = None,
        request_id: str | None = None,
        id: str | None = None,
    ) -> Iterator[dict]:
        """Answer a question from the material. Streams the turn as it grows (status null), then the finished turn.

        A repeated request_id gives the first result again. turn_id is the id that was committed.
        """
        so_far: dict[str, Any] = {"id": id, "turn_id": None, "conversation_id": None, "status": None}
        so_far |= {"answer": "", "sentences": [], "citations": [], "passages": []}
        try:
            checked = _history(question, history)
            self._services.check_adapter(adapter)
        except Exception as error:
            raise _told(error) from error
        turn = self._live.start(
            "",
            lambda: self._services.tutor.answer(
                question,
                learner_id=self._services.learner_id,
                conversation_id=number(conversation_id),
                history=checked,
                page=page,
                closed_book=closed_book,
                adapter=adapter,
                request_id=request_id,
            ),
        )
        try:
            for event in turn.events():
                _add(so_far, event)
                if not isinstance(event, TurnLogged):
                    yield dict(so_far)
        except Exception as error:
            raise _told(error) from error
        finally:
            turn.stop()
        if turn.result is not None:
            final = wire.turn_json(turn.result, id)
            yield {"conversation_id": turn.result.conversation_id, **final}

    def search(self, question: str, k: int | None = None, id: str | None = None) -> dict:
        """The passages that answer a question, best first, and whether the material covers it."""
        try:
            if k is not None and not 1 <= k <= MAX_PASSAGES:
                raise QuestionError(f"k must be from 1 to {MAX_PASSAGES}.")
            return search_one(self._services, question, id, k=k)
        except Exception as error:
            raise _told(error) from error

    def feedback(
        self,
        question: str | None = None,
        answer: str | None = None,
        rating: str = "",
        turn_id: int | None = None,
        correction: str | None = None,
        comment: str | None = None,
        messages: list[dict] | None = None,
        request_id: str | None = None,
        reason: str | None = None,
    ) -> dict:
        """Save a rating ("up" or "down") with an optional correction and reason; gives the committed id and its fate.

        With a turn_id, question and answer are the turn's. A repeated request_id gives the first result again.
        """
        sent: dict[str, Any] = {
            "rating": rating,
            "turn_id": turn_id,
            "correction": correction,
            "comment": comment,
            "reason": reason,
        }
        sent |= {"question": question, "answer": answer, "messages": messages, "request_id": request_id}
        try:
            with self._services.database.session() as session:
                if turn_id is not None:
                    sent |= self._turn(session, turn_id)
                line = wire.feedback_from_json(sent)
                saved = feedback.save_feedback(
                    session,
                    self._services.learner_id,
                    question=line.question,
                    answer=line.answer,
                    rating=line.rating,
                    turn_id=line.turn_id,
                    messages=None if line.messages is None else [dict(message) for message in line.messages],
                    correction=line.correction,
                    comment=line.comment,
                    reason=line.reason,
                    request_id=line.request_id,
                )
        except Exception as error:
            raise _told(error) from error
        told = {"id": saved.id, "turn_id": saved.turn_id, "rating": saved.rating, "fate": saved.fate}
        fate = {"fate_reason": saved.fate_reason, "dataset_id": saved.dataset_id, "adapter": saved.adapter}
        return told | {"reason": saved.reason} | fate

    def history(self, days: int = 30, limit: int = 50) -> dict:
        """Pages read, questions asked and answered, and time spent, by day."""
        zone = local_zone()
        days, limit = max(1, min(days, 3660)), max(1, min(limit, 10_000))
        with self._services.database.session(readonly=True) as session:
            found = history_json(
                session, self._services.learner_id, zone=zone, now=datetime.now(zone), days=days, limit=limit
            )
        return {"learner": self._services.settings.learner} | found

    def _turn(self, session: Any, turn_id: int) -> dict[str, str]:
        from db.conversations import get_turn
        from db.errors import NotFound

        turn = get_turn(session, number(turn_id) or 0)
        if turn is None or turn.learner_id != self._services.learner_id:
            raise NotFound(f"Turn {turn_id} doesn't exist (any more).")
        return {"question": turn.question, "answer": turn.answer}


def _add(so_far: dict[str, Any], event: Event | None) -> None:
    if isinstance(event, TurnStarted):
        so_far |= {"turn_id": event.turn_id, "conversation_id": event.conversation_id}
    elif isinstance(event, PassagesFound):
        so_far["passages"] = [wire.passage_json(passage) for passage in event.passages]
    elif isinstance(event, SentenceChecked) and event.sentence.supported:
        sentence = wire.sentence_json(event.sentence)
        known = {citation["n"] for citation in so_far["citations"]}
        new = [wire.citation_json(c) for c in event.citations if c.n not in known]
        numbers = "".join(f" [{n}]" for n in sentence["citations"])
        so_far["sentences"] = [*so_far["sentences"], sentence]
        so_far["citations"] = [*so_far["citations"], *new]
        so_far["answer"] = f"{so_far['answer']} {sentence['text']}{numbers}".strip()


def _history(question: str, history: list[dict] | None) -> list[Message] | None:
    checked: Mapping[str, Any] = {"id": None, "question": question, "history": history}
    line = next(iter(wire.read_batch([wire.to_line(checked).encode("utf-8", "surrogatepass")])))
    if line.error:
        raise QuestionError(line.error.removeprefix("line 1: "))
    return None if line.history is None else list(line.history)


def _told(error: Exception) -> gr.Error:
    """What a caller is told: our own errors in one line, anything else without its insides."""
    if isinstance(error, gr.Error):
        return error
    known = isinstance(error, ValueError) or failures.exit_code(error) is not None
    if not known:
        failures.report(error, home=None)
    line = failures.one_line(error) if known else "Something went wrong on our side; see the server's log."
    return gr.Error(line, print_exception=False)
