"""HTML pages: their words, headings, tables and encodings; words that look like marks stay words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retrieval.loaders import load_document
from tests.retrieval.formats.sample import (
    found,
    headings,
    html,
)

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


def test_every_file_of_the_course_reads_the_same_as_html(tmp_path: Path) -> None:
    from markdown_it import MarkdownIt

    course = Path(__file__).resolve().parents[3] / "tutor" / "course"
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
