"""The check of a course page: what is missing or malformed, each with its file and line.

`problems` looks at one page, `course_problems` at all of them together. Pure: bytes in, findings out. How long a
page should be is a matter of taste and is left to the test of the built-in course.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml

from retrieval.loaders import LoadError, decode, front_matter
from retrieval.loaders.inline import parser
from retrieval.sentences import one_line
from tutor.hints import BLANK, gives_away
from tutor.pages import bullets

_LINE = re.compile(r" in line (\d+)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_SLUG = re.compile(r"[a-z0-9]+(?:[-/][a-z0-9]+)*")
_PROSE = ("title", "understand", "beginner", "confusion", "mental_model")

Place = tuple[str | int, ...]
"""Where in the front matter: ("think_first", 0, "question")."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `str()` is "label:line: message", as editors and CI read it."""

    label: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.label}:{self.line}: {self.message}"


def problems(label: str, data: bytes) -> list[Problem]:
    """What is wrong with one course page, in the order of its lines. `label` names it in the findings."""
    page = _read(label, data)
    return [page] if isinstance(page, Problem) else sorted(_page_problems(page), key=lambda p: p.line)


def course_problems(pages: Mapping[str, bytes]) -> list[Problem]:
    """What is wrong with the pages of a course, by path: each page's own problems, then how they fit together.

    Links to unknown pages, prerequisites that go in a circle, an order or a title that two pages share.
    """
    found: list[Problem] = []
    read: dict[str, _Page] = {}
    for path in sorted(pages):
        found += problems(path, pages[path])
        page = _read(path, pages[path])
        if isinstance(page, _Page):
            read[_slug(path)] = page
    known = {_slug(path) for path in pages}
    for page in read.values():
        found += _unknown_links(page, known)
    found += _shared(read.values(), "order", lambda value: value)
    found += _shared(read.values(), "title", lambda value: one_line(str(value)).lower())
    return found + list(_circles(read))


@dataclass(frozen=True, slots=True)
class _Page:
    """A page that could be read: its values, and the line in the file of each of them."""

    label: str
    text: str
    body: int
    meta: dict[str, Any]
    lines: dict[Place, int]
    repeated: tuple[tuple[str, int], ...]

    def problem(self, message: str, *place: str | int) -> Problem:
        """A problem at the nearest place that the file has."""
        while place and place not in self.lines:
            place = place[:-1]
        return Problem(self.label, self.lines.get(place, 1), message)


def _read(label: str, data: bytes) -> _Page | Problem:
    try:
        text = decode(data)
        meta, body = front_matter.read(text)
    except LoadError as error:
        at = _LINE.search(str(error))
        return Problem(label, int(at[1]) if at else 1, _LINE.sub("", str(error)))
    if not body:
        return Problem(
            label, 1, "no front matter; open the page with a block of `key: value` lines between --- lines"
        )
    root = next(yaml.compose_all(text[:body], Loader=yaml.SafeLoader), None)
    keys = [(str(key.value), key.start_mark.line + 1) for key, _ in root.value] if root else []
    repeated = tuple(
        item for number, item in enumerate(keys) if item[0] in [name for name, _ in keys[:number]]
    )
    return _Page(label, text, body, meta, dict(_places(root, ())) if root else {}, repeated)


def _places(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int]]:
    """Every key and list item below a YAML node, with its line in the file."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _places(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*place, number), item.start_mark.line + 1
            yield from _places(item, (*place, number))


def _page_problems(page: _Page) -> Iterator[Problem]:
    for name, line in page.repeated:
        yield Problem(page.label, line, f"{name} is given twice")
    for key in _PROSE:
        yield from _text_problems(page, page.meta, key)
    if not _is_number(page.meta.get("order", 0)):
        yield page.problem("order must be a number", "order")
    if not _is_date(page.meta.get("updated", "2000-01-01")):
        yield page.problem("updated must be a date such as 2026-11-22", "updated")
    for key in ("tags", "concepts"):
        yield from _list_problems(page, page.meta, key, at_least=1)
    for key, at_least, at_most in (("prerequisites", 0, 99), ("next", 1, 3)):
        yield from _list_problems(page, page.meta, key, at_least=at_least, at_most=at_most)
        for number, slug in _slugs(page, key):
            if not _SLUG.fullmatch(slug):
                yield page.problem(
                    f"{key}: {slug!r} is no page name; write it as in tokens.md: tokens", key, number
                )
    for key in ("order", "updated", "prerequisites", "next", "tags", "concepts", "think_first"):
        if key not in page.meta:
            yield page.problem(f"{key} is missing")
    if "think_first" in page.meta:
        yield from _question_problems(page)
    yield from _body_problems(page)


def _question_problems(page: _Page) -> Iterator[Problem]:
    entries = page.meta["think_first"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= 4:
        yield page.problem("think_first must be a list of 1 to 4 questions", "think_first")
        return
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        place = ("think_first", number)
        if not isinstance(entry, dict):
            yield page.problem("a question needs question, reference and key_points", *place)
            continue
        yield from _text_problems(page, entry, "question", *place)
        yield from _text_problems(page, entry, "reference", *place)
        if "key_points" not in entry:
            yield page.problem("key_points is missing", *place)
        yield from _list_problems(page, entry, "key_points", *place, at_least=2, at_most=4)
        yield from _list_problems(page, entry, "hints", *place, at_least=3, at_most=3)
        points = [point for point in _listed(entry, "key_points") if isinstance(point, str)]
        for index, hint in enumerate(_listed(entry, "hints")):
            if isinstance(hint, str) and any(gives_away(hint, point) for point in points):
                yield page.problem("this hint gives a key point away", *place, "hints", index)
        question = one_line(str(entry.get("question"))).lower()
        if question in seen:
            yield page.problem("this question is asked twice", *place, "question")
        seen.add(question)


def _body_problems(page: _Page) -> Iterator[Problem]:
    tokens = parser().parse(page.text[page.body :])
    first_line = page.text.count("\n", 0, page.body) + 1
    if not any(token.type == "heading_open" and token.tag == "h2" for token in tokens):
        yield Problem(page.label, first_line, "no ## heading; a page is read section by section")
    items = bullets(page.text)
    if items is None:
        yield Problem(page.label, page.text.count("\n") + 1, "no section ## Takeaways")
        return
    if not 3 <= len(items) <= 8:
        line = items[0].line if items else page.text.count("\n") + 1
        yield Problem(page.label, line, f"Takeaways must have 3 to 8 bullets, not {len(items)}")
    for item in items:
        if len(item.terms) != 1:
            message = f"a takeaway must have exactly one **bold** term, not {len(item.terms)}"
        elif item.repeats:
            message = (
                f"the takeaway says its term {item.terms[0]!r} a second time, outside the gap of its card"
            )
        elif not item.usable:
            message = f"nothing is left of the takeaway when its term becomes {BLANK}"
        else:
            continue
        yield Problem(page.label, item.line, message)


def _text_problems(page: _Page, values: Mapping[str, Any], key: str, *place: str | int) -> Iterator[Problem]:
    value = values.get(key)
    if key not in values:
        yield page.problem(f"{key} is missing", *place)
    elif not isinstance(value, str) or not value.strip():
        yield page.problem(f"{key} must be text; put quotes around it if it holds a colon", *place, key)


def _list_problems(
    page: _Page, values: Mapping[str, Any], key: str, *place: str | int, at_least: int, at_most: int = 99
) -> Iterator[Problem]:
    """What is wrong with a list of texts, if it is there."""
    if key not in values:
        return
    listed = values[key]
    if not isinstance(listed, list):
        yield page.problem(f"{key} must be a list", *place, key)
        return
    if not at_least <= len(listed) <= at_most:
        many = f"at least {at_least}" if at_most == 99 else f"{at_least} to {at_most}"
        many = str(at_least) if at_least == at_most else many
        yield page.problem(f"{key} must have {many} entries, not {len(listed)}", *place, key)
    seen: set[str] = set()
    for number, item in enumerate(listed):
        if not isinstance(item, str) or not item.strip():
            yield page.problem(f"{key} may hold only text; put quotes around {item!r}", *place, key, number)
        elif one_line(item).lower() in seen:
            yield page.problem(f"{key} holds {item!r} twice", *place, key, number)
        else:
            seen.add(one_line(item).lower())


def _unknown_links(page: _Page, known: set[str]) -> Iterator[Problem]:
    for key in ("prerequisites", "next"):
        for number, slug in _slugs(page, key):
            if _SLUG.fullmatch(slug) and slug not in known:
                yield page.problem(f"{key}: there is no page {slug}.md", key, number)
            elif key == "next" and slug == _slug(page.label):
                yield page.problem("next: a page can't follow itself", key, number)


def _shared(pages: Iterable[_Page], key: str, comparable: Callable[[Any], Any]) -> Iterator[Problem]:
    """Pages whose value another page, earlier by path, has as well."""
    first: dict[Any, str] = {}
    for page in pages:
        value = page.meta.get(key)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            other = first.setdefault(comparable(value), page.label)
            if other != page.label:
                yield page.problem(f"{key} {value!r} is also that of {other}", key)


def _circles(pages: Mapping[str, _Page]) -> Iterator[Problem]:
    """One problem for each circle of prerequisites, at the page of the circle whose name comes first."""
    open_ = {
        slug: [s for _, s in _slugs(page, "prerequisites") if s in pages] for slug, page in pages.items()
    }
    while open_:
        done = [slug for slug, needed in open_.items() if not any(other in open_ for other in needed)]
        if not done:
            circle = _circle(open_)
            done = circle
            start = circle.index(min(circle))
            names = [*circle[start:], *circle[:start]]
            page = pages[names[0]]
            place = [
                number for number, slug in _slugs(page, "prerequisites") if slug == names[1 % len(names)]
            ]
            shown = " -> ".join([*names, names[0]])
            yield page.problem(f"prerequisites go in a circle: {shown}", "prerequisites", place[0])
        for slug in done:
            del open_[slug]


def _circle(needed: Mapping[str, Sequence[str]]) -> list[str]:
    """A circle among pages each of which needs another one of them."""
    walk = [min(needed)]
    while True:
        following = next(slug for slug in needed[walk[-1]] if slug in needed)
        if following in walk:
            return walk[walk.index(following) :]
        walk.append(following)


def _slugs(page: _Page, key: str) -> list[tuple[int, str]]:
    return [(number, item) for number, item in enumerate(_listed(page.meta, key)) if isinstance(item, str)]


def _listed(values: Mapping[str, Any], key: str) -> list[Any]:
    value = values.get(key)
    return value if isinstance(value, list) else []


def _slug(path: str) -> str:
    return path.removesuffix(".md")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_date(value: Any) -> bool:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True
