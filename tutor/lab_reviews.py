"""Reviews as values: the ones to start with, what can be trained on, and which steps still fit the reviews of now.

Every step of the bench notes what it was made from (`of`), so that one whose reviews or weights have changed since is
known to be stale. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from tutor.review_classifier import LABELS
from tutor.wire import InputError

Json = dict[str, Any]
FORMAT = 1
_FEWEST_LETTERS = 3


def clean(state: Json) -> None:
    """Note which reviews can be trained on, and why the others can't."""
    seen = {_plain(review["text"]): "held out" for review in state["reviews"] if review["held_out"]}
    kept, dropped = [], []
    for review in state["reviews"]:
        if review["held_out"]:
            continue
        key = _plain(review["text"])
        if len(key.replace(" ", "")) < _FEWEST_LETTERS:
            dropped.append([review["id"], "says nothing"])
        elif key in seen:
            why = "is held out for the exam" if seen[key] == "held out" else "is there twice"
            dropped.append([review["id"], why])
        elif review["label"] is None:
            dropped.append([review["id"], "has no label yet"])
        else:
            seen[key] = "kept"
            kept.append(review["id"])
    state["cleaned"] = {"kept": kept, "dropped": dropped, "of": _hash(state["reviews"])}


def fresh_steps(state: Json) -> list[str]:
    """The steps, in order, whose result belongs to the reviews as they are now."""
    found: list[str] = []
    cleaned, candidate, evaluation = state["cleaned"], state["candidate"], state["evaluation"]
    if cleaned is None or cleaned["of"] != _hash(state["reviews"]):
        return found
    found.append("clean")
    if candidate is None or candidate["of"] != cleaned["of"]:
        return found
    found.append("train")
    if evaluation is None or evaluation["of"] != candidate["fingerprint"]:
        return found
    found.append("evaluate")
    if (state["deployed"] or {}).get("fingerprint") == candidate["fingerprint"]:
        found.append("deploy")
    return found


def starter() -> Json:
    """A bench on which nothing was done yet."""
    reviews = [
        {"id": number, "text": text, "label": label, "held_out": held_out, "own": False}
        for number, (text, label, held_out) in enumerate(_starter_reviews(), start=1)
    ]
    empty: Json = {"cleaned": None, "candidate": None, "evaluation": None, "deployed": None, "versions": []}
    return {"format": FORMAT, "next": len(reviews) + 1, "reviews": reviews, **empty}


@cache
def _starter_reviews() -> tuple[tuple[str, str | None, bool], ...]:
    given = json.loads((files("tutor") / "lab_reviews.json").read_text("utf-8"))
    kinds = (("train", False), ("held_out", True))
    return tuple((one["text"], one["label"], held_out) for key, held_out in kinds for one in given[key])


def checked_label(label: str | None) -> str | None:
    """The label, if it is one; None is no label yet. Raises InputError."""
    if label is not None and label not in LABELS:
        raise InputError(f"a label is one of {', '.join(LABELS)}")
    return label


def targets(reviews: Sequence[Json]) -> list[int]:
    """Their labels as numbers."""
    return [LABELS.index(review["label"]) for review in reviews]


def right(table: Sequence[Sequence[int]]) -> int:
    """How many of a confusion table were right."""
    return sum(table[i][i] for i in range(len(LABELS)))


def _plain(text: str) -> str:
    """What two reviews have in common that differ in case, spaces and marks only."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def _hash(reviews: Sequence[Json]) -> str:
    said = [[r["id"], r["text"], r["label"], r["held_out"]] for r in reviews]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
