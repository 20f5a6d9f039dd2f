"""The study path as HTML: the list in the margin, the cards, the map. Values in, text out.

Where a page stands in the map is `tutor.study`'s; here it becomes boxes and lines. The map runs from top to bottom:
a page's depth is its height in it, its row the place from left to right. Widths are shares of the room there is,
heights are pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tutor.study import GraphNode
from tutor.ui.library import COURSE, Continue, PathPage
from tutor.ui.markup import esc, icon, join, reader_url, url

LEVEL = 114
BOX = 84
GAP = (LEVEL - BOX) / 2
COLUMN = 100.0  # units of the drawing, stretched to the width of the page
EDGE = 5.0  # free units on each side of a box, where lines pass
LEGEND = (
    ("read", "Read"),
    ("started", "Started"),
    ("ready", "Ready to read"),
    ("waiting", "Prerequisites first"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the map: from a page's box to that of one which builds on it. `lane` is the row (a half for a gap
    between rows) in which it passes the levels between, None where there are none."""

    source: GraphNode
    target: GraphNode
    lane: float | None


def path_list(
    path: Sequence[PathPage], *, current: str, go_on: Continue | None, others: Sequence[tuple[str, str]]
) -> str:
    """The path in the margin; sent again whenever a section was read."""
    card = continue_card(go_on, path) if go_on is None or go_on.page.path != current else ""
    items = join(
        f'<li><a class="path-item is-{page.state}" href="{esc(reader_url(COURSE, page.path))}"'
        f"{_current(page.path == current)}>{_dot(page)}<span><span class='path-title'>{esc(page.title)}</span>"
        f'<span class="path-state">{state_text(page)}</span></span></a></li>'
        for page in path
    )
    return f'{card}<ol class="path" data-summary="{esc(summary(path))}">{items}</ol>{other_material(others)}'


def overview(path: Sequence[PathPage], nodes: Sequence[GraphNode]) -> str:
    """The whole path: a map where there is room for it, or cards in order, as the learner likes."""
    by_path = {node.path: node for node in nodes}
    cards = join(_card(page, by_path.get(page.path), by_path) for page in path)
    return (
        '<section class="study" data-view="map" aria-label="Study path">'
        '<div class="view-switch" role="group" aria-label="Show the study path as">'
        '<button type="button" data-view-as="map" aria-pressed="true">Map</button>'
        '<button type="button" data-view-as="list" aria-pressed="false">List</button></div>'
        f'{_map(path, nodes)}<ol class="path-cards">{cards}</ol></section>'
    )


def state_text(page: PathPage) -> str:
    """ "6 min", "3 of 9 sections · 6 min", "Read · 6 min"."""
    time = f"{page.minutes} min"
    if page.state == "read":
        return f"Read · {time}"
    if page.state == "started":
        return f"{len(page.read)} of {len(page.sections)} sections · {time}"
    return f"Not started · {time}"


def summary(path: Sequence[PathPage]) -> str:
    """How far one has come, in a few words."""
    return f"Study path · {sum(p.state == 'read' for p in path)} of {len(path)} read"


def continue_card(go_on: Continue | None, path: Sequence[PathPage]) -> str:
    """The link to where one stopped, or what to do when everything is read."""
    if go_on is None:
        if not path:
            return ""
        return (
            '<div class="continue"><span class="continue-label">You have read every page</span>'
            f'<span>See it all in <a href="{esc(url("history"))}">History</a>, or '
            f'<a href="{esc(url("review"))}">review what is due</a>.</span></div>'
        )
    label = "Start here" if go_on.first_time else "Continue where you stopped"
    section = go_on.section.anchor if go_on.section else ""
    place = f'<span class="continue-section">{esc(go_on.section.title)}</span>' if go_on.section else ""
    return (
        f'<a class="continue" href="{esc(reader_url(COURSE, go_on.page.path, section=section))}">'
        f'<span class="continue-label">{label}</span>'
        f'<span class="continue-title">{esc(go_on.page.title)}</span>{place}</a>'
    )


def other_material(others: Sequence[tuple[str, str]]) -> str:
    """Links (title, address) to what is not part of the course."""
    if not others:
        return ""
    items = join(f'<li><a href="{esc(link)}">{esc(title)}</a></li>' for title, link in others)
    return f'<h2 class="side-heading">More material</h2><ul class="plain-list">{items}</ul>'


def needed_lines(nodes: Sequence[GraphNode]) -> list[Line]:
    """The lines worth drawing: none to what a drawn chain of pages already says (the transitive reduction).

    A line over more than one level passes through a row that is free there, or between two rows, so that it does
    not seem to start or end at a page on its way.
    """
    direct = {node.path: set(node.prerequisites) for node in nodes}
    above: dict[str, set[str]] = {}
    for node in sorted(nodes, key=lambda n: n.depth):
        above[node.path] = direct[node.path].union(*(above.get(other, set()) for other in direct[node.path]))
    by_path = {node.path: node for node in nodes}
    lines: list[Line] = []
    taken: set[tuple[int, float]] = {(node.depth, float(node.row)) for node in nodes}
    for target in nodes:
        implied = set[str]().union(*(above[other] for other in direct[target.path] if other in above))
        for path in target.prerequisites:
            if path in implied or path not in by_path:
                continue
            source = by_path[path]
            levels = range(source.depth + 1, target.depth)
            lane = _lane(source.row, target.row, levels, taken) if levels else None
            taken |= {(level, lane) for level in levels if lane is not None}
            lines.append(Line(source, target, lane))
    return lines


def _lane(first: int, last: int, levels: Iterable[int], taken: set[tuple[int, float]]) -> float:
    """The row or half row nearest to the way from `first` to `last` that is free at all levels."""
    levels = list(levels)
    reach = max([first, last, *(row for _, row in taken)]) + 1
    lanes = [number / 2 for number in range(-1, int(2 * reach) + 2)]
    free = [lane for lane in lanes if not any((level, lane) in taken for level in levels)]
    return min(free, key=lambda lane: (abs(lane - first) + abs(lane - last), lane % 1, lane))


def _map(path: Sequence[PathPage], nodes: Sequence[GraphNode]) -> str:
    pages = {page.path: page for page in path}
    shown = [node for node in nodes if node.path in pages]
    if not shown:
        return ""
    columns = max(node.row for node in shown) + 1
    height = (max(node.depth for node in shown) + 1) * LEVEL
    numbers = {node.path: number for number, node in enumerate(shown)}
    lines = join(_line(line, numbers) for line in needed_lines(shown))
    titles = {node.path: node.title for node in shown}
    boxes = join(_box(node, pages[node.path], numbers[node.path], columns, titles) for node in shown)
    legend = join(
        f'<li><span class="state-mark is-{state}">{icon("check") if state == "read" else ""}</span>{words}</li>'
        for state, words in LEGEND
    )
    return (
        f'<div class="map-wrap"><div class="map" style="height:{height}px">'
        f'<svg viewBox="0 0 {columns * COLUMN:.0f} {height}" preserveAspectRatio="none" aria-hidden="true" '
        f'focusable="false">{lines}</svg><ol>{boxes}</ol></div>'
        f'<ul class="legend" aria-label="What the marks mean">{legend}'
        '<li><span class="legend-line"></span>Leads to, from top to bottom</li></ul></div>'
    )


def _line(line: Line, numbers: Mapping[str, int]) -> str:
    source, target = line.source, line.target
    x, y = _middle(source.row), (source.depth + 1) * LEVEL - GAP
    drawn = f"M{x:.0f} {y:.0f}"
    if line.lane is not None:
        lane, begin, end = _middle(line.lane), y + 2 * GAP, target.depth * LEVEL - GAP
        drawn += f"{_bend(x, y, lane, begin)}L{lane:.0f} {end:.0f}"
        x, y = lane, end
    drawn += _bend(x, y, _middle(target.row), target.depth * LEVEL + GAP)
    done = " is-done" if source.state == "read" else ""
    return f'<path class="edge{done}" data-from="{numbers[source.path]}" data-to="{numbers[target.path]}" d="{drawn}"/>'


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (y + to_y) / 2
    return f"C{x:.0f} {half:.0f} {to_x:.0f} {half:.0f} {to_x:.0f} {to_y:.0f}"


def _middle(row: float) -> float:
    return row * COLUMN + COLUMN / 2


def _box(node: GraphNode, page: PathPage, number: int, columns: int, titles: Mapping[str, str]) -> str:
    left = (node.row * COLUMN + EDGE) / columns
    width = (COLUMN - 2 * EDGE) / columns
    top = node.depth * LEVEL + GAP
    before = [titles[other] for other in node.prerequisites if other in titles]
    builds_on = f'<span class="visually-hidden">. Builds on {esc(", ".join(before))}</span>' if before else ""
    return (
        f'<li style="left:{left:.2f}%;top:{top:.0f}px;width:{width:.2f}%;height:{BOX}px">'
        f'<a class="node is-{_state(node)}" data-node="{number}" href="{esc(reader_url(COURSE, page.path))}">'
        f'<span class="node-title">{esc(page.title)}</span>'
        f'<span class="node-state">{_mark(node, page)}{_node_text(node, page)}</span>{builds_on}</a></li>'
    )


def _state(node: GraphNode) -> str:
    if node.state != "new":
        return node.state
    return "ready" if node.ready else "waiting"


def _node_text(node: GraphNode, page: PathPage) -> str:
    if node.state == "started":
        return f"{len(page.read)} of {len(page.sections)} sections"
    return {"read": "Read", "ready": f"Ready · {page.minutes} min", "waiting": "Prerequisites first"}[
        _state(node)
    ]


def _mark(node: GraphNode, page: PathPage) -> str:
    share = len(page.read) / len(page.sections) if page.sections else 0.0
    inner = icon("check") if node.state == "read" else ""
    return f'<span class="state-mark is-{_state(node)}" style="--share:{share:.2f}">{inner}</span>'


def _card(page: PathPage, node: GraphNode | None, nodes: Mapping[str, GraphNode]) -> str:
    before = [nodes[path] for path in node.prerequisites if path in nodes] if node else []
    names = join(
        f"<li{' class=is-read' if other.state == 'read' else ''}>{esc(other.title)}"
        f"{'<span class=visually-hidden> (read)</span>' if other.state == 'read' else ''}</li>"
        for other in before
    )
    builds_on = f'<div class="builds-on"><span>Builds on</span> <ul>{names}</ul></div>' if names else ""
    return (
        f'<li class="path-card-item"><a class="path-card is-{page.state}" '
        f'href="{esc(reader_url(COURSE, page.path))}">{_dot(page)}'
        f'<span><span class="path-title">{esc(page.title)}</span>'
        f'<span class="path-understand">{esc(page.understand)}</span>'
        f'<span class="path-state">{state_text(page)}</span></span></a>{builds_on}</li>'
    )


def _dot(page: PathPage) -> str:
    share = len(page.read) / len(page.sections) if page.sections else 0.0
    inner = icon("check") if page.state == "read" else ""
    return f'<span class="dot" style="--share:{share:.2f}" aria-hidden="true">{inner}</span>'


def _current(yes: bool) -> str:
    return ' aria-current="page"' if yes else ""
