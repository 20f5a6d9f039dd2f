"""CSV -> Document: a table with named columns, in sections of fifty rows, so that a citation says which rows."""

from __future__ import annotations

import csv
import io
import re
from pathlib import PurePosixPath

from retrieval.loaders import LoadError, markdown, writer
from retrieval.loaders.encodings import decode_text
from retrieval.records import Document

ROWS = 50  # a section
MAX_COLUMNS = 500

_DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"[-+]?[\d.,:/ %€$-]*\d[\d.,:/ %€$-]*")


def load(path_label: str, data: bytes) -> Document:
    """Read a table of comma, semicolon, tab or bar separated values. The title is the file's name.

    The first row names the columns, unless it holds numbers. Raises LoadError: not text, broken quoting, too wide.
    """
    decoded = decode_text(data)
    is_tsv = path_label.lower().endswith(".tsv")
    delimiter = "\t" if is_tsv else _delimiter(decoded.text)
    reader = csv.reader(io.StringIO(decoded.text, newline=""), delimiter=delimiter)
    try:
        rows = [[writer.words(cell) for cell in row] for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise LoadError(f"broken table in line {reader.line_num}: {error}") from None
    width = max((len(row) for row in rows), default=0)
    if width > MAX_COLUMNS:
        raise LoadError(f"a table of {width} columns; {MAX_COLUMNS} is the limit")
    header = rows.pop(0) if len(rows) > 1 and not any(_NUMBER.fullmatch(c.strip()) for c in rows[0]) else []
    header = [
        name.strip() or f"Column {n + 1}" for n, name in enumerate([*header, *[""] * (width - len(header))])
    ]
    blocks: list[str] = []
    for first in range(0, len(rows), ROWS):
        part = rows[first : first + ROWS]
        if len(rows) > ROWS:
            blocks.append(writer.heading(2, f"Rows {first + 1}-{first + len(part)}"))
        blocks.append(writer.table(part, header))
    media_type = "text/tab-separated-values" if is_tsv else "text/csv"
    return markdown.build(
        path_label, writer.join(blocks), media_type, PurePosixPath(path_label).stem, decoded.meta()
    )


def _delimiter(text: str) -> str:
    """The one that divides the first lines most evenly; a comma where none does."""
    lines = [line for line in text[:65_536].split("\n")[:20] if line.strip()]
    best, most = ",", 0
    for candidate in _DELIMITERS:
        counts = [len(row) for row in csv.reader(lines, delimiter=candidate)]
        common = max(set(counts), key=counts.count, default=0)
        if common > 1 and (score := counts.count(common) * 100 + common) > most:
            best, most = candidate, score
    return best
