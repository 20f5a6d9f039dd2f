"""An HTML table as a grid: where each cell stands, which rows are the header, and whether it is a table at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_SPAN = 100

_BLOCKS_INSIDE = {"table", "ul", "ol", "dl", "pre", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"}


@dataclass(frozen=True, slots=True)
class Grid:
    """`rows` of cell elements (None: nothing stands there); the first `header_rows` name the columns.

    `is_layout`: it only arranges text on a page.
    """

    rows: list[list[Any]]
    header_rows: int
    captions: list[Any]
    is_layout: bool

    @property
    def width(self) -> int:
        """Columns of the widest row."""
        return max((len(row) for row in self.rows), default=0)


def grid(table: Any) -> Grid:
    """Lay a <table> out. Spans are followed within the table, MAX_SPAN columns at most."""
    found = list(_rows(table))
    rows: list[list[Any]] = []
    hanging: dict[int, tuple[int, Any]] = {}  # column -> (rows left, cell from above)
    for row, _ in found:
        laid: list[Any] = []
        cells = [c for c in row if isinstance(c.tag, str) and _tag(c) in ("td", "th")]
        for cell in cells:
            _take_hanging(hanging, laid)
            for _ in range(_span(cell, "colspan")):
                if len(laid) >= MAX_SPAN:
                    break
                if (down := _span(cell, "rowspan") - 1) > 0:
                    hanging[len(laid)] = (down, cell)
                laid.append(cell)
        _take_hanging(hanging, laid)
        rows.append(laid)
    captions = [c for c in table if isinstance(c.tag, str) and _tag(c) == "caption"]
    header_rows = _header_rows(found, rows)
    return Grid(rows, header_rows, captions, _is_layout(table, rows, header_rows))


def _rows(table: Any) -> Iterator[tuple[Any, bool]]:
    """(row, stands in the head?) of this table, not of those inside it."""
    for child in table:
        if not isinstance(child.tag, str):
            continue
        if _tag(child) == "tr":
            yield child, False
        elif _tag(child) in ("thead", "tbody", "tfoot"):
            yield from (
                (c, _tag(child) == "thead") for c in child if isinstance(c.tag, str) and _tag(c) == "tr"
            )


def _take_hanging(hanging: dict[int, tuple[int, Any]], laid: list[Any]) -> None:
    while (above := hanging.get(len(laid))) is not None:
        left, cell = above
        if left > 1:
            hanging[len(laid)] = (left - 1, cell)
        else:
            del hanging[len(laid)]
        laid.append(cell)


def _span(cell: Any, name: str) -> int:
    given = cell.get(name) or ""
    return (
        min(max(int(given), 1), MAX_SPAN if name == "colspan" else 10_000)
        if given.isdecimal() and len(given) < 6
        else 1
    )


def _header_rows(found: list[tuple[Any, bool]], rows: list[list[Any]]) -> int:
    in_head = next((n for n, (_, head) in enumerate(found) if not head), len(found))
    if in_head:
        return in_head if in_head < len(rows) else 0
    first = rows[0] if rows else []
    named = bool(first) and all(_tag(cell) == "th" or _is_bold(cell) for cell in first)
    return int(named and len(rows) > 1)


def _is_bold(cell: Any) -> bool:
    inside = [c for c in cell if isinstance(c.tag, str)]
    return len(inside) == 1 and _tag(inside[0]) in ("b", "strong") and not (cell.text or "").strip()


def _is_layout(table: Any, rows: list[list[Any]], header_rows: int) -> bool:
    if table.get("role") in ("presentation", "none") or (len(rows) < 2 and not header_rows):
        return True
    return any(
        isinstance(e.tag, str) and e is not table and _tag(e) in _BLOCKS_INSIDE
        for e in table.iterdescendants()
    )


def _tag(element: Any) -> str:
    tag: str = element.tag
    return (tag.rpartition("}")[2] if tag[0] == "{" else tag).lower()
