"""Pages are rendered safely, and a citation is highlighted wherever it falls."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from retrieval.loaders import load_document
from tutor.ui.markdown import page_sections, render_page

COURSE = Path(__file__).resolve().parents[2] / "tutor" / "course"
PAGES = sorted(COURSE.glob("*.md"))


class _Marked(HTMLParser):
    """Collects the text inside <mark> and every tag and attribute seen."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.depth, self.text, self.tags, self.attributes = 0, "", [], []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.depth += tag == "mark"

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "mark"
        self.text += " " if tag == "td" and self.text else ""

    def handle_data(self, data: str) -> None:
        self.text += data if self.depth else ""


def _cite(text: str, quote: str) -> tuple[str, str]:
    """(html, marked text) of a page with `quote` cited."""
    start = text.index(quote)
    page = render_page(text, cite=(start, start + len(quote)))
    assert page.cited
    assert page.html.count('id="cite"') == 1
    return page.html, _Marked(page.html).text


def test_a_sentence_is_marked_and_nothing_else_changes() -> None:
    text = "# T\n\nOne is here. **Two** is *there*. Three.\n"
    html, marked = _cite(text, "**Two** is *there*.")
    assert marked == "Two is there."
    assert re.sub(r"</?mark[^>]*>", "", html) == render_page(text).html


@pytest.mark.parametrize(
    ("text", "quote", "expected"),
    [
        ("- first item\n- second item\n", "second item", "second item"),
        ("- first item\n- second item\n", "- second item", "second item"),
        ("| a | b |\n|---|--:|\n| one | two |\n", "| one | two |", "one two "),
        ("> quoted words here\n", "> quoted words here", "quoted words here"),
        ("```text\nx = 1\ny = 2\n```\n", "y = 2", "y = 2"),
        ("Say `a < b` now.\n", "Say `a < b` now.", "Say a < b now."),
        ("1. do this\n2. do that\n", "do that", "do that"),
    ],
)
def test_marks_in_lists_tables_quotes_and_code(text: str, quote: str, expected: str) -> None:
    assert _cite(text, quote)[1] == expected


def test_where_a_mark_would_break_the_page_its_block_is_marked() -> None:
    text = "Intro.\n\n```text\nx = 1\n```\n\nEnd.\n"
    html, marked = _cite(text, "```text\nx")  # the offsets cut a fence in two
    assert marked == ""
    assert re.search(r'<code class="cite-block" id="cite">x = 1', html)


@pytest.mark.parametrize("cite", [(5, 5), (-1, 4), (0, 10**6), (9, 3)])
def test_nonsense_offsets_highlight_nothing(cite: tuple[int, int]) -> None:
    page = render_page("Some words here.\n", cite=cite)
    assert not page.cited
    assert page.html == render_page("Some words here.\n").html


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_every_sentence_of_the_course_can_be_highlighted_exactly(path: Path) -> None:
    document = load_document(path.name, path.read_bytes())
    loose = []
    for section in document.sections:
        for number, sentence in enumerate(section.sentences):
            if (
                sentence.kind == "paragraph"
                and number % 4
                and "*" not in document.text[sentence.start : sentence.end]
            ):
                continue  # plain prose is all alike
            page = render_page(document.text, title=document.title, cite=(sentence.start, sentence.end))
            words = re.findall(r"\w+", _Marked(page.html).text)
            expected = re.findall(r"\w+", sentence.text)
            # a table row's sentence also names its columns
            exact = words == expected or (
                sentence.kind == "table_row" and words and set(words) <= set(expected)
            )
            if not (page.cited and exact):
                loose.append((sentence.text, " ".join(words)))
    assert loose == []


def test_anchors_are_those_of_the_index_and_sections_have_words() -> None:
    for path in PAGES:
        document = load_document(path.name, path.read_bytes())
        html = render_page(document.text, title=document.title).html
        anchors = re.findall(r'id="s-([^"]+)"', html)
        assert [a for a in anchors if a != "top"] == [s.anchor for s in document.sections if s.anchor]
        sections = page_sections(document.text, document.title, document.media_type)
        assert sections[0].anchor == "top"
        assert sum(s.words for s in sections) > 800


def test_front_matter_never_reaches_the_page() -> None:
    for path in PAGES:
        document = load_document(path.name, path.read_bytes())
        html = render_page(document.text, title=document.title).html
        for question in document.meta["think_first"]:
            assert question["reference"] not in html
            assert question["question"] not in html


HOSTILE = """# <script>alert(1)</script>

<img src=x onerror=alert(1)> and <iframe src="https://evil.example"></iframe>

[click](javascript:alert(1)) [data](data:text/html;base64,PHNjcmlwdD4=) [vb](vbscript:x)
![leak](https://evil.example/pixel.png) [ok](https://example.org/a?b=1&c=2) <https://example.org>

[ref]: javascript:alert(1)
[ref] [rel](//evil.example/x) [up](../../etc/passwd)

| <svg onload=alert(1)> | b |
|---|---|
| <style>*{display:none}</style> | `<b onclick=x>` |
"""


def test_hostile_markdown_is_inert() -> None:
    seen = _Marked(render_page(HOSTILE).html)
    assert not set(seen.tags) & {"script", "img", "iframe", "svg", "style", "object", "form", "input"}
    assert not [a for a, _ in seen.attributes if a.startswith("on") or a in ("src", "style")]
    hrefs = [value for name, value in seen.attributes if name == "href"]
    assert hrefs == ["https://example.org/a?b=1&c=2", "https://example.org"]


def test_links_between_pages_become_reader_links() -> None:
    page = render_page(
        "[t](tokens.md#price) and [gone](nowhere.md)\n",
        link_for=lambda path, part: f"./?page={path}&section={part}" if path == "tokens.md" else None,
    )
    assert '<a href="./?page=tokens.md&amp;section=price">t</a>' in page.html
    assert '<span class="dead-link">gone</span>' in page.html


def test_plain_text_keeps_its_lines_and_its_marks() -> None:
    text = "First <b>line</b>\nsecond line\n\nNew paragraph."
    start = text.index("second")
    page = render_page(text, media_type="text/plain", cite=(start, start + len("second line")))
    assert "First &lt;b&gt;line&lt;/b&gt;<br>" in page.html
    assert _Marked(page.html).text == "second line"
