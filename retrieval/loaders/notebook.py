"""Jupyter notebook -> Document: its Markdown cells as they are, its code cells as code. Outputs are left out."""

from __future__ import annotations

import json
import re
from typing import Any

from retrieval.loaders import LoadError, markdown, writer
from retrieval.loaders.encodings import decode_text
from retrieval.records import Document

MEDIA_TYPE = "application/x-ipynb+json"

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_EMBEDDED = re.compile(r"\((?:data:|attachment:)[^)\s]*\)")


def load(path_label: str, data: bytes) -> Document:
    """Read a notebook of version 3 or 4. The title is its metadata's, else the first level-1 heading, else the file's
    name.

    Raises LoadError: no JSON, no notebook.
    """
    decoded = decode_text(data)
    try:
        notebook = json.loads(decoded.text)
    except (ValueError, RecursionError):
        raise LoadError("damaged: a notebook is JSON, and this is not; save it again in Jupyter") from None
    if not isinstance(notebook, dict):
        raise LoadError("not a notebook: it has no cells")
    sheets = notebook.get("worksheets")
    cells = (
        sheets[0].get("cells")
        if isinstance(sheets, list) and sheets and isinstance(sheets[0], dict)
        else None
    )
    cells = notebook.get("cells", cells)
    if not isinstance(cells, list):
        raise LoadError("not a notebook: it has no cells")
    meta = notebook.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    language = _language(meta)
    blocks = [block for cell in cells if isinstance(cell, dict) and (block := _block(cell, language))]
    text = writer.join(blocks).encode("utf-8", "replace").decode()  # JSON can spell half characters
    if text.startswith("---"):  # a rule, not front matter
        text = "\n" + text
    title = meta.get("title")
    title = title.encode("utf-8", "replace").decode() if isinstance(title, str) else ""
    return markdown.build(path_label, text, MEDIA_TYPE, title, decoded.meta())


def _block(cell: dict[str, Any], language: str) -> str:
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        return ""
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    kind = cell.get("cell_type")
    if kind == "code":
        return writer.fence(source, language)
    if kind == "heading":
        level = cell.get("level")
        return writer.heading(level if isinstance(level, int) else 1, writer.words(source))
    return _closed(_EMBEDDED.sub("()", source).strip("\n")) if kind == "markdown" else ""


def _closed(source: str) -> str:
    """A cell's Markdown; a code block left open in it does not swallow the cells behind it."""
    opened = ""
    for line in source.split("\n"):
        mark = _FENCE.match(line)
        if mark is None:
            continue
        if not opened:
            opened = mark[1]
        elif mark[1].startswith(opened) and not line[mark.end() :].strip():
            opened = ""
    return f"{source}\n{opened}" if opened else source


def _language(meta: dict[str, Any]) -> str:
    for section, key in (("language_info", "name"), ("kernelspec", "language")):
        values = meta.get(section)
        if isinstance(values, dict) and isinstance(values.get(key), str):
            return str(values[key]).lower()
    return ""
