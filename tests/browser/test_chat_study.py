"""The chat knows the study state: doubts become suggestions, answers become cards, a page becomes a quiz."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from db import conversations, quizzes, reviews

QUESTION = "Which piece of text does a model handle as one unit?"
COURSE = {
    "tokens.md": """---
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
}


def test_suggestions_take_up_what_the_learner_was_unsure_about(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/chat")
    assert page.locator(".chip-why").count() == 0
    posed = server.services.lessons.gate("tokens.md").first
    server.services.lessons.answer("tokens.md", posed.key, None, request_id=posed.request_id)
    page.reload()
    page.wait_for_selector(".chip-why")
    assert "You were unsure about “vocabulary”" in page.locator(".chip-why").all_inner_texts()
    page.click("li:has(.chip-why:has-text('vocabulary')) .chip")
    page.wait_for_selector("#live .badge")
    assert page.inner_text("#live .question") == "What does “vocabulary” mean?"


def test_an_answer_becomes_a_card_once(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    page = open_page("/chat")
    ask(page, QUESTION)
    page.click("#live [data-act=card]")
    page.wait_for_selector("text=Saved – first review tomorrow")
    page.reload()
    page.wait_for_selector("#thread .saved")
    assert page.locator("[data-act=card]").count() == 0
    (turn,) = server.rows(conversations.turns_of, int(page.url.split("c=")[1]))
    own = [c for c in server.rows(reviews.cards, server.services.learner_id) if c.origin == "answer"]
    assert [(c.front, c.turn_id, c.page) for c in own] == [(QUESTION, turn.id, "tokens.md")]


def test_quiz_me_starts_a_real_quiz_from_a_page_and_from_an_answer(
    server: Any, open_page: Callable[..., Any], ask: Callable[..., None]
) -> None:
    page = open_page("/chat?page=tokens.md")
    page.click("text=Quiz me on this page")
    page.wait_for_url("**/review?quiz=*")
    first = int(page.url.split("quiz=")[1])
    page.goto(server.url + "/chat?page=tokens.md")
    page.wait_for_selector(".welcome")
    ask(page, QUESTION)
    page.click("#live [data-act=quiz]")
    page.wait_for_url("**/review?quiz=*")
    second = int(page.url.split("quiz=")[1])
    started = [
        server.rows(quizzes.get_quiz, server.services.learner_id, number) for number in (first, second)
    ]
    assert [(quiz.kind, quiz.page) for quiz in started] == [("page", "tokens.md")] * 2
    assert first != second
