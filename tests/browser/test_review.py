"""Review cards and quizzes: by keyboard, in two tabs, taken back, and never with the answer before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db import quizzes, reviews
from tutor.cards import Cards

BREAD = """---
title: Bread
order: 10
prerequisites: []
updated: 2026-11-22
tags: [test]
concepts: [yeast, gluten]
understand: Why a loaf grows.
beginner: Bread grows.
confusion: Bread is not cake.
mental_model: A net full of bubbles.
think_first:
  - question: Why does a loaf grow in the oven?
    reference: Yeast makes gas out of sugar. A net of gluten traps the bubbles.
    key_points:
      - Yeast makes gas out of sugar.
      - A net of gluten traps the bubbles.
next: [cake]
---

Flour and water wait together overnight.

## Rising

Living yeast makes gas out of the sugar in flour. A strong net of gluten traps the bubbles.

## Takeaways

- The living thing that makes gas in dough is **yeast**.
- The stretchy mesh of dough is **gluten**.
- The outside of a loaf is the **crust**.
"""
COURSE = {"bread.md": BREAD}
REFERENCE = "Yeast makes gas out of sugar. A net of gluten traps the bubbles."
BACKS = [
    "The living thing that makes gas in dough is yeast.",
    "The stretchy mesh of dough is gluten.",
    "The outside of a loaf is the crust.",
]
DUE = "() => document.querySelector('.due-count').textContent"


@pytest.fixture(autouse=True)
def _cards(server: Any) -> Iterator[None]:
    """Every test starts with three takeaway cards that have been due since yesterday, and nothing else."""
    from db.portable import delete_learner_data

    services = server.services
    earlier = datetime.now(UTC) - timedelta(days=2)
    Cards(services.database, services.learner_id, lambda: earlier).open_page_cards("bread.md")
    yield
    with services.database.session() as session:
        delete_learner_data(session, services.learner_id)


def _log(server: Any) -> list[int]:
    return [review.rating for review in server.rows(reviews.reviews, server.services.learner_id)]


def _received(page: Any) -> Callable[[], str]:
    """Every body that the page's requests brought so far."""
    done: list[Any] = []
    page.on("requestfinished", lambda request: done.append(request))

    def text() -> str:
        page.wait_for_timeout(300)
        return "\n".join([page.content(), *(r.response().body().decode("utf-8", "replace") for r in done)])

    return text


def test_cards_are_revealed_rated_and_taken_back_by_keyboard(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/chat")
    text = _received(page)
    page.goto(server.url + "/review")
    page.wait_for_selector(".flash")
    assert page.evaluate(DUE) == "3 due"
    page.wait_for_timeout(300)
    assert "The living thing that makes gas in dough is" in text()
    assert not [back for back in BACKS if back in text()]

    page.keyboard.press("3")  # nothing to rate yet
    page.keyboard.press("Space")
    page.wait_for_selector(".flash-back >> text=dough is yeast.")
    assert [back for back in BACKS if back in text()] == BACKS[:1]
    assert "Bread › Rising" in page.inner_text(".flash-source")
    rests = page.locator(".rest").all_inner_texts()
    assert rests == ["1 min", "6 min", "10 min", "8 d"]  # FSRS's steps for a new card
    page.keyboard.press("4")
    page.wait_for_selector(".due-count >> text=2 due")
    assert "The stretchy mesh" in page.inner_text(".flash-front")
    assert _log(server) == [4]

    page.keyboard.press("u")
    page.wait_for_selector(".due-count >> text=3 due")
    assert "The living thing" in page.inner_text(".flash-front")
    assert _log(server) == []
    assert page.locator("[data-do=undo]").count() == 0

    for left in (2, 1, 0):
        page.keyboard.press("Enter")
        page.wait_for_selector(".flash-back")
        page.keyboard.press("4")
        page.wait_for_selector(f".due-count >> text={left} due")
    assert "The next card is due in 8 d" in page.inner_text(".all-done")
    assert _log(server) == [4, 4, 4]


def test_a_card_open_in_two_tabs_is_rated_once(server: Any, open_page: Callable[..., Any]) -> None:
    tabs = [open_page("/review"), open_page("/review")]
    for tab in tabs:
        tab.keyboard.press("Space")
        tab.wait_for_selector(".flash-back")
    for tab in tabs:
        tab.keyboard.press("3")
        tab.wait_for_selector(".due-count >> text=2 due")
    assert _log(server) == [3]


def test_cards_are_edited_suspended_deleted_and_leeches_named(
    server: Any, open_page: Callable[..., Any]
) -> None:
    learner = server.services.learner_id
    leech = server.rows(reviews.cards, learner)[2]
    with server.services.database.session() as session:
        reviews.set_memory(session, learner, leech.id, leech.memory, 4)
    page = open_page("/review")
    assert "The outside of a loaf is the" in page.inner_text(".leeches")
    assert "forgotten 4 times" in page.inner_text(".leeches")

    page.click(".flash [data-do=edit-form]")
    page.fill("[name=front]", "What lives in dough? <b>____</b>")
    page.click("text=Save")
    page.wait_for_selector(".flash-front >> text=What lives in dough? <b>")
    page.click(".flash [data-do=suspend]")
    page.wait_for_selector(".due-count >> text=2 due")

    page.click(".all-cards summary")
    page.wait_for_selector(".card-rows >> text=suspended")
    page.click("[data-do=resume]")
    page.wait_for_selector(".due-count >> text=3 due")
    page.wait_for_selector(".all-cards:not(:has-text('suspended'))")
    delete = page.locator(".leeches [data-do=delete]")
    delete.click()
    assert len(server.rows(reviews.cards, learner)) == 3  # asked first
    assert delete.inner_text() == "Delete for good?"
    delete.click()
    page.wait_for_selector(".due-count >> text=2 due")
    assert {card.id for card in server.rows(reviews.cards, learner)}.isdisjoint({leech.id})


def test_a_quiz_is_answered_resumed_appealed_and_summed_up(
    server: Any, open_page: Callable[..., Any]
) -> None:
    services, learner = server.services, server.services.learner_id
    quiz = services.quizzes.start("page", page="bread.md", count=3)
    assert [item.kind for item in quiz.items] == ["question", "term", "term"]
    page = open_page("/chat")
    text = _received(page)
    page.goto(server.url + f"/review?quiz={quiz.id}")
    page.wait_for_selector(".quiz-task")
    assert "1 of 3" in page.inner_text(".quiz-progress")
    assert "Why does a loaf grow in the oven?" in text()
    assert not [secret for secret in [REFERENCE, *REFERENCE.split(". "), *BACKS] if secret in text()]

    page.click("text=Commit answer")
    page.wait_for_selector("[role=alert] >> text=Write an answer first")
    page.fill("textarea", "Yeast makes gas out of sugar.")
    page.reload()
    page.wait_for_selector(".quiz-task")
    assert page.input_value("textarea") == "Yeast makes gas out of sugar."  # the draft
    page.press("textarea", "Control+Enter")
    page.wait_for_selector(".quiz-result .verdict.is-partial")
    assert REFERENCE in page.inner_text(".quiz-result")

    page.click("text=I disagree")
    page.check("input[value=correct]")
    page.fill(".appeal textarea", "I meant the bubbles, too.")
    page.click("text=Count it this way")
    page.wait_for_selector(".counted >> text=Counted as correct by you")
    (attempt,) = server.rows(quizzes.attempts, learner)
    assert (attempt.verdict, attempt.counted) == ("partial", "correct")
    assert attempt.override_reason == "I meant the bubbles, too."

    page.keyboard.press("Enter")
    page.wait_for_selector(".quiz-task input")
    page.reload()  # where it was left, here or on another device
    page.wait_for_selector(".quiz-progress >> text=2 of 3")
    page.fill(".quiz-task input", "yeast")
    page.press(".quiz-task input", "Enter")
    page.wait_for_selector(".verdict.is-correct")
    page.keyboard.press("Enter")
    page.wait_for_selector(".quiz-progress >> text=3 of 3")
    page.click("text=I don't know yet")
    page.wait_for_selector(".verdict.is-unknown")
    page.click("text=See how it went")
    page.wait_for_selector(".quiz-totals")
    assert page.locator(".quiz-totals dd").all_inner_texts() == ["2", "0", "1"]
    assert [tag.strip() for tag in page.locator(".quiz-item .tag").all_inner_texts()] == [
        "Correct", "Correct", "Did not know",
    ]  # fmt: skip

    page.locator(".quiz-item summary").first.click()
    page.click("text=Take it back")
    page.wait_for_selector(".quiz-item[open] .tag.is-partial")
    assert len(server.rows(quizzes.attempts, learner)) == 3


def test_without_due_cards_a_quiz_on_weak_concepts_is_offered_and_fits_a_phone(
    server: Any, open_page: Callable[..., Any]
) -> None:
    services = server.services
    services.lessons.answer(
        "bread.md", services.lessons.gate("bread.md").first.key, None, request_id="phone-1"
    )
    for card in server.rows(reviews.cards, services.learner_id):
        services.cards.rate(card.id, "easy")
    page = open_page("/review", width=390, height=844, phone=True)
    page.wait_for_selector(".all-done")
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390
    page.click(".chip >> text=gluten")
    page.wait_for_selector(".quiz-task")
    assert "?quiz=" in page.url
    assert page.inner_text("h1") == "gluten"


def test_a_quiz_that_is_not_there_says_so(open_page: Callable[..., Any]) -> None:
    for number in ("999999", "x", "-1", "1" * 40):
        page = open_page(f"/review?quiz={number}")
        assert "not here" in page.inner_text("h1")
