"""The study path as a graph, what is ready, and which page to offer."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tutor.study import GraphNode, State, StudyPage, graph, next_step, suggested


def _page(path: str, *needs: str, state: State = "new") -> StudyPage:
    return StudyPage(path, path.upper(), needs, state)


def _by_path(nodes: tuple[GraphNode, ...]) -> dict[str, GraphNode]:
    return {node.path: node for node in nodes}


def _height(nodes: dict[str, GraphNode]) -> int:
    return sum(abs(n.row - nodes[other].row) for n in nodes.values() for other in n.prerequisites)


@st.composite
def _courses(draw: st.DrawFn) -> list[StudyPage]:
    names = [f"p{number}" for number in range(draw(st.integers(0, 9)))]
    needs = st.lists(st.sampled_from([*names, "gone"]), max_size=3) if names else st.just([])
    states = st.sampled_from(["new", "started", "read"])
    return [StudyPage(name, name, tuple(draw(needs)), draw(states)) for name in names]


def test_depth_is_the_longest_chain_and_ready_needs_every_prerequisite_read() -> None:
    nodes = _by_path(
        graph([_page("a", state="read"), _page("b", "a"), _page("c", "a", "b", "gone"), _page("d", "a", "a")])
    )
    assert {path: node.depth for path, node in nodes.items()} == {"a": 0, "b": 1, "c": 2, "d": 1}
    assert {path for path, node in nodes.items() if node.ready} == {"a", "b", "d"}
    assert nodes["c"].prerequisites == ("a", "b")
    assert nodes["d"].prerequisites == ("a",)
    assert nodes["b"].title == "B"


def test_a_circle_is_cut_where_a_page_waits_for_a_later_one() -> None:
    nodes = _by_path(graph([_page("a", "c"), _page("b", "a"), _page("c", "b"), _page("self", "self")]))
    assert [nodes[path].depth for path in "abc"] == [0, 1, 2]
    assert nodes["a"].prerequisites == ()
    assert nodes["self"].ready


def test_a_prerequisite_that_comes_later_is_kept_when_there_is_no_circle() -> None:
    nodes = _by_path(graph([_page("a", "b"), _page("b")]))
    assert (nodes["a"].prerequisites, nodes["a"].depth) == (("b",), 1)


def test_rows_untangle_crossing_edges() -> None:
    pages = [_page("a"), _page("b"), _page("c"), _page("x", "c"), _page("y", "b"), _page("z", "a")]
    nodes = _by_path(graph(pages))
    assert _height(nodes) == 0  # by the order alone it is 4
    assert nodes["x"].row == nodes["c"].row


@given(_courses())
def test_any_course_gets_places_without_hanging(pages: list[StudyPage]) -> None:
    nodes = graph(pages)
    assert [node.path for node in nodes] == [page.path for page in pages]
    assert nodes == graph(pages)
    found = _by_path(nodes)
    for node in nodes:
        assert node.depth == max((found[other].depth + 1 for other in node.prerequisites), default=0)
    places = [(node.depth, node.row) for node in nodes]
    assert len(set(places)) == len(places)
    rows = sorted({node.row for node in nodes})
    assert rows == list(range(len(rows)))
    layers: dict[int, list[str]] = {}
    for node in nodes:
        layers.setdefault(node.depth, []).append(node.path)
    plain = {path: row for layer in layers.values() for row, path in enumerate(layer)}
    by_order = sum(abs(plain[n.path] - plain[o]) for n in nodes for o in n.prerequisites)
    assert _height(found) <= by_order
    following = suggested(pages)
    if following is None:
        assert all(page.state == "read" for page in pages)
    else:
        assert following.state != "read"
        assert found[following.path].ready


@given(st.permutations(range(6)))
def test_a_long_chain_is_as_deep_as_it_is_long_in_any_order(order: list[int]) -> None:
    chain = {number: _page(str(number), *([str(number - 1)] if number else [])) for number in range(6)}
    nodes = _by_path(graph([chain[number] for number in order]))
    assert all(nodes[str(a)].depth + 1 == nodes[str(b)].depth for a, b in pairwise(range(6)))


def test_the_nearest_unread_prerequisite_is_offered() -> None:
    pages = [
        _page("a"),
        _page("b", "a", state="read"),
        _page("c"),
        _page("d", "c", "b"),
        _page("e", "d", "b"),
    ]
    assert next_step("e", pages) == pages[3]
    assert next_step("d", pages) == pages[2]
    assert next_step("b", pages) == pages[0]
    assert next_step("a", pages) is None
    assert next_step("gone", pages) is None
    read = [_page("a"), _page("b", "a", state="read"), _page("c", "b")]
    assert next_step("c", read) == read[0]  # through a page that is read
    assert next_step("x", [_page("x", "y"), _page("y", "x", state="read")]) is None


def test_what_to_read_next_is_the_first_page_that_waits_for_nothing() -> None:
    pages = [_page("b", "a"), _page("a", state="started"), _page("c")]
    assert suggested(pages) == pages[1]
    assert suggested([_page("a", state="read")]) is None
