"""The YAML block at the top of a Markdown file -> plain JSON values, or a LoadError that names the line."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import yaml

from retrieval.loaders import LoadError

MAX_CHARS = 65_536

_BLOCK = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases: a few lines of them can unfold into gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


def read(text: str) -> tuple[dict[str, Any], int]:
    """(values, offset where the page begins). ({}, 0) where the file opens with no block of `key: value` lines.

    Dates become ISO text, so that the values can be stored as JSON. Raises LoadError for broken YAML.
    """
    block = _BLOCK.match(text)
    if block is None:
        return {}, 0
    if len(block[1]) > MAX_CHARS:
        raise LoadError(f"the front matter is longer than {MAX_CHARS} characters")
    try:
        values = yaml.load(block[1], Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" in line {mark.line + 2}" if mark else ""  # + the "---" line, counted from 1
        raise LoadError(f"broken front matter{line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LoadError(f"broken front matter (lines 1 to {block[0].count(chr(10))}): {reason}") from None
    if values is None:
        return {}, block.end()
    if not isinstance(values, dict):
        return {}, 0  # two rules around a paragraph, not metadata
    return _json(values), block.end()


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_json(item) for item in value]
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return str(value)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
