"""Real small files of every format: their text, headings, tables and places, and why the bad ones are refused."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from pypdf import PdfWriter

from retrieval.loaders import LoadError, load_document, read_again
from retrieval.records import Document

Found = tuple[str, str]


def found(document: Document) -> list[Found]:
    """(kind, words) of every sentence; each stands where it says it does."""
    behind = 0
    for section in document.sections:
        for s in section.sentences:
            assert behind <= s.start < s.end <= section.end <= len(document.text)
            raw = document.text[s.start : s.end]
            assert raw == raw.strip()
            assert s.kind == "table_row" or sum(map(str.isalnum, raw)) >= sum(map(str.isalnum, s.text))
            behind = s.end
    return [(s.kind, s.text) for section in document.sections for s in section.sentences]


def headings(document: Document) -> list[tuple[str, ...]]:
    return [section.heading_path for section in document.sections if section.sentences]


def html(body: str, head: str = "") -> Document:
    return load_document(
        "a.html", f"<!doctype html><html><head>{head}</head><body>{body}</body></html>".encode()
    )


# --- HTML ---------------------------------------------------------------------------------------------------------

PAGE = """<header><a href="/">Site</a></header><nav><a>Menu</a></nav><script>var a = "no";</script><style>p{}</style>
<main><article><header><h1>Tokens &amp; <code>bytes</code><a class="headerlink" href="#t">¶</a></h1></header>
<p>A model reads <b>tokens</b>,
not words. It costs &lt; 1&nbsp;&euro; per 10<sup>6</sup>.<sup><a href="#f">1</a></sup></p>
<h2>Kinds</h2><ul><li>Words</li><li><p>Pieces of words. Most.</p><ol start="3"><li>inner</li></ol></li></ul>
<dl><dt><code>-a</code></dt><dt>--all</dt><dd><p>Show all.</p></dd></dl>
<pre class="highlight"><code class="language-python">def f():

    return "*"
</code></pre>
<blockquote><p>Said once.</p></blockquote>
<table><caption>Sizes</caption><thead><tr><th>Model</th><th>Size</th></tr></thead>
<tr><td rowspan=2>small | old</td><td>1</td></tr><tr><td>2</td></tr></table>
<div hidden>Secret</div><div style="display: none">Secret</div><img src="x.png" alt="A [cat] sits.">
</article></main><aside>More</aside><footer>Imprint</footer>"""


def test_an_html_page() -> None:
    document = html(PAGE + "x" * 300, "<title>How tokens\n work</title>")
    assert (document.title, document.media_type, document.meta) == ("How tokens work", "text/html", {})
    top = "Tokens & bytes"
    assert headings(document) == [(top,), (top, "Kinds")]
    assert [s.anchor for s in document.sections][1:] == ["kinds"]
    assert found(document) == [
        ("paragraph", "A model reads tokens, not words."),
        ("paragraph", "It costs < 1 € per 10^6."),
        ("list_item", "Words"),
        ("list_item", "Pieces of words."),
        ("list_item", "Most."),
        ("list_item", "inner"),
        ("list_item", "-a, --all: Show all."),
        ("code", 'def f(): return "*"'),
        ("quote", "Said once."),
        ("paragraph", "Sizes"),
        ("table_row", "Model: small | old; Size: 1"),
        ("table_row", "Model: small | old; Size: 2"),
        ("paragraph", "A cat sits."),
    ]
    assert '```python\ndef f():\n\n    return "*"\n```' in document.text
    assert "# Tokens & `bytes`\n\nA model reads tokens, not words." in document.text


def test_classes_of_the_whole_page_hide_nothing() -> None:
    document = load_document(
        "a.html", b"<body class='sidebar toc'><p>Kept.</p><div class='toc'>Not kept.</div>"
    )
    assert found(document) == [("paragraph", "Kept.")]


def test_html_without_a_main_part_and_with_boxes() -> None:
    document = html(
        "<h1>T</h1><div class='note'><h3>Note</h3>Mind this.</div>"
        "<table><tr><td><h2>Laid out</h2></td><td>by a table.</td></tr></table>"
        "<table><tr><td><b>A</b></td><td><b>B</b></td></tr><tr><td>1</td><td>2</td></tr></table>"
        "<table><tr><th>Function</th></tr><tr><td><p>f(x)</p><p>Doubles.</p></td></tr></table>"
    )
    assert document.title == "T"
    assert headings(document) == [("T",), ("T", "Laid out")]
    assert [text for _, text in found(document)] == [
        "Note", "Mind this.", "by a table.", "A: 1; B: 2", "f(x); Doubles."
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "# no heading", "1. no list", "99) x", "- no list", "* no list", "+ no", "> no quote", "--- ", "===", "a\n---",
        "| a | b |\n|---|---|", "*no* _emphasis_ **here** __or__ ~~there~~", "`no code`", "[no](link) ![no](image)",
        "[no]: definition", "&amp;lt; \\* \\\\", "<b>bold</b> <http://a.b> <a@b.c>", "snake_case 2 * 3 a_b_c *", "*",
        "~~~ fence", "``` fence", "    indented", "C #", "_ _ _", "a\\", "a*b*c", "x_y_ z", "1986\\. A", "\\<script>",
    ],
)  # fmt: skip
def test_words_that_look_like_marks_stay_words(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>")
    for body in (
        f"<p>{escaped}</p>",
        f"<p>x</p><ul><li>{escaped}<p>y</ul>",
        f"<h2>{escaped}</h2><p>{escaped}</p>",
    ):
        document = html(f"<p>First.</p>{body}<p>Last.</p>")
        words = " ".join(
            [
                *(s.heading_path[-1] for s in document.sections if s.heading_path),
                *(t for _, t in found(document)),
            ]
        )
        expected = " ".join(text.split())
        kept = [c for c in words if not c.isspace()]
        for c in [c for c in expected if not c.isspace()] if any(map(str.isalnum, text)) else []:
            assert c in kept, (c, document.text)
            kept.remove(c)
        assert {kind for kind, _ in found(document)} <= {"paragraph", "list_item"}


@pytest.mark.parametrize(
    ("head", "encoding", "told"),
    [
        ('<meta charset="windows-1251">', "cp1251", {"encoding": "cp1251"}),
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">',
            "koi8-r",
            {"encoding": "koi8-r"},
        ),
        ('<meta charset="utf-8">', "utf-8", {}),
        ('<meta charset="nonsense">', "utf-8", {}),
        ('<meta charset="utf-8">', "utf-16", {}),
        ("", "cp1251", {"encoding": "cp1251 (guessed)"}),
    ],
)
def test_html_in_the_encoding_it_declares(head: str, encoding: str, told: dict[str, Any]) -> None:
    text = "Обычный русский текст, написанный для проверки."
    document = load_document(
        "a.htm", f"<html><head>{head}</head><body><p>{text}</body></html>".encode(encoding)
    )
    assert found(document) == [("paragraph", text)]
    assert document.meta == told


# --- PDF ----------------------------------------------------------------------------------------------------------


def pdf(*pages: list[str]) -> bytes:
    """A PDF written by hand: one line of Helvetica below the other."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    kids = []
    for lines in pages:
        shown = b"".join(
            b"(%s) Tj 0 -14 Td " % line.encode("latin-1").replace(b"(", b"\\(") for line in lines
        )
        stream = b"BT /F1 12 Tf 72 720 Td " + shown + b"ET"
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        kids.append(len(objects) + 1)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (
        len(kids),
        b" ".join(b"%d 0 R" % k for k in kids),
    )
    out = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(places) + 1, table)
    return (
        out
        + head
        + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, len(out))
    )


def rewritten(data: bytes, change: Any) -> bytes:
    writer = PdfWriter(clone_from=io.BytesIO(data))
    change(writer)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


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


def outlined(writer: PdfWriter) -> None:
    chapter = writer.add_outline_item(title="1 Tokens", page_number=0)
    writer.add_outline_item(title="1.1 Bytes", page_number=0, parent=chapter)
    writer.add_outline_item(title="2 Not written so", page_number=1)
    writer.add_metadata({"/Title": "The Book"})


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


# --- DOCX ---------------------------------------------------------------------------------------------------------


def saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


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


def test_the_title_of_a_word_document() -> None:
    made = docx.Document()
    made.add_paragraph("Text.")
    assert load_document("deep/plain.docx", saved(made)).title == "plain"
    made.core_properties.title = "From the properties"
    assert load_document("deep/plain.docx", saved(made)).title == "From the properties"
    made.add_heading("From a heading", 1)
    assert load_document("deep/plain.docx", saved(made)).title == "From a heading"


# --- EPUB ---------------------------------------------------------------------------------------------------------

CHAPTER = """<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title/><script/></head><body>{}</body></html>"""
OPF = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Book</dc:title></metadata><manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="b" href="text/b%20b.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="text/a.xhtml" media-type="application/xhtml+xml"/>
<item id="p" href="p.png" media-type="image/png"/></manifest>
<spine><itemref idref="nav"/><itemref idref="a"/><itemref idref="b"/><itemref idref="gone"/></spine></package>"""
CONTAINER = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>"""


def zipped(**parts: str | bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return out.getvalue()


def epub(**changes: str | bytes) -> bytes:
    parts: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": OPF,
        "OEBPS/nav.xhtml": CHAPTER.format('<nav><a href="text/b%20b.xhtml#x">Chapter B</a></nav>'),
        "OEBPS/text/b b.xhtml": CHAPTER.format("<p>Last text.</p>"),
        "OEBPS/text/a.xhtml": CHAPTER.format(
            '<h1>Chapter A</h1><p>First&nbsp;text &amp; <a id="x"/>so&hellip;</p>'
        ),
    }
    return zipped(**parts | changes)


def test_a_book_in_the_order_of_its_spine() -> None:
    document = load_document("my.epub", epub())
    assert (document.title, document.media_type) == ("The Book", "application/epub+zip")
    assert headings(document) == [("Chapter A",), ("Chapter B",)]
    assert found(document) == [("paragraph", "First text & so…"), ("paragraph", "Last text.")]


# --- notebooks and tables -----------------------------------------------------------------------------------------


def notebook(*cells: tuple[str, str | list[str]]) -> bytes:
    made = [{"cell_type": kind, "source": source, "outputs": [{"text": "seen 1"}]} for kind, source in cells]
    return json.dumps(
        {"cells": made, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4}
    ).encode()


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


# --- what is refused ----------------------------------------------------------------------------------------------

WORD = saved(docx.Document())
BODY = "word/document.xml"


def with_part(data: bytes, name: str, content: bytes) -> bytes:
    source = zipfile.ZipFile(io.BytesIO(data))
    return zipped(**{n: content if n == name else source.read(n) for n in source.namelist()})


LAUGHS = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
STEALS = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'
ENCRYPTION = (
    '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData>'
    '<e:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></e:EncryptedData></encryption>'
)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
ENCRYPTED_PDF = rewritten(pdf(["Text."]), lambda w: w.encrypt("secret", algorithm="RC4-128"))
OWNED_PDF = rewritten(pdf(["Open to all."]), lambda w: w.encrypt("", "owner", algorithm="RC4-128"))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.pdf", b"", "the file is empty"),
        ("empty.docx", b"\n", "the file is empty"),
        ("empty.csv", b"", "the file is empty"),
        ("blank.html", b"<html></html>", "no text"),
        ("app.html", b"<body><div id=root></div><script>render()</script>", "no text"),
        ("deep.html", b"<div>" * 300 + b"x", "nested deeper .*broken or hostile"),
        ("long.html", b"<p>" + b"a " * 6_000_000, "larger than 10 MB; split it"),
        ("scan.pdf", pdf([], []), "no text: it holds only pictures; run OCR first"),
        ("cut.pdf", pdf(["Text."])[:400], "damaged: the end of the file is missing"),
        ("locked.pdf", ENCRYPTED_PDF, "protected by a password; save a copy without one"),
        ("rubbish.pdf", b"%PDF-1.7\n" + b"x" * 5000 + b"\n%%EOF", "damaged: .*export it as a new PDF"),
        ("web.pdf", b"<!DOCTYPE html><p>Not found", r"says \.pdf, but it is an HTML page; rename it to \.html"),
        ("zip.pdf", zipped(a="b"), r"says \.pdf, but it is|damaged, or not a PDF"),
        ("word.pdf", WORD, r"says \.pdf, but it is a Word document; rename it to \.docx"),
        ("text.pdf", b"Just text.", "not a PDF file, whatever its name says"),
        ("paper.docx", pdf(["Text."]), r"but it is a PDF file; rename it to \.pdf"),
        ("book.docx", epub(), r"but it is an EPUB book; rename it to \.epub"),
        ("locked.docx", OLE, "encrypted, or an old .doc"),
        ("cut.docx", WORD[:-100], "damaged"),
        ("other.docx", zipped(a="b"), "damaged, or not a Word document"),
        ("broken.docx", with_part(WORD, BODY, b"<w:document"), "damaged"),
        ("laughs.docx", with_part(WORD, BODY, LAUGHS), "declares XML entities"),
        ("steals.docx", with_part(WORD, BODY, STEALS), "declares XML entities"),
        ("bomb.docx", with_part(WORD, BODY, b" " * 3_000_000), "unpacks to more than 100 times"),
        ("empty2.docx", WORD, "no text"),
        ("laughs.epub", epub(**{"OEBPS/text/a.xhtml": LAUGHS}), "declares XML entities"),
        ("wide.epub", epub(**{"OEBPS/text/a.xhtml": STEALS.decode().encode("utf-16")}), "declares XML entities"),
        ("drm.epub", epub(**{"META-INF/encryption.xml": ENCRYPTION}), "copy protected"),
        ("lost.epub", epub(**{"META-INF/container.xml": "<container/>"}), "damaged"),
        ("cut.epub", epub()[:-60], "damaged"),
        ("pictures.epub", epub(**{"OEBPS/book.opf": OPF.replace("itemref", "x")}), "no text"),
        ("a.ipynb", b"{", "damaged: a notebook is JSON"),
        ("a.ipynb", b"[" * 100_000, "damaged: a notebook is JSON"),
        ("a.ipynb", b"[1]", "not a notebook"),
        ("a.ipynb", b"{}", "not a notebook"),
        ("a.ipynb", notebook(), "the file is empty|no text"),
        ("a.csv", b"\0\1\2", "binary"),
        ("a.csv", b"," * 600 + b"\n" + b"x," * 600, "600 columns|601 columns"),
        ("a.csv", b'a,"' + b"x" * 200_000, "broken table in line"),
        ("picture.txt", b"\x89PNG\r\n\x1a\n" + bytes(20), "it is a PNG picture"),
        ("zip.txt", zipped(a="b"), r"but it is a zip archive; rename it to \.zip"),
        ("pdf.md", pdf(["Text."]), r"but it is a PDF file; rename it to \.pdf"),
        ("inner.zip", zipped(a="b"), "archives inside archives"),
        ("sheet.xlsx", b"", r"\.xlsx files are not supported; save it as \.csv"),
    ],
)  # fmt: skip
def test_what_is_no_document_is_refused_in_one_line(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(LoadError, match=reason) as caught:
        load_document(name, data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_pdf_that_anyone_may_open_is_read() -> None:
    assert found(load_document("a.pdf", OWNED_PDF)) == [("paragraph", "Open to all.")]


def test_a_pdf_whose_stream_unpacks_to_a_bomb_is_refused() -> None:
    import zlib

    packed = zlib.compress(b"BT /F1 12 Tf (x) Tj ET " + b" " * 200_000_000, 9)
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
    plain = pdf(["x"])
    start, end = plain.index(b"4 0 obj\n") + 8, plain.index(b"\nendobj", plain.index(b"4 0 obj"))
    with pytest.raises(LoadError, match=r"bomb|damaged"):
        load_document("bomb.pdf", plain[:start] + stream + plain[end:])


def test_every_file_of_the_course_reads_the_same_as_html(tmp_path: Path) -> None:
    from markdown_it import MarkdownIt

    course = Path(__file__).resolve().parents[2] / "tutor" / "course"
    pages = sorted(course.glob("*.md"))
    assert pages
    for page in pages:
        original = load_document(page.name, page.read_bytes())
        body = original.text.split("---\n", 2)[2]
        rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(body)
        converted = html(rendered)
        assert [s.heading_path for s in converted.sections if s.heading_path] == [
            s.heading_path for s in original.sections if s.heading_path
        ]
        assert found(converted) == found(original), page.name
