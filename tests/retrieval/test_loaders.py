"""Files of every kind become documents whose offsets point into what was read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.loaders import LoadError, load_document
from retrieval.loaders.markdown import slugify, unique_slug
from retrieval.records import Document

NASTY = """---
title: "Nasty: page"
updated: 2026-11-22
tags: [a, b]
---
Before any
heading 😀.

# Top `code` & more

A first **bold claim. Then** more,
soft wrapped. שלום עולם. See [the link](https://example.org/a.b?c=d "T").

- outer one. Outer two
  goes on
\t- nested with a tab
    1. deep *item*

       second paragraph
- ![](nothing.png)

> Quoted line
> goes on. And
lazily ends.

| Model | Size |
|-------|-----:|
| `a|b` | 135 M |
| x \\| y | |

## Same
```python
def f():

    return "# no heading"
```

Set text
--------
Last.

## Same

> ## not a section
> | H |
> |---|
> | cell |

    indented code
"""


def check(document: Document) -> None:
    """What holds for every document: sections and sentences in order, inside each other, inside the text."""
    behind = 0
    for section in document.sections:
        assert behind <= section.start <= section.end <= len(document.text)
        behind = section.start
        for sentence in section.sentences:
            assert behind <= sentence.start < sentence.end <= section.end
            behind = sentence.end
            raw = document.text[sentence.start : sentence.end]
            assert raw == raw.strip()
            assert sentence.text == " ".join(sentence.text.split()) != ""
    anchors = [s.anchor for s in document.sections if s.heading_path]
    assert len(set(anchors)) == len(anchors)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_nasty_page(newline: str, encoding: str) -> None:
    document = load_document("notes/nasty.md", NASTY.replace("\n", newline).encode(encoding))
    check(document)
    assert document.text == NASTY
    assert document.title == "Nasty: page"
    assert document.meta == {"title": "Nasty: page", "updated": "2026-11-22", "tags": ["a", "b"]}
    top = "Top code & more"
    assert [(s.heading_path, s.anchor) for s in document.sections] == [
        ((), ""),
        ((top,), "top-code--more"),
        ((top, "Same"), "same"),
        ((top, "Set text"), "set-text"),
        ((top, "Same"), "same-1"),
    ]
    found = [
        (s.kind, document.text[s.start : s.end], s.text)
        for section in document.sections
        for s in section.sentences
    ]
    assert found == [
        ("paragraph", "Before any\nheading 😀.", "Before any heading 😀."),
        ("paragraph", "A first **bold claim.", "A first bold claim."),
        ("paragraph", "Then** more,\nsoft wrapped.", "Then more, soft wrapped."),
        ("paragraph", "שלום עולם.", "שלום עולם."),
        ("paragraph", 'See [the link](https://example.org/a.b?c=d "T").', "See the link."),
        ("list_item", "outer one.", "outer one."),
        ("list_item", "Outer two\n  goes on", "Outer two goes on"),
        ("list_item", "nested with a tab", "nested with a tab"),
        ("list_item", "deep *item*", "deep item"),
        ("list_item", "second paragraph", "second paragraph"),
        ("quote", "Quoted line\n> goes on.", "Quoted line goes on."),
        ("quote", "And\nlazily ends.", "And lazily ends."),
        ("table_row", "| `a|b` | 135 M |", "Model: `a; Size: b`"),  # as GitHub: "|" divides even in code
        ("table_row", "| x \\| y | |", "Model: x | y"),
        ("code", 'def f():\n\n    return "# no heading"', 'def f(): return "# no heading"'),
        ("paragraph", "Last.", "Last."),
        ("quote", "not a section", "not a section"),
        ("table_row", "| cell |", "H: cell"),
        ("code", "indented code", "indented code"),
    ]


def test_the_title_is_front_matter_then_first_h1_then_file_name() -> None:
    assert load_document("a.md", b"# One\n\nText.\n\n# Two\n").title == "One"
    assert load_document("deep/my-notes.md", b"## Two\n\nText.").title == "my-notes"
    assert load_document("deep/my-notes.txt", b"Text.").title == "my-notes"


def test_plain_text_joins_soft_wraps_and_splits_at_blank_lines() -> None:
    document = load_document("a.txt", b"One line\r\nwraps. Two.\r\n \t\r\n* no mark\r\n")
    check(document)
    assert document.text == "One line\nwraps. Two.\n \t\n* no mark\n"
    assert [s.text for s in document.sections[0].sentences] == ["One line wraps.", "Two.", "* no mark"]


def test_long_code_is_cut_between_lines() -> None:
    lines = [f"line_{n} = {n}  # {'x' * 50}" for n in range(60)]
    document = load_document("a.md", ("```\n" + "\n".join(lines) + "\n```\n").encode())
    check(document)
    pieces = [document.text[s.start : s.end] for s in document.sections[0].sentences]
    assert len(pieces) == 3
    assert "\n".join(pieces) == "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.xyz", b"x", r"^\.xyz files are not supported; use \.md, \.markdown, \.txt, .*\.pdf, .*\.zip$"),
        ("a.doc", b"x", r"^\.doc files are not supported; save it as \.docx$"),
        ("README", b"text", "without an ending"),
        ("a.md", b"", "empty"),
        ("a.md", b" \n\t\r\n", "empty"),
        ("a.txt", b"a\0b", "binary"),
        ("a.txt", bytes(range(1, 32)) * 3, "binary"),
        ("a.txt", b"\xff\xfea", "damaged: too many characters"),
        ("a.md", b"---\ntitle: Only\n---\n# And a heading\n", "no text"),
        ("a.md", b"---\na: 1\nb: [1,\nc: 2\n---\nText.\n", r"broken front matter in line [345]: "),
        ("a.md", b"---\na: &x [1]\nb: *x\n---\nText.\n", r"in line 3: aliases"),
        ("a.md", b"---\na: !!python/object:os.system {}\n---\nText.\n", r"in line 2: could not determine"),
        ("a.md", b"---\na: 2026-99-99\n---\nText.\n", r"broken front matter \(lines 1 to 3\): "),
        ("a.md", b"---\na: " + b"[" * 1500 + b"\n---\nText.\n", "broken front matter"),
    ],
)
def test_what_is_no_document_is_refused_in_one_line(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(LoadError, match=reason) as caught:
        load_document(name, data)
    assert "\n" not in str(caught.value)


def test_rules_around_a_paragraph_are_no_front_matter() -> None:
    document = load_document("a.md", b"---\nJust a remark.\n\n---\nText.\n")
    assert document.meta == {}
    assert [s.text for s in document.sections[0].sentences] == ["Just a remark.", "Text."]


def test_slugs_are_those_of_github_and_unique() -> None:
    assert slugify("Why `x` works, really!") == "why-x-works-really"
    assert slugify("Größe & Maß_2") == "größe--maß_2"
    assert slugify("😀") == "section"
    used: set[str] = set()
    assert [unique_slug(h, used) for h in ("A", "A", "A-1", "A")] == ["a", "a-1", "a-1-1", "a-2"]


MARKDOWN = st.text(alphabet=st.sampled_from("ab. \n\n#->*_`|[](){}!:\t1\\&😀ש~+="), max_size=200)


@settings(max_examples=300)
@given(MARKDOWN | st.text(max_size=100), st.sampled_from(["a.md", "a.txt"]))
def test_offsets_hold_for_any_text(text: str, name: str) -> None:
    try:
        document = load_document(name, text.encode("utf-8", "ignore"))
    except LoadError:
        return
    check(document)


RUSSIAN = "Привет, мир! Это обычный текст, написанный для проверки кодировок."
GERMAN = "Die Größe des Modells bestimmt, wie schön es über Straßen spricht."


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        (RUSSIAN, "cp1251", "cp1251 (guessed)"),
        (RUSSIAN, "koi8-r", "koi8-r (guessed)"),
        (RUSSIAN, "utf-16-le", "utf-16-le (guessed)"),
        (GERMAN, "latin-1", "cp1252 (guessed)"),
        ("It’s “smart”, isn’t it?", "cp1252", "cp1252 (guessed)"),
        ("Zażółć gęślą jaźń. Każdy człowiek rodzi się wolny i równy.", "cp1250", "cp1250 (guessed)"),
        ("これは日本語の文章です。エンコーディングを検出します。", "shift_jis", "shift_jis (guessed)"),
    ],
)
def test_another_encoding_is_found_and_told(text: str, encoding: str, told: str) -> None:
    document = load_document("a.txt", text.encode(encoding))
    assert document.text == text
    assert document.meta == {"encoding": told}


def test_a_few_broken_bytes_in_utf8_are_counted() -> None:
    document = load_document("a.md", f"# {GERMAN}\n\n".encode() * 3 + b"Broken \xff here.")
    assert document.text.endswith("Broken \ufffd here.")
    assert document.meta == {"replaced_characters": 1}
