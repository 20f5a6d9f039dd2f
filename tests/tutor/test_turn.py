"""One chat turn with a real database, real search and a scripted model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from db import conversations, study
from db.errors import NotFound
from db.session import Database
from retrieval.ingest import ingest_folder
from retrieval.retriever import Retriever
from tutor.events import (
    QUOTED_ALREADY,
    QUOTED_INSTEAD,
    DraftDelta,
    PassagesFound,
    SentenceChecked,
    TurnLogged,
    TurnStarted,
)
from tutor.generators.protocol import GeneratorError, Message
from tutor.generators.scripted import ScriptedGenerator
from tutor.prompt import ABSTAIN
from tutor.settings import Settings
from tutor.turn import QuestionError, Tutor, valid_question

PAGES = {
    "tokens.md": "# Tokens\n\nA token is a **piece of text** that a model reads as one unit. Bread is baked daily.\n",
    "training.md": "# Training\n\nTraining is the process that changes the weights of a model. "
    "Inference leaves every weight as it was.\n",
}
TOKEN = "A token is a piece of text that a model reads as one unit."
NEARLY_WHOLE = "A token is text that a model reads as one unit."


class Classroom:
    """A tutor over the pages above whose model says what a test wants."""

    def __init__(self, database: Database, folder: Path, embedder: object) -> None:
        for name, text in PAGES.items():
            (folder / name).write_text(text, "utf-8")
        ingest_folder(database, embedder, folder, source="course")  # type: ignore[arg-type]
        self.database = database
        self.drafts: list[str] = []
        self.asked: list[Sequence[Message]] = []
        self.generator = ScriptedGenerator(self._next)
        self.tutor = Tutor(database, Retriever(database, embedder), lambda name: self.generator, Settings())  # type: ignore[arg-type]
        with database.session() as session:
            self.learner_id = study.learner(session, "me").id

    def _next(self, messages: Sequence[Message]) -> str:
        self.asked.append(messages)
        return self.drafts.pop(0)

    def ask(self, question: str, **options: object):
        return self.tutor.ask(question, learner_id=self.learner_id, **options)

    def turns(self, conversation_id: int) -> list[conversations.Turn]:
        with self.database.session(readonly=True) as session:
            return conversations.turns_of(session, conversation_id)


@pytest.fixture
def classroom(
    database: Database, tmp_path: Path, make_embedder: Callable[..., object]
) -> Iterator[Classroom]:
    folder = tmp_path / "course"
    folder.mkdir()
    return Classroom(database, folder, make_embedder(dimension=512))


def test_a_supported_draft_is_shown_with_the_sentence_it_rests_on(classroom: Classroom) -> None:
    classroom.drafts = [NEARLY_WHOLE.replace(".", " [7].")]
    events = list(classroom.tutor.answer("What is a token?", learner_id=classroom.learner_id))

    kinds = [type(e) for e in events if not isinstance(e, DraftDelta)]
    assert kinds[:3] == [TurnStarted, PassagesFound, SentenceChecked]
    last = events[-1]
    assert isinstance(last, TurnLogged)
    result = last.result
    assert result.status == "answered"
    assert result.sentences[0].text == NEARLY_WHOLE
    assert result.sentences[0].origin == "model"
    (citation,) = result.citations
    assert citation.quote == "A token is a **piece of text** that a model reads as one unit."
    assert PAGES["tokens.md"][citation.start : citation.end] == citation.quote


def test_what_is_logged_is_what_was_sent_and_shown(classroom: Classroom) -> None:
    classroom.drafts = [NEARLY_WHOLE]
    result = classroom.ask("What is a token?")
    (turn,) = classroom.turns(result.conversation_id)
    assert turn.messages == [dict(m) for m in classroom.asked[0]]
    assert TOKEN in turn.messages[1]["content"]
    assert (turn.status, turn.answer, turn.draft) == (
        "answered",
        result.answer,
        NEARLY_WHOLE,
    )
    assert turn.passages[0]["document"] == "tokens.md"
    assert turn.model["base"] == classroom.generator.identity.base
    assert turn.timings_ms["total"] >= turn.timings_ms["retrieve"] > 0
    assert turn.completed_at is not None


def test_a_draft_that_fails_the_check_is_kept_in_the_log_and_the_material_answers(
    classroom: Classroom,
) -> None:
    classroom.drafts = ["A token is silver. A token is text and silver. So it is rare."]
    result = classroom.ask("What is a token?")
    assert result.status == "quoted"
    assert "silver" not in result.answer
    assert result.answer.startswith(f"{TOKEN} [1]")
    refused = [s for s in result.sentences if not s.supported]
    assert [s.text for s in refused] == ["A token is silver.", "A token is text and silver."]
    assert all(s.reasons for s in refused)


def test_a_draft_that_strays_from_the_start_is_cut_short(classroom: Classroom) -> None:
    classroom.drafts = ["Tokens are silver coins of ancient Rome that emperors and merchants liked. " * 20]
    result = classroom.ask("What is a token?")
    assert result.status == "quoted"
    (turn,) = classroom.turns(result.conversation_id)
    assert turn.draft.startswith("Tokens are silver coins")
    assert len(turn.draft) < 40


def test_what_the_draft_left_unsaid_the_material_says(classroom: Classroom) -> None:
    classroom.drafts = ["Inference leaves every weight as it was."]
    result = classroom.ask("What is the difference between training and inference?")
    shown = [(s.origin, s.text) for s in result.sentences if s.supported]
    assert shown[0] == ("model", "Inference leaves every weight as it was.")
    assert ("material", "Training is the process that changes the weights of a model.") in shown
    assert result.status == "answered"


def test_two_sentences_said_in_one_are_not_quoted_as_well(classroom: Classroom) -> None:
    both = "Training changes the weights of a model, and inference leaves every weight as it was."
    classroom.drafts = [both]
    result = classroom.ask("What is the difference between training and inference?")
    assert [s.text for s in result.sentences if s.supported] == [both]
    assert len(result.citations) == 2


def test_a_draft_that_says_too_little_of_a_sentence_gives_way_to_it(classroom: Classroom) -> None:
    classroom.drafts = ["A token is a piece of text. A token is text that a model reads."]
    result = classroom.ask("What is a token?")
    assert (result.status, result.answer) == ("quoted", f"{TOKEN} [1]")  # once, and whole
    drafted = [s for s in result.sentences if s.origin == "model"]
    assert drafted[0].reasons == (QUOTED_INSTEAD,)
    assert [(s.supported, s.passed) for s in drafted] == [(False, True)] * len(drafted)


def test_what_was_quoted_is_not_said_again(classroom: Classroom) -> None:
    classroom.drafts = ["Training changes weights. Training changes the weights of a model."]
    result = classroom.ask("What is the difference between training and inference?")
    assert [s.reasons for s in result.sentences if s.origin == "model"] == [
        (QUOTED_INSTEAD,),
        (QUOTED_ALREADY,),
    ]
    shown = [s.text for s in result.sentences if s.supported]
    assert len(shown) == 2
    assert shown[0] == "Training is the process that changes the weights of a model."


def test_when_the_material_is_silent_no_model_is_asked(classroom: Classroom) -> None:
    result = classroom.ask("Who won the football championship?")
    assert result.status == "not_covered"
    assert classroom.asked == []
    assert result.citations == ()
    assert "does not cover" in result.answer


def test_a_draft_that_declines_does_not_outweigh_the_material(classroom: Classroom) -> None:
    classroom.drafts = [ABSTAIN]
    result = classroom.ask("What is a token?")
    assert (result.status, result.answer) == ("quoted", f"{TOKEN} [1]")


def test_a_stopped_turn_keeps_what_was_shown_and_frees_the_model(classroom: Classroom) -> None:
    classroom.drafts = [f"{NEARLY_WHOLE} " + "It is a piece of text. " * 50]
    events = classroom.tutor.answer("What is a token?", learner_id=classroom.learner_id)
    started = next(events)
    assert isinstance(started, TurnStarted)
    for event in events:
        if isinstance(event, SentenceChecked):
            break
    events.close()  # type: ignore[attr-defined]
    (turn,) = classroom.turns(started.conversation_id)
    assert turn.status == "interrupted"
    assert turn.answer == f"{NEARLY_WHOLE} [1]"
    assert turn.completed_at is not None


def test_a_repeated_request_gives_the_first_answer_again(classroom: Classroom) -> None:
    classroom.drafts = ["A token is a piece of text."]
    first = classroom.ask("What is a token?", request_id="r1")
    again = classroom.ask("What is a token?", request_id="r1")
    assert (again.turn_id, again.answer, again.citations) == (first.turn_id, first.answer, first.citations)
    assert len(classroom.asked) == 1
    assert len(classroom.turns(first.conversation_id)) == 1


def test_a_follow_up_is_searched_standing_alone_and_kept_as_typed(classroom: Classroom) -> None:
    classroom.drafts = ["Training is the process that changes the weights of a model."] * 3
    first = classroom.ask("What is training?")
    second = classroom.ask("What does it change?", conversation_id=first.conversation_id)
    assert (second.question, second.query) == ("What does it change?", "What does training change?")
    by_history = classroom.ask(
        "What does it change?", history=[{"role": "user", "content": "What is training?"}]
    )
    assert by_history.query == "What does training change?"


def test_another_learners_conversation_is_not_there(classroom: Classroom) -> None:
    classroom.drafts = ["A token is a piece of text."]
    first = classroom.ask("What is a token?")
    with classroom.database.session() as session:
        classroom.learner_id = study.learner(session, "someone else").id
    with pytest.raises(NotFound):
        classroom.ask("What is training?", conversation_id=first.conversation_id)


def test_ctrl_c_is_an_interrupted_turn(classroom: Classroom) -> None:
    def pressed(messages: Sequence[Message]) -> str:
        raise KeyboardInterrupt

    classroom.generator = ScriptedGenerator(pressed)
    with pytest.raises(KeyboardInterrupt):
        classroom.ask("What is a token?", request_id="r1")
    with classroom.database.session(readonly=True) as session:
        turn = conversations.find_turn_by_request(session, "r1")
    assert turn is not None
    assert turn.status == "interrupted"


def test_a_retry_takes_the_place_of_the_turn(classroom: Classroom) -> None:
    classroom.drafts = ["A token is a piece of text."] * 2
    first = classroom.ask("What is a token?")
    second = classroom.ask("What is a token?", conversation_id=first.conversation_id, replaces=first.turn_id)
    assert [t.id for t in classroom.turns(first.conversation_id)] == [second.turn_id]


def test_a_model_that_breaks_costs_fluency_and_nothing_else(classroom: Classroom) -> None:
    def broken(messages: Sequence[Message]) -> str:
        raise GeneratorError("The server is not there; start it.")

    classroom.generator = ScriptedGenerator(broken)
    result = classroom.ask("What is a token?")
    assert result.status == "quoted"
    assert result.error == "The server is not there; start it."
    assert TOKEN in result.answer
    assert classroom.ask("What is a token?", closed_book=True).status == "failed"


def test_closed_book_shows_what_the_weights_say_and_supports_none_of_it(classroom: Classroom) -> None:
    classroom.drafts = ["Tokens are coins. They shine."]
    result = classroom.ask("What is a token?", closed_book=True)
    assert (result.status, result.answer) == ("answered", "Tokens are coins. They shine.")
    assert result.passages == ()
    assert [s.supported for s in result.sentences] == [False, False]


@pytest.mark.parametrize("question", ["", " \n\t", "\x00"])
def test_an_empty_question_is_refused_before_anything_is_saved(classroom: Classroom, question: str) -> None:
    with pytest.raises(QuestionError, match="empty"):
        classroom.ask(question)
    with classroom.database.session(readonly=True) as session:
        assert conversations.list_conversations(session, classroom.learner_id, include_empty=True) == []


def test_a_question_past_the_limit_names_both_lengths() -> None:
    with pytest.raises(QuestionError, match=r"1,000,000 characters, and the limit is 2,000"):
        valid_question("x" * 1_000_000, 2000)


def test_emoji_and_right_to_left_text_come_back_as_typed(classroom: Classroom) -> None:
    question = "מה זה token? 👩‍🏫 \u202eabc"
    result = classroom.ask(question)
    (turn,) = classroom.turns(result.conversation_id)
    assert turn.question == result.question == question
