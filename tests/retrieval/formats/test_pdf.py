"""PDF files: pages and outlines as headings, running heads and hyphens gone."""

from __future__ import annotations

from pypdf import PdfWriter

from retrieval.loaders import load_document
from tests.retrieval.formats.sample import (
    found,
    headings,
    pdf,
    rewritten,
)


def outlined(writer: PdfWriter) -> None:
    chapter = writer.add_outline_item(title="1 Tokens", page_number=0)
    writer.add_outline_item(title="1.1 Bytes", page_number=0, parent=chapter)
    writer.add_outline_item(title="2 Not written so", page_number=1)
    writer.add_metadata({"/Title": "The Book"})


def test_the_page_is_the_last_heading_of_a_pdf() -> None:
    document = load_document("notes/deep.pdf", pdf(["One line and", "another. Second."], ["* On page two."]))
    assert (document.title, document.media_type, document.meta) == ("deep", "application/pdf", {"pages": 2})
    assert headings(document) == [("Page 1",), ("Page 2",)]
    assert [s.anchor for s in document.sections if s.heading_path] == ["page-1", "page-2"]
    assert found(document) == [
        ("paragraph", "One line and another."), ("paragraph", "Second."), ("paragraph", "* On page two.")
    ]  # fmt: skip
    first = document.sections[-2].sentences[0]
    assert document.text[first.start : first.end] == "One line and\nanother."


def test_the_outline_of_a_pdf_gives_its_headings() -> None:
    pages = pdf(
        ["Preface line.", "1 Tokens", "Text of one.", "1.1  Bytes", "Text of bytes."],
        ["All of page two."],
        ["Page three."],
    )
    document = load_document("a.pdf", rewritten(pages, outlined))
    assert document.title == "The Book"
    assert headings(document) == [
        ("Page 1",),
        ("1 Tokens", "Page 1"),
        ("1 Tokens", "1.1 Bytes", "Page 1"),
        ("2 Not written so", "Page 2"),
        ("2 Not written so", "Page 3"),
    ]
    assert [text for _, text in found(document)] == [
        "Preface line.", "Text of one.", "Text of bytes.", "All of page two.", "Page three."
    ]  # fmt: skip


def test_running_heads_hyphens_and_lists_of_a_pdf() -> None:
    bodies = [
        ["The self-attention of a trans-", "former is the self-", "attention that we know well as it is."],
        ["\x95 first point of the list", "\x95 second point", "Contents . . . . . . . . . 7"],
        [
            "Chapter title",
            "A long line of the text below the title, which ends",
            "here. And so on it goes, line by line,",
        ],
        ["1. One of them", "2. Two of them", "What is a transformer?"],
    ]
    document = load_document("a.pdf", pdf(*(["My Book", *b, f"{n + 11}"] for n, b in enumerate(bodies))))
    assert found(document) == [
        (
            "paragraph",
            "The self-attention of a transformer is the self-attention that we know well as it is.",
        ),
        ("list_item", "first point of the list"),
        ("list_item", "second point"),
        ("paragraph", "Chapter title"),
        ("paragraph", "A long line of the text below the title, which ends here."),
        ("paragraph", "And so on it goes, line by line,"),
        ("paragraph", "1. One of them"),
        ("paragraph", "2. Two of them"),
        ("paragraph", "What is a transformer?"),
    ]
