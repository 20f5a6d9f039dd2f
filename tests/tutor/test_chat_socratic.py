"""The Chat page on the server: what a held turn gives to whoever asks, one reply in two tabs, cards and quizzes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from db import conversations, reviews, study
from tutor.generators.protocol import ModelIdentity, Usage
from tutor.services import Services, build_services
from tutor.settings import Settings
from tutor.ui.chat_calls import ChatCalls
from tutor.ui.chat_socratic import Socratic
from tutor.ui.chat_store import ChatStore
from tutor.ui.library import Library
from tutor.ui.live import LiveTurns
from tutor.ui.metrics import Metrics

QUESTION = "Which piece of text does a model handle as one unit?"
SAID = "A token is text that a model handles as one unit."
PAGE = """---
title: Tokens
order: 1
prerequisites: []
updated: 2026-11-22
tags: [language]
concepts: [token, vocabulary]
understand: Models read numbered pieces of text.
beginner: A token is a piece.
confusion: It is no word.
mental_model: A building block.
think_first:
  - question: What is a vocabulary?
    reference: A vocabulary is the fixed list of all tokens.
    key_points: [A vocabulary is a fixed list., The list holds all tokens.]
next: [tokens]
---

Opening words.

## What it is

A token is a **piece of text** that a model handles as one unit.

## Takeaways

- The fixed list of tokens is the **vocabulary** of a model.
- Every entry of the list has a **number** of its own.
- Rare words are spelled from **shorter pieces** of text.
"""


class Writer:
    """A generator that writes one supported sentence."""

    identity = ModelIdentity("writer", None, "0" * 64)
    usage = Usage(3, 4)
    finish_reason = "stop"

    def stream(self, messages: Any, *, max_new_tokens: int) -> Any:
        return self

    def __iter__(self) -> Iterator[str]:
        yield SAID

    def cancel(self) -> None: ...


@dataclass
class Chat:
    """The page's parts over a small course."""

    services: Services
    store: ChatStore
    calls: ChatCalls
    socratic: Socratic

    def ask(self, question: str = QUESTION, *, events: int | None = None, page: str | None = None) -> Any:
        """The stored turn after a Socratic question, or after only its first `events` events."""
        answering = self.services.tutor.answer(question, learner_id=self.services.learner_id, page=page)
        held = self.socratic.hold(answering)
        turn_id = next(held).turn_id  # type: ignore[union-attr]
        for _ in held if events is None else [next(held) for _ in range(events - 1)]:
            pass
        held.close()  # type: ignore[attr-defined]
        return self.turn(turn_id)

    def turn(self, turn_id: int) -> Any:
        with self.services.database.session(readonly=True) as session:
            return conversations.get_turn(session, turn_id)

    def page(self, turn: Any) -> str:
        """All that a page that opens the conversation is given."""
        with self.services.database.session(readonly=True) as session:
            turns = self.store.turns(session, turn.conversation_id)
            assert turns is not None
            return self.store.thread(session, turns, turn.conversation_id) + self.store.sources(
                session, turns[-1]
            )


@pytest.fixture
def chat(tmp_path: Path, make_embedder: Callable[..., Any]) -> Iterator[Chat]:
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "tokens.md").write_text(PAGE, "utf-8")
    settings = Settings(home=tmp_path / "home", course=tmp_path / "course")
    services = build_services(
        settings, embedder=make_embedder(dimension=512), generator_for=lambda _: Writer()
    )
    store = ChatStore(services.learner_id, Library(), LiveTurns(Metrics()))
    yield Chat(services, store, ChatCalls(services, store), Socratic(services, store))
    services.close()


def test_a_held_turn_gives_nothing_to_whoever_asks_and_all_of_it_once_it_is_shown(chat: Chat) -> None:
    turn = chat.ask()
    sent = {"turn": turn.id, "rating": "up", "request_id": "r"}
    said = [
        chat.page(turn),
        chat.calls.details(turn.id),
        chat.calls.sources_of(turn.id),
        str(chat.calls.rate(sent)),
        str(chat.calls.save_card(sent)),
        str(chat.calls.quiz(sent)),
    ]
    secrets = (SAID, "**piece of text**", "cite=", "Use only the notes")
    assert [secret for secret in secrets if secret in "".join(said)] == []
    assert [key for text in said[3:] for key in ("error", "html", "link") if f"'{key}'" in text] == [
        "error"
    ] * 3

    shown = chat.socratic.reveal(sent)
    assert SAID in shown["html"]
    assert "is-cited" in shown["sources"]
    assert "Use only the notes" in chat.calls.details(turn.id)
    assert "first review tomorrow" in chat.calls.save_card(sent)["html"]
    assert "first review tomorrow" in chat.calls.save_card(sent)["html"]
    with chat.services.database.session(readonly=True) as session:
        assert [card.front for card in reviews.cards(session, chat.services.learner_id)] == [QUESTION]
    assert "first review tomorrow" in chat.page(turn)
    assert chat.calls.quiz(sent)["link"] == chat.calls.quiz(sent)["link"] == "./review?quiz=1"


def test_the_first_of_two_replies_counts(chat: Chat) -> None:
    turn = chat.ask()
    first = chat.socratic.reply({"turn": turn.id, "reply": f" {SAID} "})
    again = chat.socratic.reply({"turn": turn.id, "reply": "Bananas."})
    assert "Bananas" not in again["html"]
    assert "You made this point" in first["html"]
    assert "You made this point" in again["html"]
    assert chat.turn(turn.id).socratic["reply"] == SAID
    assert chat.socratic.reveal({"turn": turn.id})["html"] == again["html"]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"reply": " "}, "Write what you think first"),
        ({"reply": "x" * 4001}, "4,000 characters"),
        ({"reply": None}, "could not be read"),
        ({"reply": "x", "turn": "1; drop"}, "no longer there"),
        ([], "could not be read"),
    ],
)
def test_a_reply_that_can_not_be_taken_shows_nothing(chat: Chat, sent: Any, error: str) -> None:
    turn = chat.ask()
    answer = chat.socratic.reply({"turn": turn.id, **sent} if isinstance(sent, dict) else sent)
    assert list(answer) == ["error"]
    assert error in answer["error"]
    assert chat.turn(turn.id).socratic["revealed_at"] is None


def test_another_learners_turn_is_not_there(chat: Chat) -> None:
    with chat.services.database.session() as session:
        other = study.learner(session, "other").id
        conversation = conversations.create_conversation(session, other)
        turn = conversations.start_turn(session, conversation.id, "Mine?")
    assert "no longer there" in chat.socratic.reveal({"turn": turn.id})["error"]


@pytest.mark.parametrize("events", [1, 2, 4])
def test_a_turn_that_is_stopped_at_any_moment_stays_held_back(chat: Chat, events: int) -> None:
    turn = chat.ask(events=events)
    assert (turn.status, turn.socratic["revealed_at"]) == ("interrupted", None)
    html = chat.page(turn)
    assert SAID not in html
    assert "./?page=tokens.md&amp;cite" not in html
    assert 'data-act="retry"' in html


def test_an_answer_that_is_not_covered_holds_nothing_back(chat: Chat) -> None:
    turn = chat.ask("Who won the football championship in 1998?")
    assert turn.status == "not_covered"
    assert turn.socratic["revealed_at"] is not None
    assert "Not covered by the material" in chat.page(turn)


def test_a_repeated_request_leaves_the_first_turn_as_it_was(chat: Chat) -> None:
    options = {"learner_id": chat.services.learner_id, "request_id": "same"}
    first = list(chat.socratic.hold(chat.services.tutor.answer(QUESTION, **options)))[-1].result  # type: ignore[union-attr, arg-type]
    chat.socratic.reveal({"turn": first.turn_id})
    before = chat.turn(first.turn_id).socratic
    list(chat.socratic.hold(chat.services.tutor.answer(QUESTION, **options)))  # type: ignore[arg-type]
    assert chat.turn(first.turn_id).socratic == before


def test_the_quiz_is_about_the_cited_page_else_about_the_page_the_question_was_asked_from(chat: Chat) -> None:
    cited, lost = chat.ask(), chat.ask("Who won the football championship in 1998?", page="tokens.md")
    with chat.services.database.session(readonly=True) as session:
        assert chat.store.quiz_page(session, cited) == "tokens.md"
        assert chat.store.quiz_page(session, lost) == "tokens.md"
        assert not chat.store.can_be_asked(session, "gone.md")
    assert "no course page" in chat.calls.quiz({"page": "gone.md", "request_id": "r"})["error"]
