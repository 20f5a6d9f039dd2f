"""Small files of every format, made by hand, and what was read of them."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from pypdf import PdfWriter

from retrieval.loaders import load_document
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


def saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


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


def notebook(*cells: tuple[str, str | list[str]]) -> bytes:
    made = [{"cell_type": kind, "source": source, "outputs": [{"text": "seen 1"}]} for kind, source in cells]
    return json.dumps(
        {"cells": made, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4}
    ).encode()
