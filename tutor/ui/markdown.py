"""A document's text -> safe HTML in sections, with one cited span highlighted.

markdown-it renders with HTML off and nh3 cleans what it made, so nothing a document holds can run or load; images
are named, not fetched. The front matter is never rendered: it holds what learners should not see yet.
A highlight travels through rendering as two characters put into the text at its offsets (`highlight.py`). They are
only trusted when the result without them equals the plain rendering; otherwise the block they stand in is marked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from retrieval.loaders import LoadError, front_matter
from retrieval.loaders.inline import inline_text
from retrieval.loaders.markdown import unique_slug
from tutor.ui.highlight import mark_block, spans, unused_characters, with_marks
from tutor.ui.markup import WORDS_PER_MINUTE, esc

TOP = "top"  # the anchor of what stands before the first heading
_TAGS = set(
    "p h2 h3 h4 h5 h6 ul ol li table thead tbody tr th td pre code blockquote em strong s a br hr span".split()
)
_ATTRIBUTES = {
    "a": {"href", "title", "target", "rel"},
    "ol": {"start"},
    "h2": {"id"}, "h3": {"id"}, "h4": {"id"}, "h5": {"id"}, "h6": {"id"},
}  # fmt: skip
_CLASSES = {
    tag: {"cite-block", "align-right", "align-center", "image-alt", "dead-link"}
    for tag in (
        "p",
        "li",
        "tr",
        "td",
        "th",
        "code",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "span",
        "pre",
    )
}

LinkFor = Callable[[str, str], str | None]
"""(relative path, fragment) -> a link inside the app, or None when no such page is indexed."""


@dataclass(frozen=True, slots=True)
class PageSection:
    """One part of a page, as reading is counted: the text under a heading of the first two levels."""

    anchor: str
    title: str
    words: int

    @property
    def seconds(self) -> float:
        """Reading time at a calm pace."""
        return self.words / WORDS_PER_MINUTE * 60


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """Safe HTML (a row of <section> elements) and what its sections are. `cited` tells if a highlight is in it."""

    html: str
    sections: tuple[PageSection, ...]
    cited: bool


def render_page(
    text: str,
    *,
    title: str = "",
    media_type: str = "text/markdown",
    cite: tuple[int, int] | None = None,
    link_for: LinkFor | None = None,
) -> RenderedPage:
    """Render a stored document. `cite` are character offsets in `text`; nonsense offsets highlight nothing."""
    links = link_for or (lambda _path, _fragment: None)
    render = _render_text if media_type == "text/plain" else _render_markdown
    parts, sections = render(text, title, links, None)
    body = "".join(parts)
    if cite is None or not (0 <= cite[0] < cite[1] <= len(text)) or not text[cite[0] : cite[1]].strip():
        return RenderedPage(body, sections, cited=False)
    opening, closing = unused_characters(text)
    for start, end in spans(text, *cite):
        marked = text[:start] + opening + text[start:end] + closing + text[end:]
        tried = "".join(render(marked, title, links, None)[0])
        if (
            tried.count(opening) == tried.count(closing) == 1
            and tried.replace(opening, "").replace(closing, "") == body
        ):
            return RenderedPage(with_marks(tried, opening, closing), sections, cited=True)
    blocked = "".join(render(text, title, links, cite)[0])
    first = blocked.replace('class="cite-block"', 'class="cite-block" id="cite"', 1)
    return RenderedPage(first, sections, cited=first != body)


@lru_cache(maxsize=256)
def page_sections(text: str, title: str, media_type: str) -> tuple[PageSection, ...]:
    """What a page's sections are, without its HTML."""
    return render_page(text, title=title, media_type=media_type).sections


def _render_markdown(
    text: str, title: str, links: LinkFor, block: tuple[int, int] | None
) -> tuple[list[str], tuple[PageSection, ...]]:
    offset = _body_start(text)
    md = _parser()
    env: dict[str, Any] = {}
    tokens = md.parse(text[offset:], env)
    if block:
        mark_block(tokens, text[offset:], block[0] - offset)
    _rewrite(tokens, links)
    parts: list[str] = []
    sections: list[PageSection] = []
    for anchor, heading, group in _groups(tokens, title, env):
        html = _clean(md.renderer.render(group, md.options, env))
        words = len(re.findall(r"\w+", " ".join(t.content for t in group if t.type in ("inline", "fence"))))
        if words:
            sections.append(PageSection(anchor, heading, words))
            parts.append(_section(sections[-1], html))
    return parts, tuple(sections)


def _render_text(
    text: str, title: str, links: LinkFor, block: tuple[int, int] | None
) -> tuple[list[str], tuple[PageSection, ...]]:
    paragraphs = [p for p in re.split(r"\n[ \t]*\n", text) if p.strip()]
    html = _clean("".join(f"<p>{esc(p.strip()).replace(chr(10), '<br>')}</p>" for p in paragraphs))
    section = PageSection(TOP, title, len(re.findall(r"\w+", text)))
    return [_section(section, html)], (section,)


def _section(section: PageSection, html: str) -> str:
    html = html.replace("<table>", '<div class="table-wrap" tabindex="0"><table>')
    html = html.replace("</table>", "</table></div>")
    top = ' id="s-top"' if section.anchor == TOP else ""
    return f'<section{top} data-section="{esc(section.anchor)}" data-seconds="{section.seconds:.0f}">{html}</section>'


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    # The dialect in which `retrieval.loaders` reads: offsets only agree when the rules do.
    md = MarkdownIt("commonmark", {"html": False, "maxNesting": 100}).enable(["table", "strikethrough"])

    def image(self: Any, tokens: list[Token], index: int, options: Any, env: Any) -> str:
        alt = tokens[index].content.strip()
        return f'<span class="image-alt">[Image: {esc(alt)}]</span>' if alt else ""

    md.add_render_rule("image", image)
    return md


def _body_start(text: str) -> int:
    try:
        return front_matter.read(text)[1]
    except LoadError:  # it was readable when it was indexed; show it whole rather than not at all
        return 0


def _groups(tokens: list[Token], title: str, env: dict[str, Any]) -> Iterator[tuple[str, str, list[Token]]]:
    """Cut the tokens at headings of the first two levels; give every heading the anchor the index knows it by."""
    anchor, heading, group = TOP, title, list[Token]()
    used: set[str] = set()
    skip = 0
    for index, token in enumerate(tokens):
        if skip:
            skip -= 1
            continue
        if token.type == "heading_open" and token.level == 0:
            words = " ".join(inline_text(tokens[index + 1].content, env).text.split())
            name = unique_slug(words, used)
            if token.tag == "h1" and not group and words.strip() == title.strip():
                skip = 2  # the page already shows its title
                continue
            level = int(token.tag[1])
            if level <= 2:
                if group:
                    yield anchor, heading, group
                anchor, heading, group = name, words, []
            token.attrSet("id", f"s-{name}")
        if token.tag == "h1":
            token.tag = "h2"  # the page's title is the only h1
        group.append(token)
    if group:
        yield anchor, heading, group


def _rewrite(tokens: list[Token], links: LinkFor) -> None:
    """Point links into the app, open outside ones in a new tab, and turn alignment styles into classes."""
    for token in tokens:
        if token.attrs.get("style"):
            side = str(token.attrs.pop("style")).removeprefix("text-align:")
            if side in ("right", "center"):
                token.attrSet("class", f"align-{side}")
        dead: list[bool] = []
        for child in token.children or []:
            if child.type == "link_open":
                target = _target(str(child.attrs.get("href", "")), links)
                dead.append(target is None)
                if target is None:
                    child.tag, child.attrs = "span", {"class": "dead-link"}
                    continue
                child.attrs["href"] = target
                if not target.startswith("./"):
                    child.attrs |= {"target": "_blank", "rel": "noopener noreferrer nofollow"}
            elif child.type == "link_close" and dead and dead.pop():
                child.tag = "span"


def _target(href: str, links: LinkFor) -> str | None:
    try:
        parts = urlsplit(href)
    except ValueError:
        return None
    if parts.scheme in ("http", "https", "mailto"):
        return href
    if parts.scheme or parts.netloc:
        return None
    return links(unquote(parts.path), unquote(parts.fragment))


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        url_schemes={"http", "https", "mailto"},
        link_rel=None,
    )
