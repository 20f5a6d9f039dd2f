"""Documents: replace, delete, order, full text; the same on both engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from db import documents
from db.documents import NewDocument
from db.session import Database

Make = Callable[..., NewDocument]


def _hits(database: Database, *terms: str, limit: int = 10) -> list[str]:
    with database.session(readonly=True) as session:
        found = documents.search_text(session, list(terms), limit)
        chunks = documents.get_chunks(session, [chunk_id for chunk_id, _ in found])
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert all(score > 0 for _, score in found)
    return [chunk.text for chunk in chunks]


def test_what_was_put_is_read_back(database: Database, make_document: Make) -> None:
    new = make_document("Loss falls.", "Weights change.")
    with database.session() as session:
        stored = documents.put_document(session, new)
    with database.session(readonly=True) as session:
        assert documents.get_document(session, stored.id) == stored
        assert documents.find_document(session, "course", "page.md") == stored
        assert documents.find_document(session, "other", "page.md") is None
        assert documents.list_documents(session) == [replace(stored, text="")]
        assert documents.list_documents(session, "course", with_text=True) == [stored]
        assert documents.document_hashes(session, "course") == {"page.md": (new.content_hash, "e1")}
        second = documents.get_chunk_by_ordinal(session, stored.id, 1)
        assert documents.get_chunk_by_ordinal(session, stored.id, 2) is None
        (first_id, first_vector), (second_id, _) = documents.all_vectors(session, "e1")
        assert documents.all_vectors(session, "e2") == []
        asked = documents.get_chunks(session, [second_id, 999, first_id])
    assert (stored.chunk_count, stored.meta, stored.text) == (2, {"order": 1}, new.text)
    assert stored.created_at.utcoffset() is not None
    assert [chunk.ordinal for chunk in asked] == [1, 0]
    assert second == asked[0]
    assert (second.heading_path, second.start, second.end) == (("Page", "Part 1"), 12, 27)
    assert second.sentences == new.chunks[1].sentences
    assert (second.vector, second.sentence_vectors) == (new.chunks[1].vector, new.chunks[1].sentence_vectors)
    assert first_vector == new.chunks[0].vector


def test_put_again_keeps_the_id_and_drops_the_old_chunks_from_search(
    database: Database, make_document: Make
) -> None:
    with database.session() as session:
        first = documents.put_document(session, make_document("Gradients descend.", "Epochs repeat."))
        old = [chunk_id for chunk_id, _ in documents.all_vectors(session, "e1")]
    assert _hits(database, "gradient") == ["Gradients descend."]
    with database.session() as session:
        again = documents.put_document(session, make_document("Tokens are pieces.", embedder="e2"))
        now = [chunk_id for chunk_id, _ in documents.all_vectors(session, "e2")]
        assert documents.all_vectors(session, "e1") == []
    assert (again.id, again.created_at) == (first.id, first.created_at)
    assert again.updated_at > first.updated_at
    assert not set(old) & set(now)  # an id is never given twice, so no cached index can mix them up
    assert _hits(database, "gradient", "epochs") == []
    assert _hits(database, "token") == ["Tokens are pieces."]


def test_deleted_is_unfindable_at_once(database: Database, make_document: Make) -> None:
    with database.session() as session:
        kept = documents.put_document(session, make_document("Attention weighs words.", path="a.md"))
        gone = documents.put_document(session, make_document("Attention is costly.", path="b.md"))
    with database.session() as session:
        assert documents.delete_document(session, gone.id) is True
        assert documents.delete_document(session, gone.id) is False
    assert _hits(database, "attention") == ["Attention weighs words."]
    with database.session(readonly=True) as session:
        assert documents.get_document(session, gone.id) is None
        assert len(documents.all_vectors(session, "e1")) == 1
        assert [document.id for document in documents.list_documents(session)] == [kept.id]


def test_delete_source_keeps_other_sources_and_named_paths(database: Database, make_document: Make) -> None:
    with database.session() as session:
        for source, path in (("course", "a.md"), ("course", "b.md"), ("mine", "a.md")):
            documents.put_document(session, make_document("Words.", source=source, path=path))
    with database.session() as session:
        assert documents.delete_source(session, "course", {"a.md"}) == ["b.md"]
        assert documents.delete_source(session, "mine", None) == ["a.md"]
        left = [(document.source, document.path) for document in documents.list_documents(session)]
    assert left == [("course", "a.md")]


def test_index_version_grows_with_each_change_and_not_otherwise(
    database: Database, make_document: Make
) -> None:
    def version() -> int:
        with database.session(readonly=True) as session:
            return documents.index_version(session)

    seen = [version()]
    with database.session() as session:
        stored = documents.put_document(session, make_document("One."))
    seen.append(version())
    with database.session() as session:
        documents.delete_source(session, "nothing here", None)
        documents.delete_document(session, 999)
    assert version() == seen[-1]
    with pytest.raises(ZeroDivisionError), database.session() as session:
        documents.put_document(session, make_document("Two.")).id / 0
    assert version() == seen[-1]  # rolled back with the document
    with database.session() as session:
        documents.delete_document(session, stored.id)
    seen.append(version())
    with database.session() as session:
        documents.put_document(session, make_document("Three."))
    seen.append(version())
    with database.session() as session:
        documents.delete_source(session, "course")
    seen.append(version())
    assert seen == sorted(set(seen))


def test_any_term_matches_stemmed_and_in_the_heading(database: Database, make_document: Make) -> None:
    with database.session() as session:
        texts = ("Training changes the weights.", "Inference reads weights.", "Batteries hold charge.")
        documents.put_document(session, make_document(*texts))
    assert _hits(database, "train", "battery") in (
        ["Training changes the weights.", "Batteries hold charge."],
        ["Batteries hold charge.", "Training changes the weights."],
    )
    assert _hits(database, "inference", "weight")[0] == "Inference reads weights."  # both terms beat one
    assert len(_hits(database, "page")) == 3  # only the heading path says "Page"
    assert len(_hits(database, "page", limit=2)) == 2
    assert _hits(database, "weight train") == []  # several words in one term are a phrase
    assert _hits(database, "inference reads") == ["Inference reads weights."]


NOTHING = ['"', '""', "'", "*", "wei*", "NEAR(", "x AND", "x OR weights", "OR", "(", "search_text:weights",
           "{a b}: c", "'; DROP TABLE chunks; --", "&|!", ":*", "<->", "\\", "\0", "\ud800", "🙂", "", "   ",
           "x" * 100_000, ":t0", "%s", "%(t0)s", "col : x + y"]  # fmt: skip
THE_WORD = [
    "^weights",
    "-weights",
    "weights;--",
    "weights*",
    '"weights',
    "(weights)",
    "!weights",
    "weights:*",
]


def test_no_user_text_is_query_syntax(database: Database, make_document: Make) -> None:
    with database.session() as session:
        documents.put_document(session, make_document("Weights change."))
    for term in NOTHING:
        assert _hits(database, term) == [], term[:20]
        assert _hits(database, term, "change") == ["Weights change."], term[:20]  # and it spoils no good term
    for term in THE_WORD:
        assert _hits(database, term) == ["Weights change."], term


def test_a_thousand_terms_are_cut_not_refused(database: Database, make_document: Make) -> None:
    with database.session() as session:
        documents.put_document(session, make_document("Weights change."))
    assert _hits(database, "weights", *(f"word{number}" for number in range(1000))) == ["Weights change."]


def test_vectors_that_do_not_fit_are_refused(database: Database, make_document: Make) -> None:
    good = make_document("One.")
    bad_vector = replace(good, chunks=(replace(good.chunks[0], vector=b"\0" * 4),))
    bad_rows = replace(good, chunks=(replace(good.chunks[0], sentence_vectors=b""),))
    for bad in (bad_vector, bad_rows):
        with pytest.raises(ValueError, match="chunk 0"), database.session() as session:
            documents.put_document(session, bad)
    with database.session(readonly=True) as session:
        assert documents.list_documents(session) == []


def test_text_survives_and_offsets_stay_right(database: Database, make_document: Make) -> None:
    words = "naïve 🙂 مرحبا \u202eשלום e\u0301 \0 \ud83d end"
    with database.session() as session:
        stored = documents.put_document(session, make_document(words, path="ünï/🙂.md"))
        chunk = documents.get_chunk_by_ordinal(session, stored.id, 0)
    assert stored.text == words.replace("\0", "\ufffd").replace("\ud83d", "\ufffd")
    assert stored.path == "ünï/🙂.md"
    assert chunk is not None
    assert chunk.text == chunk.sentences[0][2] == stored.text[chunk.start : chunk.end] == stored.text
