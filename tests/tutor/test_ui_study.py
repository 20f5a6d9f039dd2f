"""What the Review and History pages say, as pure functions: curves, charts, cards, quizzes, evidence, the timeline."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from db.documents import StoredChunk
from db.reviews import Card, Memory, Review
from db.study import DayTotal
from tutor import activity, scheduling
from tutor.activity import Streak, WeekAccuracy
from tutor.lesson_values import QuizItem, QuizState
from tutor.mastery import ConceptMastery, Evidence
from tutor.ui import charts, curve_view, history_charts, mastery_view, quiz_view, review_view, timeline_view
from tutor.ui.card_source import best_sentence
from tutor.ui.review_view import Counts, Shown
from tutor.ui.timeline import Entry, TimelineDay

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTILE = '<img src=x onerror="alert(1)">'


def _card(memory: Memory, card_id: int = 1) -> Card:
    made = NOW - 30 * DAY
    return Card(
        card_id, 1, f"k{card_id}", "question", "a.md", None, [], "F", "B", memory, 0, False, made, made
    )


def _review(number: int, rating: int, at: datetime, attempt_id: int | None = None) -> Review:
    return Review(number, 1, attempt_id, None, rating, 0.0, {}, at)


def test_a_curve_jumps_to_one_with_each_review_and_falls_after_it() -> None:
    log = [
        _review(1, 3, NOW - 10 * DAY),
        _review(2, 3, NOW - 9 * DAY),
        _review(3, 1, NOW - 2 * DAY, attempt_id=7),
    ]
    card = _card(scheduling.new_memory(NOW - 30 * DAY))
    past = curve_view.pasts([card], reversed(log), deleted=())[1]
    assert [at for at, _ in past.reviewed] == [NOW - 10 * DAY, NOW - 9 * DAY, NOW - 2 * DAY]
    assert past.remembered(NOW - 11 * DAY) is None
    assert past.remembered(NOW - 9 * DAY) == 1.0
    before, later = past.remembered(NOW - 3 * DAY) or 0.0, past.remembered(NOW - 2 * DAY - DAY / 24) or 0.0
    assert 0 < later < before < 1
    # A deleted answer's review never happened, and without it the memory of the ninth day goes on.
    without = curve_view.pasts([card], log, deleted={7})[1]
    assert without.remembered(NOW) == scheduling.retrievability(without.reviewed[1][1], NOW)


def test_the_mean_curve_has_both_axes_today_and_its_values_for_screen_readers() -> None:
    card = _card(scheduling.new_memory(NOW - 30 * DAY))
    pasts = list(curve_view.pasts([card], [_review(1, 3, NOW - 5 * DAY)], deleted=()).values())
    html = curve_view.mean_chart(pasts, NOW)
    today = pasts[0].remembered(NOW) or 0.0
    assert f"You would likely recall {today:.0%} of 1 reviewed card today" in html
    assert re.findall(r'<text[^>]*text-anchor="end">([^<]+)</text>', html)[:3] == ["0", "50", "100%"]
    assert ">today</text>" in html
    assert f"<td>22 Nov</td><td>{today:.0%}</td>" in html
    drawn = [tuple(map(float, p.split(","))) for p in re.findall(r'points="([^"]+)"', html)[0].split()]
    assert drawn[0] == (0.0, 0.0)  # the first review: all of the card is remembered
    assert drawn[-1][1] == round(charts.HEIGHT * (1 - today), 1)
    assert "starts with your first review" in curve_view.mean_chart([], NOW)


def test_the_days_of_half_a_year_each_say_what_was_done() -> None:
    days = [
        DayTotal(date(2026, 11, 18), 700.0, 1, 2, 1, 0, answers=2, reviews=0),
        DayTotal(date(2026, 11, 20), 0.0, 0, 0, 0, 0, answers=0, reviews=1),
    ]
    html = history_charts.heatmap(activity.weeks(days, NOW.date()), NOW.date())
    assert html.count("heat-cell") == 26 * 7  # today is a Sunday
    assert 'heat-2" title="Wed 18 Nov: 12 min, 2 answers, 1 question"' in html
    assert 'heat-1" title="Fri 20 Nov: 1 review"' in html
    assert "2 days with study in 26 weeks, 1 of them counted." in html
    assert len(re.findall(r'tabindex="0"', html)) == 1
    months = re.findall(r"<span>(\w{3})</span>", html)
    assert months == ["Jun", "Jul", "Aug", "Sep", "Oct", "Nov"]  # May has one week, too narrow for its name


def test_accuracy_is_stacked_from_zero() -> None:
    weeks = [
        WeekAccuracy(date(2026, 11, 9), correct=3, partial=1, incorrect=0),
        WeekAccuracy(date(2026, 11, 16), 0, 0, 0),
    ]
    html = history_charts.accuracy_chart(weeks)
    bars = re.findall(r'y="([\d.]+)" width="[\d.]+%" height="([\d.]+)" class="is-(\w+)"', html)
    assert bars == [("40.0", "120.0", "correct"), ("0.0", "40.0", "partial")]  # 3 and 1 of 4, in 160 pixels
    assert ">75%</text>" in html
    assert "svg" not in history_charts.accuracy_chart(weeks[1:])


def test_the_streak_is_told_with_its_rule() -> None:
    said = history_charts.streak_line(Streak(current=3, longest=5, today_counts=False))
    assert "3 days in a row</strong>, today not counted yet; longest 5 days." in said
    assert "5 minutes of study, or with 3 answers" in said
    assert "your longest was 1 day" in history_charts.streak_line(Streak(0, 1, today_counts=False))


def test_a_card_is_escaped_and_holds_no_answer_before_it_is_asked_for() -> None:
    counts = Counts(due=1, today=0, cards=1, undo=False)
    shown = Shown(4, "takeaway", f"{HOSTILE} is ____.", "r", rests=(("good", "2 d"),))
    html = review_view.card(shown, counts)
    assert "<img" not in html
    assert "2 d" not in html
    assert "(blank)" in html
    html = review_view.card(
        Shown(4, "answer", "Q", "r", back=HOSTILE, rests=(("good", "2 d"),)), counts, HOSTILE
    )
    assert "<img" not in html
    assert "2 d" in html
    assert "<img" not in review_view.edit_form(4, HOSTILE, f"</textarea>{HOSTILE}")


def test_when_nothing_is_due_the_next_time_is_told() -> None:
    soon = review_view.done(Counts(0, 5, 1, undo=True), NOW + timedelta(minutes=6), NOW, [(HOSTILE, 0.15)])
    assert "The next card is due in 6 min (12:06)." in soon
    assert 'data-next="360"' in soon
    assert "<img" not in soon
    assert "due in 3 d." in review_view.done(Counts(0, 5, 1, undo=True), NOW + 3 * DAY, NOW, [])
    assert "suspended" in review_view.done(Counts(0, 0, 1, undo=False), None, NOW, [])
    assert "No cards yet" in review_view.done(Counts(0, 0, 0, undo=False), None, NOW, [])


def test_a_quiz_shows_its_first_open_task() -> None:
    def item(number: int, kind: Any) -> QuizItem:
        return QuizItem(number, kind, f"k{number}", "a.md", "A", f"{HOSTILE} ____", f"r{number}", None)

    quiz = QuizState(
        3, "page", HOSTILE, (item(1, "term"), item(3, "question")), {}
    )  # the card of task 2 is gone
    html = quiz_view.page(quiz, NOW)
    assert "<img" not in html
    assert "1 of 2" in html
    assert 'data-number="1"' in html
    assert "<input" in html
    assert "gone" in quiz_view.task(QuizState(3, "due", "", (), {}), NOW)


def test_evidence_adds_up_and_what_newer_rows_replaced_waits_behind_a_click() -> None:
    def row(number: int, outcome: str, quality: float, points: float) -> Evidence:
        return Evidence("attempt", number, "a.md", NOW - number * DAY, HOSTILE, outcome, quality, 0.9, points)

    rows = (row(1, "correct", 1.0, 0.3), row(2, "incorrect", 0.0, 0.0), row(3, "partial", 0.5, 0.0))
    concept = ConceptMastery("token", "a.md", "A", 0.32, 0.3, 0.1, rows)
    html = mastery_view.evidence(concept, NOW, overridden={2}, next_step=("b.md", HOSTILE))
    shown, _, behind = html.partition('<details class="earlier">')
    assert "<img" not in html
    assert "<strong>32%</strong> = 30.0 from answers and reviews + 2.0 from reading." in shown
    assert ("+30.0" in shown, "+0.0" in shown) == (True, True)
    assert "1 earlier row that newer ones replaced" in behind
    assert html.count("Take my verdict back") == 1
    assert html.count("Correct it") == 2
    assert "this builds on" in shown
    tiles = mastery_view.concepts([concept, ConceptMastery("x", "b.md", "B", None, 0.0, 0.0, ())])
    assert "width:32.0%" in tiles
    assert "1 concept without any evidence yet" in tiles


def test_the_timeline_names_days_and_escapes_what_was_typed() -> None:
    entry = Entry("answers", NOW, HOSTILE, HOSTILE, HOSTILE, "./?page=a.md", "partial")
    days = [TimelineDay(NOW.date() - n * DAY, (entry,)) for n in (0, 1, 3)]
    html = timeline_view.days(days, NOW.date(), UTC)
    assert "<img" not in html
    assert re.findall(r"<h3>([^<]+)</h3>", html) == ["Today", "Yesterday", "Thursday, 19 November"]
    assert "Partly" in html
    chosen = timeline_view.filters("all", "answers", "a.md", {"a.md": HOSTILE})
    assert "<img" not in chosen
    assert "period=week&amp;kind=answers&amp;page=a.md#log" in chosen
    assert '<option value="answers" selected>' in chosen


def test_a_card_leads_to_the_sentence_that_explains_it_and_not_to_the_takeaways() -> None:
    def chunk(heading: str, start: int, text: str) -> StoredChunk:
        sentence = (start, start + len(text), text, "paragraph")
        return StoredChunk(
            1, 1, "course", "a.md", "A", 0, (heading,), start, 999, text, (sentence,), b"", b"", "e"
        )

    chunks = [
        chunk("Intro", 0, "Dough rests overnight."),
        chunk("Rising", 40, "In dough, yeast makes gas out of sugar."),
        chunk("Takeaways", 90, "Yeast makes gas in dough."),
    ]
    assert best_sentence(chunks, "Yeast makes gas in dough.") == (40, 79)
    assert best_sentence(chunks, "Gradients point uphill.") is None
