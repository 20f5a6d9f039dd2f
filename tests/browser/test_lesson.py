"""A lesson: the page stays shut until an answer is committed, and what the answer brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from db import quizzes, reviews
from tutor.pages import questions

FRONT = """---
title: {title}
order: {order}
prerequisites: [{needs}]
updated: 2026-11-22
tags: [test]
concepts: [{concepts}]
understand: {understand}
beginner: A plain word about {about}.
confusion: People mix {about} with weather.
mental_model: Think of {about} as a river.
think_first:
"""
BREAD = (
    FRONT.format(
        title="Bread",
        order=10,
        needs="",
        concepts="yeast, gluten",
        understand="Why a loaf grows",
        about="bread",
    )
    + """  - question: Why does a loaf grow in the oven?
    reference: Yeast makes gas out of sugar. A net of gluten traps the bubbles.
    key_points:
      - Yeast makes gas out of sugar.
      - A net of gluten traps the bubbles.
    hints: [Think of a living thing., Think of balloons., Something is stretched.]
  - question: Why is cold butter harder than warm butter?
    reference: Fat crystals melt slowly above the fridge. Warm molecules slide past each other.
    key_points:
      - Fat crystals melt slowly above the fridge.
      - Warm molecules slide past each other.
    hints: [Compare a candle., Look at summer days., Ask what moves.]
next: [cake]
---

Flour and water wait together overnight in silence.

## Rising

Living yeast makes gas out of the sugar in flour. A strong **net of gluten** traps the bubbles.

## Cooling

Crumbs become firm while the kitchen turns dark.

## Takeaways

- The organism that makes gas in dough is **yeast**.
- The stretchy protein mesh of dough is **gluten**.
- The outside of a loaf is the **crust**.
"""
)
CAKE = (
    FRONT.format(
        title="Cake",
        order=20,
        needs="bread",
        concepts="sugar",
        understand="What sweetness costs",
        about="cake",
    )
    + """  - question: What does sugar do to a cake besides sweetening it?
    reference: Sugar keeps the crumb moist. Sugar browns the surface.
    key_points:
      - Sugar keeps the crumb moist.
      - Sugar browns the surface.
next: [bread]
---

Opening lines of the cake.

## Sugar

Sugar keeps the crumb moist for days. Sugar browns the surface above the paper.

## Takeaways

- The sweet crystal that browns is **sugar**.
- The inner part of a cake is the **crumb**.
- The fat in a cake is **butter**.
"""
)
COURSE = {"bread.md": BREAD, "cake.md": CAKE}
LEAD = ["A plain word about bread", "People mix bread with weather", "Think of bread as a river"]
BODY = [
    "Flour and water wait",
    "Living yeast makes gas",
    "Crumbs become firm",
    "The organism that makes gas",
    "Takeaways",
]
BOTH = "Yeast makes gas out of sugar. A net of gluten traps the bubbles."
ONE = "Yeast makes gas out of sugar."
TOP = "e => e.getBoundingClientRect().top"


@pytest.fixture(autouse=True)
def _forget(server: Any) -> Iterator[None]:
    """Every test starts with a learner who has answered nothing."""
    from db.portable import delete_learner_data

    yield
    with server.services.database.session() as session:
        delete_learner_data(session, server.services.learner_id)


def _commit(page: Any, answer: str | None) -> None:
    if answer is None:
        page.click(".ask.is-open [data-do=unknown]")
    else:
        page.fill(".ask.is-open textarea", answer)
        page.press(".ask.is-open textarea", "Control+Enter")
    page.wait_for_selector(".ask .verdict")


def _attempts(server: Any) -> list[Any]:
    return server.rows(quizzes.attempts, server.services.learner_id)


class Received:
    """Every body that a page's requests brought, the queue's event streams included."""

    def __init__(self, page: Any) -> None:
        self.open: set[Any] = set()
        self.done: list[Any] = []
        page.on("request", lambda r: self.open.add(r))
        page.on("requestfinished", lambda r: (self.open.discard(r), self.done.append(r)))

    def text(self, page: Any) -> str:
        page.wait_for_timeout(500)
        assert all("heartbeat" in r.url for r in self.open), [r.url for r in self.open]
        bodies = [r.response().body().decode("utf-8", "replace") for r in self.done if r.method != "OPTIONS"]
        return "\n".join([*bodies, page.content()]).replace("\\u003c", "<").replace("&#x27;", "'")


def test_nothing_of_a_page_reaches_the_browser_before_an_answer_is_committed(
    server: Any, open_page: Callable[..., Any]
) -> None:
    from db.documents import find_document

    first, second = questions("bread.md", server.rows(find_document, "course", "bread.md").meta)
    of_first = [first.reference, *first.key_points]
    of_second = [second.reference, *second.key_points, *second.hints]
    page = open_page("/")
    received = Received(page)
    page.goto(server.url + "/?page=bread.md")
    page.wait_for_selector(".ask.is-open")
    text = received.text(page)
    assert "Why does a loaf grow in the oven?" in text  # what is looked for below would be seen
    assert "studyTutor" in text
    assert "Why a loaf grows" in text
    secrets = [*of_first, *first.hints, *of_second, second.question, *LEAD, *BODY]
    assert [s for s in secrets if s in text] == []

    page.click("text=Show a hint (3 left)")
    page.wait_for_selector("text=Show another hint (2 left)")
    text = received.text(page)
    assert first.hints[0] in text
    assert [s for s in [*of_first, *first.hints[1:], *of_second, *LEAD, *BODY] if s in text] == []

    _commit(page, ONE)
    text = received.text(page)
    shown = [*of_first, *LEAD, *BODY, second.question]
    assert [s for s in shown if s not in text] == []
    assert [s for s in of_second if s in text] == []


def test_an_answer_brings_verdict_points_and_the_page_without_a_jump(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/?page=bread.md")
    above = page.locator(".ask").evaluate(TOP)
    _commit(page, ONE)
    assert abs(page.locator(".ask").first.evaluate(TOP) - above) < 2
    assert page.evaluate("() => document.activeElement.className") == "verdict is-partial"
    assert page.locator(".point-label").all_inner_texts() == [
        "You made this point",
        "Missing from your answer",
    ]
    assert "Yeast makes gas out of sugar." in page.inner_text(".your-words")
    assert "A net of gluten traps the bubbles." in page.inner_text(".reference")
    assert page.is_visible("text=Next review in")

    page.locator(".page-says").nth(1).click()  # the sentence is cut by bold print in the page
    page.wait_for_selector("mark.pointed")
    marked = "".join(page.locator("mark.pointed").all_inner_texts())
    assert "net of gluten" in marked
    page.wait_for_function(
        "() => { const b = document.querySelector('mark.pointed').getBoundingClientRect();"
        " return b.top > 56 && b.bottom < innerHeight; }"
    )
    page.wait_for_selector(
        "section[data-section=cooling][data-read]"
    )  # reading counts on the page that opened

    (attempt,) = _attempts(server)
    assert (attempt.verdict, attempt.answer, attempt.hints) == ("partial", ONE, 0)
    page.goto(server.url + "/?page=bread.md")
    page.wait_for_selector(".fold")
    assert not page.is_visible(".verdict")  # folded
    page.click(".fold summary")
    page.click("text=Answer again")
    page.wait_for_selector(".ask.is-open [data-do=cancel]")
    _commit(page, BOTH)
    assert page.inner_text(".verdict") == "Correct"
    assert len(_attempts(server)) == 2


def test_two_tabs_and_a_double_press_are_one_answer(server: Any, open_page: Callable[..., Any]) -> None:
    page = open_page("/?page=bread.md")
    other = page.context.new_page()
    other.goto(server.url + "/?page=bread.md")
    other.wait_for_selector(".ask.is-open")
    page.fill(".ask textarea", ONE)
    page.evaluate(
        "() => { const f = document.querySelector('.ask form'); f.requestSubmit(); f.requestSubmit(); }"
    )
    page.wait_for_selector(".verdict")
    _commit(other, BOTH)
    assert other.is_visible("text=You had answered this before")
    assert ONE in other.inner_text(".said-block")
    assert [a.answer for a in _attempts(server)] == [ONE]


def test_a_draft_survives_a_reload_and_an_empty_answer_is_not_taken(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/?page=bread.md")
    page.click("text=Commit answer")
    page.wait_for_selector(".ask-status.error >> text=Write an answer first")
    page.fill(".ask textarea", "half a thought")
    page.reload()
    page.wait_for_selector(".ask.is-open")
    assert page.input_value(".ask textarea") == "half a thought"
    _commit(page, "half a thought about rain")
    assert page.evaluate("() => Object.keys(localStorage).filter(k => k.includes('draft')).length") == 0


def test_not_knowing_opens_the_page_and_leads_to_what_it_builds_on(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/?page=cake.md", width=390, height=844, phone=True)
    _commit(page, None)
    assert page.inner_text(".verdict") == "You said: I don't know yet"
    assert not page.is_visible(".appeal")
    page.wait_for_selector("#page-body")
    assert page.evaluate("() => document.documentElement.scrollWidth <= screen.width")
    page.click(".next-step a")
    page.wait_for_selector("#reader[data-page='bread.md'] .ask.is-open")
    assert [(a.page, a.answer, a.verdict) for a in _attempts(server)] == [("cake.md", None, "incorrect")]


def test_the_learners_own_verdict_counts_until_it_is_taken_back(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/?page=bread.md")
    _commit(page, ONE)
    page.click("text=I disagree")
    page.check(".appeal input[value=correct]")
    page.fill(".appeal textarea", "gluten <b>is</b> meant")
    page.click("text=Count it this way")
    page.wait_for_selector(".counted >> text=Counted as correct by you")
    assert "gluten <b>is</b> meant" in page.inner_text(".counted")
    (attempt,) = _attempts(server)
    assert (attempt.verdict, attempt.counted, attempt.override_reason) == (
        "partial",
        "correct",
        "gluten <b>is</b> meant",
    )
    page.click("text=Take it back")
    page.wait_for_selector(".counted", state="detached")
    assert _attempts(server)[0].counted == "partial"


def test_a_citation_shows_its_section_only_while_the_page_is_shut(
    server: Any, open_page: Callable[..., Any]
) -> None:
    start = BREAD.index("Crumbs become firm")
    page = open_page(f"/?page=bread.md&cite={start}-{start + 18}")
    assert page.inner_text("mark") == "Crumbs become firm"
    assert page.is_visible(".ask.is-open")
    assert page.locator("section[data-section]").count() == 1
    assert "Living yeast" not in page.content()
    _commit(page, BOTH)
    page.wait_for_selector("text=Living yeast")
    assert page.inner_text("mark") == "Crumbs become firm"


def test_the_question_after_reading_stands_at_the_end(server: Any, open_page: Callable[..., Any]) -> None:
    page = open_page("/?page=bread.md")
    _commit(page, BOTH)
    later = page.locator(".later .ask")
    assert "cold butter" in later.inner_text()
    later.locator("textarea").fill("Fat crystals melt slowly above the fridge.")
    later.locator("[type=submit]").click()
    page.wait_for_selector(".later .verdict.is-partial")
    assert page.locator(".page-foot").count() == 1
    assert {a.question_key.split("#")[0] for a in _attempts(server)} == {"bread.md"}


def test_a_page_read_to_its_end_gives_its_cards_once(server: Any, open_page: Callable[..., Any]) -> None:
    page = open_page("/")
    report = (
        "names => fetch('./progress', {method: 'POST', headers: {'Content-Type': 'application/json'}, body:"
        " JSON.stringify({page: 'cake.md', sections: names.map(section => ({section, seconds: 9, read: true}))})})"
        ".then(r => r.status)"
    )
    for sections, cards in ((["top", "sugar"], 0), (["takeaways"], 3), (["takeaways"], 3)):
        assert page.evaluate(report, sections) == 200
        made = server.rows(reviews.cards, server.services.learner_id)
        assert [card.origin for card in made] == ["takeaway"] * cards


def test_the_study_path_is_a_map_where_there_is_room_and_a_list_where_there_is_not(
    server: Any, open_page: Callable[..., Any]
) -> None:
    page = open_page("/")
    states = page.locator(".map .node-state").all_inner_texts()
    assert [state.split(" · ")[0] for state in states] == ["Ready", "Prerequisites first"]
    assert page.locator(".edge").count() == 1
    page.focus(".node[data-node='1']")
    page.wait_for_selector(".edge.is-lit", state="attached")
    page.keyboard.press("Enter")
    page.wait_for_selector("#reader[data-page='cake.md']")
    page.goto(server.url + "/")
    page.click("[data-view-as=list]")
    page.reload()
    page.wait_for_selector(".path-card")
    assert not page.is_visible(".map")

    phone = open_page("/", width=390, height=844, phone=True)
    assert not phone.is_visible(".map")
    assert phone.inner_text(".builds-on") == "Builds on Bread"
    assert phone.evaluate("() => document.documentElement.scrollWidth <= screen.width")
