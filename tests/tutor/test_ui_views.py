"""What pages say, as pure functions: answers and their sources, the study path, the chart, turns that are stopped."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from db.documents import StoredDocument
from db.study import SectionRead
from tutor.events import DraftDelta, TurnStarted
from tutor.ui import chat_side, chat_view, history_view, library, markup, what_view
from tutor.ui.chat_view import LiveView, TurnView
from tutor.ui.live import LiveTurns
from tutor.ui.metrics import Metrics

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CITED = {"n": 1, "source": "course", "document": "tokens.md", "title": "Tokens", "heading": "What it is"}
CITED |= {"quote": "A **token** is a <unit>.", "start": 40, "end": 64}
PASSAGE = {"rank": 1, "score": 0.5, "dense": 0.4, "lexical": 1.0, "source": "course", "document": "tokens.md"}
PASSAGE |= {
    "title": "Tokens",
    "heading": "What it is",
    "text": "A **token** is a <unit>.",
    "start": 40,
    "end": 64,
}


def _sentence(
    text: str, *, supported: bool = True, cites: tuple[int, ...] = (1,), origin: str = "model"
) -> dict:
    return {
        "text": text,
        "supported": supported,
        "citations": list(cites),
        "origin": origin,
        "reasons": ["why"],
    }


def test_an_answer_shows_checked_sentences_only_and_links_each_to_its_source() -> None:
    view = TurnView(
        7,
        "What is <b>a token</b>?",
        "answered",
        sentences=[_sentence("It is a <unit>."), _sentence("Bananas.", supported=False)],
        citations=[CITED],
        passages=[PASSAGE],
        follow_ups=["And <i>then</i>?"],
    )
    html = chat_view.turn(view, {}, newest=True)
    assert "What is &lt;b&gt;a token&lt;/b&gt;?" in html
    assert "It is a &lt;unit&gt;." in html
    assert "Bananas" not in html
    assert 'href="./?page=tokens.md&amp;cite=40-64"' in html
    assert "And &lt;i&gt;then&lt;/i&gt;?" in html
    assert 'data-act="retry"' in html

    older = chat_view.turn(view, {}, newest=False)
    assert 'data-act="retry"' not in older
    assert 'data-act="edit"' not in older
    assert 'data-act="sources"' in older


def test_the_materials_own_words_are_set_apart() -> None:
    sentences = [
        _sentence("Said by the model."),
        _sentence("Said again."),
        _sentence("A **token** is a unit.", origin="material"),
    ]
    html = chat_view.turn(TurnView(1, "?", "answered", sentences, [CITED], [PASSAGE]), {}, newest=False)
    assert re.findall(r"<(p|blockquote)><span>", html) == ["p", "blockquote"]
    assert "A token is a unit." in html  # no Markdown marks


def test_a_document_of_ones_own_is_linked_by_its_id() -> None:
    mine = {**CITED, "source": "/home/me/notes", "document": "a b.md"}
    html = chat_side.sources([], [mine], {("/home/me/notes", "a b.md"): 12})
    assert 'href="./?doc=12&amp;cite=40-64"' in html
    assert "/home/me" not in html


def test_sources_are_the_cited_places_by_number_then_what_else_was_found_by_rank() -> None:
    other = {**PASSAGE, "rank": 1, "document": "training.md", "title": "Training", "start": 0, "end": 9}
    twice = {**PASSAGE, "rank": 3, "start": 90, "end": 99}  # another piece of the same section
    found = [other, PASSAGE, twice]
    assert re.findall(r"<strong>(\w+)", chat_side.sources(found, [], {})) == ["Training", "Tokens"]
    second = {**CITED, "n": 2, "quote": "| a | **b** |"}
    html = chat_side.sources(found, [CITED, second], {})
    assert re.findall(r"<strong>(\w+)", html) == ["Tokens", "Training"]
    assert html.count("is-cited") == 1
    assert re.findall(r"<q>(.*?)</q>", html) == ["A token is a &lt;unit&gt;.", "a · b"]


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_an_unfinished_answer_offers_a_retry_and_no_thumbs(status: str) -> None:
    html = chat_view.turn(TurnView(1, "?", status, error="The model <stopped>."), {}, newest=True)
    assert "Retry" in html
    assert "The model &lt;stopped&gt;." in html
    assert 'data-act="rate"' not in html


def test_the_answer_being_written_announces_text_and_status_apart() -> None:
    view = LiveView("Why?", turn_id=3, conversation_id=9, status="Reading 6 passages…", seconds=4)
    html = chat_view.live(view, {})
    assert 'data-conversation="9"' in html
    assert '<div class="answer" aria-live="polite"></div>' in html
    assert 'role="status">Reading 6 passages…</span><span aria-hidden="true"> 4 s</span>' in html


def test_what_happened_tells_everything_escaped() -> None:
    html = what_view.what_happened(
        question="Why?",
        query="Why <x>?",
        timings_ms={"retrieve": 12.4, "total": 1234.5},
        passages=[PASSAGE],
        tokens={"prompt": 100, "completion": 20},
        model={"base": "small", "adapter": None, "weights_sha256": "abcdef" * 10},
        messages=[{"role": "user", "content": "<script>"}],
        sentences=[_sentence("Never <said>.", supported=False)],
        error=None,
    )
    text = re.sub(r"<[^>]+>", " ", html)
    for told in (
        "12",
        "1,234",
        "0.5000",
        "0.400",
        "abcdefabcdef",
        "100",
        "Why &lt;x&gt;?",
        "Never &lt;said&gt;.",
        "why",
    ):
        assert told in text
    assert "<script>" not in html


def _document(
    path: str, order: int, text: str = "Intro.\n\n## One\n\nWords.\n\n## Two\n\nWords.\n"
) -> StoredDocument:
    meta = {"order": order, "understand": "U", "concepts": ["thing"]}
    return StoredDocument(
        id=order, source="course", path=path, title=path.removesuffix(".md").title(), media_type="text/markdown",
        content_hash="", text=text, meta=meta, chunk_count=1, embedder="e", created_at=NOW, updated_at=NOW,
    )  # fmt: skip


def _read(page: str, section: str, *, read: bool = True, seconds: float = 5.0, at: int = 0) -> SectionRead:
    moment = NOW + timedelta(minutes=at)
    return SectionRead(page, section, seconds, moment, moment, read)


def test_the_path_is_in_order_and_counts_only_sections_that_exist() -> None:
    pages = [_document("late.md", 2), _document("early.md", 1)]
    progress = [
        _read("early.md", "top"),
        _read("early.md", "one"),
        _read("early.md", "gone"),
        _read("late.md", "two", read=False, seconds=20),
    ]
    early, late = library.study_path(pages, progress)
    assert (early.path, early.state, len(early.read), len(early.sections)) == ("early.md", "started", 2, 3)
    assert (late.state, len(late.read)) == ("started", 0)
    assert library.study_path(pages, [_read("early.md", "one", read=False)])[0].state == "new"
    done = [_read("early.md", s) for s in ("top", "one", "two")]
    assert library.study_path(pages, done)[0].state == "read"


@pytest.mark.parametrize(
    ("progress", "page", "section", "first"),
    [
        ([], "early.md", None, True),
        ([("late.md", "top")], "late.md", "one", False),  # goes on where one stopped, not at the first gap
        ([("early.md", s) for s in ("top", "one", "two")], "late.md", None, False),
        ([("late.md", s) for s in ("top", "one", "two")], "early.md", None, False),
        ([("gone.md", "top")], "early.md", None, False),
    ],
)
def test_continue_where_one_stopped(
    progress: list[tuple[str, str]], page: str, section: str | None, first: bool
) -> None:
    rows = [_read(*row, at=minute) for minute, row in enumerate(progress)]
    rows.append(
        _read("late.md", "two", read=False, seconds=2.0, at=99)
    )  # a citation looked up is not reading
    path = library.study_path([_document("early.md", 1), _document("late.md", 2)], rows)
    go_on = library.continue_at(path, rows)
    assert go_on is not None
    found = (go_on.page.path, go_on.section.anchor if go_on.section else None, go_on.first_time)
    assert found == (page, section, first)


def test_nothing_to_continue_when_all_is_read() -> None:
    rows = [_read("early.md", s) for s in ("top", "one", "two")]
    assert library.continue_at(library.study_path([_document("early.md", 1)], rows), rows) is None


def test_suggestions_come_from_the_page_or_one_from_each() -> None:
    faq = _document("faq.md", 1, "## Questions\n\n### Is it so?\n\nYes.\n\n### Why not?\n\nNo.\n")
    plain = _document("plain.md", 2)
    assert library.suggestions([plain, faq], None) == ["Is it so?", "What does “thing” mean?"]
    assert library.suggestions([plain, faq], faq) == ["What does “thing” mean?", "Is it so?", "Why not?"]


def test_the_chart_starts_at_zero_and_shows_every_day() -> None:
    days = history_view.fill_days(
        [history_view.Day(date(2026, 11, 20), 600, 2), history_view.Day(date(2026, 11, 22), 1200, 0)],
        date(2026, 11, 16),
        date(2026, 11, 22),
    )
    assert [d.seconds for d in days] == [0, 0, 0, 0, 600, 0, 1200]
    html = history_view.chart(days)
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" rx', html)]
    assert heights == [0, 0, 0, 0, 80, 0, 160]  # 10 and 20 of 20 minutes
    assert "Fri 20 Nov: 10 min, 2 questions" in html
    assert "svg" not in history_view.chart([history_view.Day(date(2026, 11, 22), 0, 0)])


def test_days_and_times_are_in_the_given_zone() -> None:
    east = timezone(timedelta(hours=10))
    evening = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)  # already the 22nd, 01:30, in the east
    assert markup.when(evening, now=NOW, tz=UTC) == "yesterday"
    assert markup.when(evening, now=NOW, tz=east) == "01:30"
    assert markup.when(NOW - timedelta(seconds=5), now=NOW, tz=UTC) == "just now"


def test_a_stopped_turn_is_closed_in_its_own_thread_and_counted() -> None:
    closed_by: list[str] = []
    metrics = Metrics()
    turns = LiveTurns(metrics)

    def answer() -> Iterator[object]:
        try:
            yield TurnStarted(5, 1)
            while True:
                yield DraftDelta("word ")
        finally:
            closed_by.append(threading.current_thread().name)

    turn = turns.start("session", answer)  # type: ignore[arg-type]
    events = turn.events()
    assert isinstance(next(events), TurnStarted)
    assert turns.running() == {5}
    turns.stop("another session")
    assert not turn.stopped
    turns.stop("session")
    turn.join(5)
    assert closed_by == ["turn"]
    assert turns.running() == set()
    assert b'study_tutor_turns_total{status="interrupted"} 1.0' in metrics.text()
    assert b"in_flight 0.0" in metrics.text()
    assert not [e for e in events if not isinstance(e, DraftDelta)]


def test_a_reader_that_goes_away_stops_the_turn() -> None:
    turns = LiveTurns(Metrics())

    def answer() -> Iterator[object]:
        yield TurnStarted(5, 1)
        while True:
            yield DraftDelta("word ")

    turn = turns.start("s", answer)  # type: ignore[arg-type]
    events = turn.events()
    next(events)
    events.close()  # type: ignore[attr-defined]
    turn.join(5)
    assert turns.running() == set()


def test_a_long_history_keeps_older_questions_behind_one_click() -> None:
    asked = [
        history_view.Question(
            question=f"Question {i}?", answer="Yes.", status="quoted", link="/chat", at="now", rating=None
        )
        for i in range(23)
    ]
    shown, _, behind = history_view.questions(asked).partition('<details class="earlier">')
    assert ("Question 19?" in shown, "Question 20?" in shown) == (True, False)
    assert "3 earlier questions" in behind
    assert "Question 22?" in behind
    assert "<details" not in history_view.questions(asked[:20])
