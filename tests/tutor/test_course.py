"""The course that comes with the product: complete, sound, and of the promised length."""

from __future__ import annotations

from pathlib import Path

import pytest

import tutor
from retrieval.loaders import front_matter
from tutor.page_schema import course_problems
from tutor.pages import questions, takeaways

COURSE = Path(tutor.__file__).parent / "course"
PAGES = sorted(COURSE.glob("*.md"))


def test_the_course_has_no_problems() -> None:
    assert [
        str(problem) for problem in course_problems({page.name: page.read_bytes() for page in PAGES})
    ] == []


def test_the_course_has_at_least_18_pages() -> None:
    assert len(PAGES) >= 18


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_900_to_1500_words_asks_first_and_leaves_cards(page: Path) -> None:
    text = page.read_text("utf-8")
    meta, body = front_matter.read(text)
    assert 900 <= len(text[body:].split()) <= 1500
    asked = questions(page.name, meta)
    assert len(asked) == len(meta["think_first"])
    for question in asked:
        assert all(hint.strip("_ ") for hint in question.hints), question.hints
    assert len(takeaways(page.name, text)) >= 3
