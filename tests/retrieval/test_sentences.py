"""Sentences keep their places in the text, whatever the text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retrieval.sentences import MAX_SENTENCE_CHARS, plain, split_markdown, split_sentences


def slices(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


def test_full_stops_that_end_nothing() -> None:
    text = "Dr. Wu paid 3.14 dollars, e.g. for v1.2.3 of pie (see Fig. 2). It was 3 p.m. then.\nDone? Yes!"
    assert slices(text) == [
        "Dr. Wu paid 3.14 dollars, e.g. for v1.2.3 of pie (see Fig. 2).",
        "It was 3 p.m. then.",
        "Done?",
        "Yes!",
    ]


def test_offsets_count_characters_not_bytes() -> None:
    assert slices("Größe 😀 zählt. שלום עולם. נגמר.") == ["Größe 😀 zählt.", "שלום עולם.", "נגמר."]


def test_a_list_number_stays_with_its_item() -> None:
    assert slices("1. Load it. 2. Run it.") == ["1. Load it.", "2. Run it."]


def test_a_sentence_without_end_is_cut_at_a_space_or_else_anywhere() -> None:
    words = "word " * 500
    pieces = slices(words)
    assert [len(p) for p in pieces] == [1499, 999]
    assert " ".join(pieces) == words.strip()
    assert [len(p) for p in slices("x" * 3200)] == [1500, 1500, 200]


@given(st.text())
def test_sentences_hold_every_visible_character_in_order(text: str) -> None:
    spans = split_sentences(text)
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())
    for start, end in spans:
        assert 0 < end - start <= MAX_SENTENCE_CHARS
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
    assert spans == sorted(spans)


def test_markdown_marks_stay_in_the_slice_and_out_of_the_words() -> None:
    source = (
        '**One.** And `a. B` is [a *link*. Inside](http://x.y/a. "T. t") &amp; more.\n'
        "Two \\* \nis *2.* ![Fig. x](p.png) Three"
    )
    found = [(source[start:end], words) for start, end, words in split_markdown(source)]
    assert found == [
        ("**One.** And `a. B` is [a *link*.", "One. And a. B is a link."),
        ('Inside](http://x.y/a. "T. t") &amp; more.', "Inside & more."),
        ("Two \\* \nis *2.*", "Two * is 2."),
        ("![Fig. x](p.png) Three", "Fig. x Three"),
    ]


def test_plain() -> None:
    assert plain("**Bold** `a_b*c` [to](http://x) ~~gone~~ &lt;b&gt;\n5 * 3 snake_case") == (
        "Bold a_b*c to gone <b> 5 * 3 snake_case"
    )


@given(st.text(alphabet=st.sampled_from("ab. !\n*_`[]()<>&;\\~#😀ש1"), max_size=80))
def test_markdown_sentences_never_overlap_or_leave_the_text(source: str) -> None:
    source = source.strip()
    behind = 0
    for start, end, words in split_markdown(source):
        assert behind <= start < end <= len(source)
        assert words == " ".join(words.split())
        behind = end


def test_a_bold_label_belongs_to_the_sentence_it_opens() -> None:
    source = "**Speed.** A learner waits seconds. Training takes days."
    assert [words for _, _, words in split_markdown(source)] == [
        "Speed. A learner waits seconds.",
        "Training takes days.",
    ]
    assert [words for _, _, words in split_markdown("A **bold claim.** It stands.")] == [
        "A bold claim.",
        "It stands.",
    ]
