"""Chunks are whole sentences of one section, all of them, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retrieval.chunker import chunk, search_text
from retrieval.loaders import load_document
from retrieval.records import Document


def count(text: str) -> int:
    return len(text.split())


def page(*sections: list[int]) -> Document:
    """A page titled "t"; each section has sentences of the given numbers of words, each its own paragraph."""
    parts = []
    for number, sizes in enumerate(sections):
        parts += [
            f"# H{number}",
            *(" ".join(["w"] * (size - 1) + [f"e{i}."]) for i, size in enumerate(sizes)),
        ]
    return load_document("t.md", "\n\n".join(parts).encode())


def sizes(document: Document, max_tokens: int) -> list[list[int]]:
    return [
        [count(s.text) for s in c.sentences]
        for c in chunk(document, max_tokens=max_tokens, count_tokens=count)
    ]


def test_packs_up_to_the_limit_with_the_headings_counted() -> None:
    # Title "H0" and heading "H0" are one word of prefix; 1 + 50 + 49 = 100.
    assert sizes(page([50, 49, 50, 60]), 100) == [[50, 49], [50], [60]]


def test_a_short_tail_joins_the_chunk_before_it_unless_that_gets_too_long() -> None:
    assert sizes(page([90, 20]), 100) == [[90, 20]]  # 1 + 110 <= 125
    assert sizes(page([90, 35]), 100) == [[90], [35]]  # 1 + 125 > 125
    assert sizes(page([60, 40]), 100) == [[60], [40]]  # 40 is not short


def test_a_sentence_longer_than_the_limit_stays_whole() -> None:
    assert sizes(page([10, 300, 50]), 100) == [[10], [300], [50]]


def test_headings_part_chunks_even_when_both_would_fit() -> None:
    document = page([5], [5])
    chunks = chunk(document, count_tokens=count)
    assert [(c.ordinal, c.heading_path) for c in chunks] == [(0, ("H0",)), (1, ("H1",))]
    assert search_text(document.title, chunks[1].heading_path, chunks[1].sentences) == "H0\nH1\nw w w w e0."


def test_a_lead_in_goes_with_its_list() -> None:
    text = f"# H\n\n{'w ' * 80}end.\n\nThere are two kinds:\n\n- {'x ' * 50}\n- b\n"
    chunks = chunk(load_document("a.md", text.encode()), max_tokens=100, count_tokens=count)
    assert [c.sentences[0].text[:10] for c in chunks] == ["w w w w w ", "There are "]


@given(
    st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=12), min_size=1, max_size=4),
    st.integers(10, 100),
)
def test_chunks_cover_every_sentence_once(sections: list[list[int]], max_tokens: int) -> None:
    document = page(*sections)
    chunks = chunk(document, max_tokens=max_tokens, count_tokens=count)
    assert [s for c in chunks for s in c.sentences] == [s for x in document.sections for s in x.sentences]
    for c in chunks:
        assert c.text == document.text[c.start : c.end]
        assert (c.start, c.end) == (c.sentences[0].start, c.sentences[-1].end)
        words = sum(count(s.text) for s in c.sentences)
        assert len(c.sentences) == 1 or words < 1.25 * max_tokens
