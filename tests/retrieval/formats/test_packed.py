"""Word documents, books, notebooks and tables: their text, headings and places."""

from __future__ import annotations

import docx
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.text.paragraph import Paragraph

from retrieval.loaders import load_document, read_again
from tests.retrieval.formats.sample import (
    epub,
    found,
    headings,
    html,
    notebook,
    saved,
)


def test_a_word_document() -> None:
    made = docx.Document()
    made.add_heading("My Paper", 0)
    made.add_paragraph("It is *plain*. Second.")
    made.add_heading("Methods", 1)
    made.add_paragraph("apples", style="List Bullet")
    made.add_paragraph("red", style="List Bullet 2")
    made.add_paragraph("pears", style="List Bullet")
    made.add_paragraph("one", style="List Number")
    made.add_heading("Deeper", 2)
    table = made.add_table(3, 2)
    for row, cells in zip(table.rows, [("Model", "Size"), ("small", "1 | 2"), ("", "3")], strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    made.add_paragraph("Said so.", style="Quote")
    changed = made.add_paragraph("Kept ")
    deleted = OxmlElement("w:del")
    deleted.append(made.add_paragraph("gone").runs[0]._r)
    changed._p.append(deleted)
    inserted = OxmlElement("w:ins")
    inserted.append(made.add_paragraph("words.").runs[0]._r)
    changed._p.append(inserted)
    own_level = made.add_paragraph("Own heading")
    outline = OxmlElement("w:outlineLvl")
    outline.set(qn("w:val"), "0")
    own_level._p.get_or_add_pPr().append(outline)
    made.add_paragraph("End.")
    document = load_document("paper.docx", saved(made))
    assert document.title == "My Paper"
    assert document.media_type.endswith("wordprocessingml.document")
    assert headings(document) == [("My Paper",), ("Methods",), ("Methods", "Deeper"), ("Own heading",)]
    assert found(document) == [
        ("paragraph", "It is *plain*."),
        ("paragraph", "Second."),
        ("list_item", "apples"),
        ("list_item", "red"),
        ("list_item", "pears"),
        ("list_item", "one"),
        ("table_row", "Model: small; Size: 1 | 2"),
        ("table_row", "Model: small; Size: 3"),
        ("quote", "Said so."),
        ("paragraph", "Kept words."),
        ("paragraph", "End."),
    ]


def _note(made: docx.document.Document, kind: str, notes: dict[int, str]) -> None:
    """The part of a Word file that holds its footnotes or endnotes, as Word writes it."""
    said = "".join(
        f'<w:{kind} w:id="{number}"><w:p><w:r><w:{kind}Ref/></w:r><w:r><w:t>{text}</w:t></w:r></w:p></w:{kind}>'
        for number, text in notes.items()
    )
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    part = Part(
        PackURI(f"/word/{kind}s.xml"),
        f"application/vnd.openxmlformats-officedocument.wordprocessingml.{kind}s+xml",
        f'<w:{kind}s xmlns:w="{space}">{said}</w:{kind}s>'.encode(),
        made.part.package,
    )
    made.part.relate_to(part, f"http://schemas.openxmlformats.org/officeDocument/2006/relationships/{kind}s")


def _refer(paragraph: Paragraph, kind: str, number: int) -> None:
    mark = OxmlElement(f"w:{kind}Reference")
    mark.set(qn("w:id"), str(number))
    paragraph.add_run()._r.append(mark)


def test_the_notes_of_a_word_document_stand_after_what_they_explain() -> None:
    made = docx.Document()
    _note(made, "footnote", {-1: "", 2: "Measured in May.", 3: "Only the red ones.", 4: "Nobody asks."})
    _note(made, "endnote", {2: "From a letter."})
    first = made.add_paragraph("The mean is 4.")
    _refer(first, "footnote", 2)
    _refer(first, "endnote", 2)
    _refer(made.add_paragraph("apples and pears", style="List Bullet"), "footnote", 3)
    made.add_paragraph("plums", style="List Bullet")
    table = made.add_table(2, 2)
    table.cell(0, 1).text = "Dose"
    cell = table.cell(1, 1)
    cell.text = "4 mg"
    _refer(cell.paragraphs[0], "footnote", 7)  # there is none
    deleted = OxmlElement("w:del")
    again = made.add_paragraph("The same again.")
    _refer(again, "footnote", 2)
    _refer(again, "footnote", 4)
    deleted.append(again.runs[-1]._r)
    again._p.append(deleted)
    document = load_document("paper.docx", saved(made))
    assert found(document) == [
        ("paragraph", "The mean is 4."),
        ("paragraph", "Measured in May."),
        ("paragraph", "From a letter."),
        ("list_item", "apples and pears"),
        ("list_item", "plums"),
        ("paragraph", "Only the red ones."),
        ("table_row", "Dose: 4 mg"),
        ("paragraph", "The same again."),
    ]


def test_the_title_of_a_word_document() -> None:
    made = docx.Document()
    made.add_paragraph("Text.")
    assert load_document("deep/plain.docx", saved(made)).title == "plain"
    made.core_properties.title = "From the properties"
    assert load_document("deep/plain.docx", saved(made)).title == "From the properties"
    made.add_heading("From a heading", 1)
    assert load_document("deep/plain.docx", saved(made)).title == "From a heading"


def test_a_book_in_the_order_of_its_spine() -> None:
    document = load_document("my.epub", epub())
    assert (document.title, document.media_type) == ("The Book", "application/epub+zip")
    assert headings(document) == [("Chapter A",), ("Chapter B",)]
    assert found(document) == [("paragraph", "First text & so…"), ("paragraph", "Last text.")]


def test_a_notebook() -> None:
    data = notebook(
        ("markdown", ["---\n", "# Lab\n", "\n", "Some **text**.\n", "\n", "```\n", "left open"]),
        ("code", "x = 1\nprint(x)"),
        ("raw", "raw"),
        ("markdown", "![p](data:image/png;base64,AAAA) More \ud800."),
        ("code", "  "),
    )
    document = load_document("lab.ipynb", data)
    assert (document.title, document.media_type, document.meta) == ("Lab", "application/x-ipynb+json", {})
    assert found(document) == [
        ("paragraph", "Some text."), ("code", "left open"), ("code", "x = 1 print(x)"), ("paragraph", "p More ?.")
    ]  # fmt: skip
    assert "```python\nx = 1\nprint(x)\n```" in document.text


def test_a_table_of_values() -> None:
    document = load_document(
        "deep/costs.csv", 'Model;"Price; €";\nsmall;1,5;"two\nlines"\n\n*big*;2\n'.encode("utf-8-sig")
    )
    assert (document.title, document.media_type) == ("costs", "text/csv")
    assert found(document) == [
        ("table_row", "Model: small; Price; €: 1,5; Column 3: two lines"),
        ("table_row", "Model: *big*; Price; €: 2"),
    ]


def test_a_long_table_is_cited_by_rows() -> None:
    rows = "\n".join(f"{n}\tname {n}" for n in range(1, 121))
    document = load_document("a.tsv", f"id\tname\n{rows}".encode())
    assert headings(document) == [("Rows 1-50",), ("Rows 51-100",), ("Rows 101-120",)]
    assert found(document)[50] == ("table_row", "id: 51; name: name 51")
    assert found(load_document("b.csv", b"1,2\n3,4\n"))[0] == ("table_row", "Column 1: 1; Column 2: 2")


def test_a_stored_text_is_read_again_as_what_it_was_converted_to() -> None:
    for document in (html("<h2>Why is it so?</h2><p>Text.</p>"), load_document("a.txt", b"# Text.")):
        again = read_again(document.path, document.text, document.media_type)
        assert again.sections == document.sections
