"""Questions, results and the study path as pure functions; what the browser sends about them is not trusted."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tutor.lesson_values import Gate, LessonError, PointResult, Posed, Quote, Result
from tutor.study import GraphNode
from tutor.ui import learn_view, lesson_view, path_view
from tutor.ui.lesson_calls import ANSWERED_BEFORE, LessonCalls
from tutor.ui.library import PathPage
from tutor.ui.markdown import PageSection, render_page

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
POSED = Posed("a.md#q-1", "a.md", "A", 1, "Why <b>so</b>?", ("Think of <i>x</i>.",), 2, "lesson-1")
LATER = dataclasses.replace(POSED, key="a.md#q-2", number=2, question="And then?", hints=(), hints_left=3)
RESULT = Result(
    attempt_id=7,
    key="a.md#q-1",
    page="a.md",
    title="A",
    question="Why <b>so</b>?",
    answer="Because <script>.",
    verdict="partial",
    counted="partial",
    score=0.5,
    points=(
        PointResult("Hit point.", True, False, "my <words>", Quote("a.md", "A **bold** line.", 40, 56)),
        PointResult("Missed point.", False, False, None, None),
        PointResult("Denied point.", False, True, "the opposite", None),
    ),
    feedback="Some of it.",
    reference="The reference.",
    hints=2,
    card_id=1,
    due=NOW + timedelta(days=3),
    next_step=None,
    override_reason=None,
    at=NOW - timedelta(days=1),
)
TEXT = "Opening words.\n\n## One\n\nFirst body.\n\n## Two\n\nSecond body, cited here.\n"
META = {"understand": "What it is for.", "concepts": ["secret concept"], "beginner": "Plain lead."}


def test_a_posed_question_carries_its_request_and_shown_hints_as_text() -> None:
    html = lesson_view.asked(POSED)
    assert "Why &lt;b&gt;so&lt;/b&gt;?" in html
    assert "Think of &lt;i&gt;x&lt;/i&gt;." in html
    assert 'data-request="lesson-1"' in html
    assert "Show another hint (2 left)" in html
    assert "the page opens" in html
    assert "the page opens" not in lesson_view.asked(LATER)
    assert 'data-do="cancel"' in lesson_view.asked(LATER, again=True)
    assert "Show a hint (3 left)" in lesson_view.asked(LATER)
    assert "data-do" not in lesson_view.hints(("1", "2", "3"), 0)


def test_a_result_tells_each_point_with_the_learners_and_the_pages_words() -> None:
    html = lesson_view.answered(RESULT, NOW)
    assert re.findall(r'class="point is-(\w+)"', html) == ["hit", "missed", "against"]
    assert re.findall(r"Your words: <q>(.*?)</q>", html) == ["my &lt;words&gt;", "the opposite"]
    assert 'href="./?page=a.md&amp;cite=40-56" data-quote="A bold line."' in html
    assert "Because &lt;script&gt;." in html
    assert "Next review in 3 d." in html
    assert "With 2 hints." in html
    assert 'value="correct"' in html
    assert 'value="incorrect"' in html
    assert 'value="partial"' not in html  # what it counts as already


def test_an_overridden_result_says_both_verdicts_and_can_be_taken_back() -> None:
    own = dataclasses.replace(RESULT, counted="correct", override_reason="I <said> it")
    html = lesson_view.answered(own, NOW, folded=True)
    assert ">Partly</h2>" in html
    assert 'class="verdict-chip is-correct">Correct<' in html
    assert "Counted as <strong>correct</strong> by you. You wrote: <q>I &lt;said&gt; it</q>" in html
    assert 'data-do="take-back"' in html
    assert "I disagree" not in html


def test_not_knowing_is_no_verdict_and_leads_on() -> None:
    unknown = dataclasses.replace(RESULT, answer=None, verdict="incorrect", counted="incorrect")
    unknown = dataclasses.replace(unknown, next_step=("b.md", "B & C"), due=NOW)
    html = lesson_view.answered(unknown, NOW)
    assert "You said: I don't know yet" in html
    assert "Not yet" not in html
    assert "I disagree" not in html
    assert 'This builds on <a href="./?page=b.md">B &amp; C</a>, which you have not read yet.' in html
    assert "Due for review now." in html


def _reader(gate: Gate, cite: tuple[int, int] | None = None) -> str:
    page = render_page(TEXT, title="A", cite=cite)
    opened = learn_view.Reader("course", "a.md", "A", META, page, NOW, gate)
    path = [PathPage("a.md", "A", "", page.sections, frozenset(), touched=False)]
    return learn_view.reader(opened, path, None, [])


def test_a_page_that_is_shut_holds_its_question_and_nothing_to_read() -> None:
    shut = _reader(Gate(open=False, first=POSED, later=(LATER,)))
    assert "Why &lt;b&gt;so&lt;/b&gt;?" in shut
    assert "What it is for." in shut
    hidden = ["Opening", "First body", "Second body", "secret concept", "Plain lead", "And then?"]
    assert [word for word in hidden if word in shut] == []
    at = TEXT.index("cited here")
    cited = _reader(Gate(open=False, first=POSED, later=(LATER,)), (at, at + 10))
    assert [word for word in hidden if word in cited] == ["Second body"]
    assert '<mark id="cite">cited here</mark>' in cited

    answered = _reader(Gate(open=True, first=POSED, later=(LATER,), results={POSED.key: RESULT}))
    assert [word for word in hidden if word not in answered] == []
    assert answered.index("fold") < answered.index("First body") < answered.index("And then?")


def _node(path: str, depth: int, row: int, *needs: str, state: str = "new", ready: bool = False) -> GraphNode:
    return GraphNode(path, path.upper(), state, ready, depth, row, needs)  # type: ignore[arg-type]


def test_the_map_draws_no_line_that_a_chain_says_and_none_across_a_page() -> None:
    nodes = [
        _node("a", 0, 0, state="read"),
        _node("b", 1, 0, "a", ready=True),
        _node("c", 2, 0, "a", "b"),
        _node("d", 0, 1),
        _node("e", 2, 1, "d"),
        _node("f", 2, 2, "a"),
    ]
    lines = {(line.source.path, line.target.path): line.lane for line in path_view.needed_lines(nodes)}
    assert lines == {
        ("a", "b"): None,
        ("b", "c"): None,
        ("d", "e"): 1.0,
        ("a", "f"): 2.0,
    }  # past b and past d-e

    section = PageSection("top", "A", 200)
    pages = [PathPage(n.path, n.title, "", (section,), frozenset(), touched=False) for n in nodes]
    html = path_view.overview(pages, nodes)
    assert html.count('class="edge is-done"') == 2
    assert re.findall(r'class="node is-(\w+)"', html) == [
        "read",
        "ready",
        "waiting",
        "waiting",
        "waiting",
        "waiting",
    ]
    assert html.count(". Builds on A, B<") == 1
    assert "<span>Builds on</span> <ul><li class=is-read>A" in html


class FakeLessons:
    """Knows one question; answers with what it is given."""

    def __init__(self, result: Result = RESULT) -> None:
        self.given: list[Any] = []
        self.reply = result

    def now(self) -> datetime:
        return NOW

    def gate(self, page: str) -> Gate:
        return Gate(open=bool(self.given), first=POSED, later=(LATER,))

    def hint(self, page: str, key: str) -> tuple[str, ...]:
        return ("One.", "Two.")

    def answer(self, page: str, key: str, answer: str | None, **rest: Any) -> Result:
        if answer == "":
            raise LessonError("write an answer first")
        self.given.append((page, key, answer, rest))
        return self.reply

    def override(self, attempt_id: int, verdict: str | None, reason: str = "") -> Result:
        return dataclasses.replace(self.reply, counted=verdict or self.reply.verdict)


SENT = {
    "page": "a.md",
    "key": "a.md#q-1",
    "answer": "x",
    "request_id": "lesson-1",
    "seconds": 12,
    "cite": "1-2",
}


def _calls(lessons: FakeLessons) -> LessonCalls:
    return LessonCalls(lessons, lambda page, cite: f"<p>{page} {cite}</p>")  # type: ignore[arg-type]


def test_committing_opens_the_page_and_a_later_question_does_not_send_it_again() -> None:
    lessons = FakeLessons()
    assert _calls(lessons).commit(SENT)["rest"] == "<p>a.md 1-2</p>"
    assert _calls(lessons).commit({**SENT, "key": "a.md#q-2"})["rest"] is None
    assert lessons.given[0] == ("a.md", "a.md#q-1", "x", {"request_id": "lesson-1", "seconds": 12.0})


def test_an_answer_from_another_tab_is_shown_for_what_it_is() -> None:
    repeated = FakeLessons(dataclasses.replace(RESULT, repeated=True))
    assert ANSWERED_BEFORE in _calls(repeated).commit(SENT)["html"]
    assert ANSWERED_BEFORE not in _calls(repeated).commit({**SENT, "answer": f" {RESULT.answer} "})["html"]


@pytest.mark.parametrize(
    "sent",
    [
        None,
        [],
        "x",
        {**SENT, "page": 3},
        {**SENT, "answer": ["x"]},
        {**SENT, "request_id": ""},
        {**SENT, "request_id": "x" * 65},
    ],
)
def test_what_makes_no_sense_is_refused(sent: Any) -> None:
    lessons = FakeLessons()
    assert set(_calls(lessons).commit(sent)) == {"error"}
    assert lessons.given == []


def test_errors_are_told_and_seconds_are_kept_in_bounds() -> None:
    lessons = FakeLessons()
    assert _calls(lessons).commit({**SENT, "answer": ""}) == {"error": "Write an answer first."}
    for seconds, kept in ((1e9, 1800.0), (-5, 0.0), (float("nan"), 0.0), ("9", 0.0), (True, 0.0)):
        _calls(lessons).commit({**SENT, "seconds": seconds})
        assert lessons.given[-1][3]["seconds"] == kept
    assert "error" in _calls(lessons).again({"page": "a.md", "key": "gone"})
    assert "error" in _calls(lessons).override({"attempt": "7", "verdict": "correct"})
    assert "Counted as" in _calls(lessons).override({"attempt": 7, "verdict": "correct"})["html"]
    assert "(2 left)" in _calls(lessons).hint({"page": "a.md", "key": "a.md#q-1"})["html"]
