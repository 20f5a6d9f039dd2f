"""What is searched for a question: slips mended and abbreviations spelled out, only by what the material says."""

from __future__ import annotations

import pytest

from db.session import Database
from retrieval.ingest import ingest_paths
from retrieval.query import abbreviations, long_form, nearest_term, one_slip, plain_words, replaced
from retrieval.retriever import Retriever, Stages


@pytest.mark.parametrize(
    ("one", "other", "slip"),
    [
        ("tokn", "token", True),  # left out
        ("tokken", "token", True),  # one too many
        ("tokem", "token", True),  # another
        ("tokne", "token", True),  # swapped
        ("token", "token", False),
        ("tokenizer", "token", False),
        ("kotne", "token", False),  # two slips
        ("", "ab", False),
    ],
)
def test_one_slip(one: str, other: str, slip: bool) -> None:
    assert one_slip(one, other) is slip
    assert one_slip(other, one) is slip


def test_the_nearest_term_is_the_most_frequent_with_the_same_first_letter() -> None:
    vocabulary = {"loken": 90, "token": 7, "tokan": 2}
    assert nearest_term("tokn", vocabulary) == "token"
    assert nearest_term("gradient", vocabulary) is None


def test_short_words_names_in_capitals_and_function_words_are_no_slips() -> None:
    assert plain_words("Why is a tokn of GPTX not teh same as a2b?") == ["tokn"]
    assert replaced("What's a tokn? A tokn!", {"tokn": "token"}) == "What's a token? A token!"


@pytest.mark.parametrize(
    ("abbreviation", "text", "form"),
    [
        (
            "RAG",
            "This is called retrieval-augmented generation (RAG), and it works.",
            "retrieval-augmented generation",
        ),
        (
            "rag",
            "This is called retrieval-augmented generation (RAG), and it works.",
            "retrieval-augmented generation",
        ),
        ("WALs", "A write-ahead log (WAL) keeps changes.", "write-ahead log"),
        (
            "RAG",
            "RAG, short for retrieval-augmented generation, reads first.",
            "retrieval-augmented generation",
        ),
        ("SLO", "SLO stands for service level objective.", "service level objective"),
        ("SLO", "Something else entirely (SLO) is named here.", None),
        ("SLO", "The SLO was missed twice.", None),
    ],
)
def test_what_an_abbreviation_stands_for_is_what_the_material_says(
    abbreviation: str, text: str, form: str | None
) -> None:
    assert long_form(abbreviation, [text]) == form


def test_abbreviations_of_a_question() -> None:
    assert abbreviations("How does RAG differ from LoRA and what is it?") == ["RAG", "LoRA"]
    assert "rag" in abbreviations("what is rag")


class Pieces:
    """A fake embedder's words as pieces: only "token" and common words are one."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def count_tokens(self, text: str) -> int:
        return 2 if text in ("tokn", "backpropagaton") else 1


def test_a_question_is_rewritten_by_the_indexed_material(
    database: Database, fake_embedder: object, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    page = tmp_path / "tokens.md"
    page.write_text(
        "# Tokens\n\nA token is a piece of text. A service level objective (SLO) is a promise.\n", "utf-8"
    )
    ingest_paths(database, fake_embedder, [tmp_path])  # type: ignore[arg-type]
    retriever = Retriever(database, Pieces(fake_embedder))  # type: ignore[arg-type]
    assert retriever.rewrite("What is a tokn?") == "What is a token?"
    assert retriever.rewrite("What is a backpropagaton?") == "What is a backpropagaton?"  # nothing near
    assert retriever.rewrite("why does an SLO matter?") == "why does an SLO (service level objective) matter?"
    plain = Retriever(database, Pieces(fake_embedder), stages=Stages(spelling=False, abbreviations=False))  # type: ignore[arg-type]
    assert plain.rewrite("What is a tokn of an SLO?") == "What is a tokn of an SLO?"
    page.unlink()
    ingest_paths(database, fake_embedder, [tmp_path], prune=True)  # type: ignore[arg-type]
    assert retriever.rewrite("What is an SLO?") == "What is an SLO?"  # a deleted document defines nothing
