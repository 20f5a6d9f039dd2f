"""How the Chat page draws held turns, cards and suggestions, and which doubts it takes up. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from db.documents import StoredDocument
from tutor.mastery import ConceptMastery, Evidence
from tutor.socratic import Tried, TriedPoint
from tutor.ui import chat_socratic_view, chat_suggest, chat_view
from tutor.ui.chat_socratic_view import Held
from tutor.ui.chat_suggest import Suggestion
from tutor.ui.chat_view import TurnView

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HELD = Held(
    [("Tokens & <more>", "What › Why <b>", "./?page=tokens.md")], "A ____ is <i>.", "Why <u>?", ready=True
)


def _concept(name: str, *outcomes: tuple[str, str, float]) -> ConceptMastery:
    """`outcomes` are (kind, question, quality), newest first."""
    rows = tuple(Evidence(kind, 1, "t.md", NOW, text, "", q, 1.0, 0.0) for kind, text, q in outcomes)  # type: ignore[arg-type]
    return ConceptMastery(name, "t.md", "Tokens", 0.2, 0.2, 0.0, rows)


def _page(text: str) -> StoredDocument:
    return StoredDocument(
        id=1, source="course", path="t.md", title="Tokens", media_type="text/markdown", content_hash="", text=text,
        meta={}, chunk_count=1, embedder="e", created_at=NOW, updated_at=NOW,
    )  # fmt: skip


def test_a_held_turn_is_drawn_from_its_hint_alone_and_escaped() -> None:
    view = TurnView(7, "What?", "answered", held=HELD, sentences=[{"text": "Secret", "supported": True}])
    html = chat_view.turn(view, {}, newest=True)
    assert "Secret" not in html
    assert 'data-act="retry"' not in html
    assert "What happened" not in html
    assert "Look in <strong>Tokens &amp; &lt;more&gt;</strong>: <a" in html
    assert ">Why &lt;b&gt;</a>" in html
    assert "is &lt;i&gt;." in html
    assert "Why &lt;u&gt;?" in html
    assert 'for="reply-7"' in html


def test_a_stopped_turn_can_be_retried_with_or_without_a_hint() -> None:
    for ready in (True, False):
        held = Held([], "", "Why?", ready=ready)
        html = chat_view.turn(TurnView(7, "What?", "interrupted", held=held), {}, newest=True)
        assert ("Check my answer" in html) is ready
        assert "Stopped before it was finished" in html
        assert 'data-act="retry"' in html


def test_the_learners_try_says_what_it_made_and_what_it_missed() -> None:
    points = (
        TriedPoint("One <1>.", hit=True, contradicted=False, evidence="<uno>"),
        TriedPoint("Two.", hit=False, contradicted=True, evidence="not two"),
        TriedPoint("Three.", hit=False, contradicted=False, evidence=None),
    )
    html = chat_socratic_view.tried(Tried("My <reply>", "partial", points), opened=False)
    assert "Your answer makes 1 of 3 points" in html
    assert "My &lt;reply&gt;" in html
    assert "<q>&lt;uno&gt;</q>" in html
    assert [html.count(f"is-{kind}") for kind in ("hit", "against", "missed")] == [1, 1, 1]
    assert '<details class="tried">' in html
    odd = chat_socratic_view.tried(Tried("x", "<odd>", ()), opened=True)
    assert "odd" not in odd
    assert "makes 0 of 0 points" in odd


def test_only_the_latest_outcome_of_each_question_makes_a_doubt() -> None:
    known = _concept("loss", ("attempt", "Q1", 1.0), ("attempt", "Q1", 0.0), ("review", "Q2", 0.9))
    shaky = _concept("token", ("attempt", "Q1", 1.0), ("review", "Q2", 0.6))
    read = _concept("epoch", ("reading", "Tokens", 0.1))
    assert [chat_suggest.unsure(c) for c in (known, shaky, read)] == [False, True, False]
    found = chat_suggest.weak_suggestions([known, shaky, read], {})
    assert found == [Suggestion("What does “token” mean?", "You were unsure about “token”")]


def test_a_doubt_is_asked_in_the_pages_words_once_and_never_more_than_the_limit() -> None:
    page = _page("## Questions\n\n### Is a token a word?\n\nNo.\n")
    doubts = [
        _concept(name, ("attempt", name, 0.0)) for name in ("tokens", "token", "loss", "weight", "epoch")
    ]
    asked = [s.question for s in chat_suggest.weak_suggestions(doubts, {"t.md": page})]
    assert asked == ["Is a token a word?", "What does “loss” mean?"]
    taken = ["Is a token a word?"]
    others = [s.question for s in chat_suggest.weak_suggestions(doubts, {"t.md": page}, taken)]
    assert others == ["What does “loss” mean?", "What does “weight” mean?"]


def test_the_empty_chat_says_where_each_suggestion_comes_from() -> None:
    doubt = Suggestion("What does “<loss>” mean?", "You were unsure about “<loss>”")
    html = chat_view.empty(["Is it so?"], "Tokens & words", weak=[doubt], quiz_page="t.md")
    assert "From “Tokens &amp; words”" in html
    assert "You were unsure about “&lt;loss&gt;”</span>" in html
    assert 'data-act="quiz" data-page="t.md"' in html
    plain = chat_view.empty(["Is it so?"], None)
    assert "Suggested questions" in plain
    assert "From your answers" not in plain
    assert "quiz" not in plain


def test_a_card_can_be_saved_only_where_there_is_an_answer() -> None:
    said = [{"text": "It is.", "supported": True, "citations": [], "origin": "model"}]
    answered = TurnView(7, "What?", "answered", sentences=said, quiz=True)
    html = chat_view.turn(answered, {}, newest=False)
    assert "Save as card" in html
    assert "Quiz me on this" in html
    declined = TurnView(7, "What?", "not_covered", sentences=said, quiz=True)
    assert "Save as card" not in chat_view.turn(declined, {}, newest=False)
    saved = TurnView(7, "What?", "answered", sentences=said, card="tomorrow")
    html = chat_view.turn(saved, {}, newest=False)
    assert "Saved – first review tomorrow" in html
    assert "Save as card" not in html
