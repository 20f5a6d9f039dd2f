"""The study path as a graph: which page needs which, what can be read now, what to read next.

Pure: pages in, places and suggestions out. Where the pages and their states come from is `progress.py`; how the
graph is drawn is the UI's. "Order" is always the order in which the pages are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["new", "started", "read"]

_SWEEPS = 6


@dataclass(frozen=True, slots=True)
class StudyPage:
    """A page of the course, the paths of the pages to read before it, and how far the learner has come with it."""

    path: str
    title: str
    prerequisites: tuple[str, ...]
    state: State


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A page with its place in the drawn graph: `depth` counts from 0 the longest chain of pages before it, `row`
    from 0 its place among those of its depth (rows may stay free). `ready`: all that it needs is read."""

    path: str
    title: str
    state: State
    ready: bool
    depth: int
    row: int
    prerequisites: tuple[str, ...]


def graph(pages: Sequence[StudyPage]) -> tuple[GraphNode, ...]:
    """The pages with their places, in order.

    Unknown prerequisites are ignored; in a circle a page does not wait for one that comes after it in the order.
    """
    by_path = {page.path: page for page in reversed(pages)}
    listed = list(dict.fromkeys(page.path for page in pages))
    needed = _without_circles(listed, by_path)
    depths = _depths(listed, needed)
    rows = _rows(listed, needed, depths)
    return tuple(
        GraphNode(
            path=path,
            title=by_path[path].title,
            state=by_path[path].state,
            ready=all(by_path[other].state == "read" for other in needed[path]),
            depth=depths[path],
            row=rows[path],
            prerequisites=needed[path],
        )
        for path in listed
    )


def next_step(path: str, pages: Sequence[StudyPage]) -> StudyPage | None:
    """The nearest page not read yet that this page builds on, the first by order among equally near ones.

    What to offer when a question of the page failed. None where everything it builds on is read.
    """
    by_path = {page.path: page for page in reversed(pages)}
    level, seen = [path], {path}
    while level:
        before = {other for here in level if here in by_path for other in by_path[here].prerequisites} - seen
        nearest = [page for page in pages if page.path in before]
        unread = next((page for page in nearest if page.state != "read"), None)
        if unread is not None:
            return unread
        seen |= before
        level = [page.path for page in nearest]
    return None


def suggested(pages: Sequence[StudyPage]) -> StudyPage | None:
    """The first page by order that is not read and whose prerequisites are. None when all is read."""
    ready = {node.path for node in graph(pages) if node.ready}
    return next((page for page in pages if page.state != "read" and page.path in ready), None)


def _without_circles(listed: Sequence[str], by_path: Mapping[str, StudyPage]) -> dict[str, tuple[str, ...]]:
    """For each page what it needs: known pages only, each once, and no circle."""
    place = {path: number for number, path in enumerate(listed)}
    known = {
        path: [other for other in dict.fromkeys(by_path[path].prerequisites) if other in place]
        for path in listed
    }
    above = {path: _reachable(path, known) for path in listed}
    return {
        path: tuple(other for other in known[path] if path not in above[other] or place[other] < place[path])
        for path in listed
    }


def _reachable(path: str, needed: Mapping[str, Sequence[str]]) -> set[str]:
    """Every page that this one needs, directly or through others; itself only where it stands in a circle."""
    found: set[str] = set()
    waiting = list(needed[path])
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting.extend(needed[other])
    return found


def _depths(listed: Sequence[str], needed: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The length of the longest chain before each page. `needed` has no circle, so every round settles a page."""
    depths: dict[str, int] = {}
    while len(depths) < len(listed):
        for path in listed:
            if path not in depths and all(other in depths for other in needed[path]):
                depths[path] = max((depths[other] + 1 for other in needed[path]), default=0)
    return depths


def _rows(
    listed: Sequence[str], needed: Mapping[str, Sequence[str]], depths: Mapping[str, int]
) -> dict[str, int]:
    """A row for each page such that edges are short: the barycentre heuristic of Sugiyama, Tagawa and Toda (1981).

    The layers are swept forwards and backwards; each page moves towards the mean row of its neighbours on the side
    that the sweep comes from. The arrangement with the smallest total height of edges wins, the earliest of equals.
    """
    layers = [
        [p for p in listed if depths[p] == depth] for depth in range(max(depths.values(), default=-1) + 1)
    ]
    followers = {path: [other for other in listed if path in needed[other]] for path in listed}
    rows = {path: row for layer in layers for row, path in enumerate(layer)}
    best, shortest = rows, _height(rows, needed)
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        rows = dict(rows)
        for layer in layers if forwards else reversed(layers):
            _settle(layer, rows, needed if forwards else followers)
        used = {row: number for number, row in enumerate(sorted(set(rows.values())))}
        rows = {path: used[row] for path, row in rows.items()}  # without rows that stayed empty everywhere
        if (height := _height(rows, needed)) < shortest:
            best, shortest = rows, height
    return best


def _settle(layer: Sequence[str], rows: dict[str, int], neighbours: Mapping[str, Sequence[str]]) -> None:
    """Move the pages of a layer to the mean row of their neighbours, one page a row; without any a page stays."""
    wanted = {
        path: sum(rows[other] for other in neighbours[path]) / len(neighbours[path])
        if neighbours[path]
        else float(rows[path])
        for path in layer
    }
    free = 0
    for path in sorted(layer, key=lambda p: (wanted[p], rows[p])):
        rows[path] = max(free, round(wanted[path]))
        free = rows[path] + 1


def _height(rows: Mapping[str, int], needed: Mapping[str, Sequence[str]]) -> int:
    return sum(abs(rows[path] - rows[other]) for path, others in needed.items() for other in others)
