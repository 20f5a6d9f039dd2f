"""The parts that the charts share: axes with round numbers, curves that stretch with the page, values as a table.

A chart is an SVG as wide as its place and `HEIGHT` pixels high between its axes; app.css leaves room for the labels.
Values in, text out; what is drawn is decided by the callers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tutor.ui.markup import esc, join

HEIGHT = 160  # pixels between the axis and the top line
_WIDE = 1000  # units in which curves are drawn before they are stretched


def y_axis(labels: Sequence[tuple[float, str]]) -> str:
    """A line and a label for each (share of the height from the bottom, label); the one at 0 is the axis."""
    return join(
        f'<line x1="0" x2="100%" y1="{(y := HEIGHT * (1 - share)):g}" y2="{y:g}" '
        f'class="{"grid" if share else "axis"}"/>'
        f'<text x="-8" y="{y + 4:g}" text-anchor="end">{esc(label)}</text>'
        for share, label in labels
    )


def x_label(share: float, text: str, anchor: str = "middle") -> str:
    """A label under the axis at this share of the width."""
    return f'<text x="{share * 100:.2f}%" y="{HEIGHT + 20}" text-anchor="{anchor}">{esc(text)}</text>'


def x_mark(share: float, kind: str) -> str:
    """An upright line at this share of the width; `kind` is its class."""
    at = f"{share * 100:.2f}%"
    return f'<line x1="{at}" x2="{at}" y1="0" y2="{HEIGHT}" class="{kind}"/>'


def y_mark(share: float, kind: str) -> str:
    """A level line at this share of the height; `kind` is its class."""
    y = f"{HEIGHT * (1 - share):g}"
    return f'<line x1="0" x2="100%" y1="{y}" y2="{y}" class="{kind}"/>'


def curve(points: Iterable[tuple[float, float]], kind: str) -> str:
    """A line through (share of the width, share of the height) points; `kind` is its class."""
    path = " ".join(f"{x * _WIDE:.1f},{HEIGHT * (1 - y):.1f}" for x, y in points)
    return (
        f'<svg x="0" y="0" width="100%" height="{HEIGHT}" viewBox="0 0 {_WIDE} {HEIGHT}" preserveAspectRatio="none" '
        f'class="curve"><polyline points="{path}" class="{kind}"/></svg>'
    )


def figure(
    label: str, drawing: str, head: Sequence[str], rows: Iterable[Sequence[str]], legend: str = ""
) -> str:
    """The chart with its values in a table for screen readers. `legend` is HTML above it."""
    titles = join(f'<th scope="col">{esc(title)}</th>' for title in head)
    body = join(f"<tr>{join(f'<td>{esc(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<figure class="chart">{legend}<svg role="img" aria-label="{esc(label)}">{drawing}</svg>'
        f'<div class="visually-hidden"><table><caption>{esc(label)}</caption>'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div></figure>"
    )


def nice_count(most: int) -> int:
    """The end of an axis that counts: an even number, so that its half is whole too; at least 4."""
    for top in (4, 6, 10, 20, 30, 40, 60, 80, 100, 200, 300, 400):
        if most <= top:
            return top
    return math.ceil(most / 200) * 200
