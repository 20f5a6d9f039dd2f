"""Files that are damaged, hostile, locked or no documents, each refused in one line."""

from __future__ import annotations

import io
import zipfile

import docx
import pytest

from retrieval.loaders import LoadError, load_document
from tests.retrieval.formats.sample import (
    OPF,
    epub,
    found,
    notebook,
    pdf,
    rewritten,
    saved,
    zipped,
)

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


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_pdf_that_anyone_may_open_is_read(algorithm: str) -> None:
    owned = rewritten(pdf(["Open to all."]), lambda w: w.encrypt("", "owner", algorithm=algorithm))
    assert found(load_document("a.pdf", owned)) == [("paragraph", "Open to all.")]


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_pdf_with_a_password_is_refused(algorithm: str) -> None:
    locked = rewritten(pdf(["Text."]), lambda w: w.encrypt("secret", algorithm=algorithm))
    with pytest.raises(LoadError, match="protected by a password; save a copy without one"):
        load_document("locked.pdf", locked)


def test_a_pdf_whose_stream_unpacks_to_a_bomb_is_refused() -> None:
    import zlib

    packed = zlib.compress(b"BT /F1 12 Tf (x) Tj ET " + b" " * 200_000_000, 9)
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
    plain = pdf(["x"])
    start, end = plain.index(b"4 0 obj\n") + 8, plain.index(b"\nendobj", plain.index(b"4 0 obj"))
    with pytest.raises(LoadError, match=r"bomb|damaged"):
        load_document("bomb.pdf", plain[:start] + stream + plain[end:])
