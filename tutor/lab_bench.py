"""The review bench: a learner's reviews on their way from collecting to a classifier in use, kept as one JSON file.

    collect -> clean -> train -> evaluate -> deploy -> infer

Held-out reviews are never trained on. What a step needs and leaves is `lab_reviews.py`'s, the mathematics
`review_classifier.py`'s.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tutor import review_classifier
from tutor.lab_reviews import FORMAT, Json, checked_label, clean, fresh_steps, right, starter, targets
from tutor.review_classifier import LABELS, Weights
from tutor.whole_files import read_json, write_json
from tutor.wire import InputError

if TYPE_CHECKING:
    from retrieval.records import Embedder

MAX_REVIEWS = 100
MAX_CHARS = 400
KEPT_VERSIONS = 20


@dataclass(frozen=True, slots=True)
class Inference:
    """What the deployed weights say of a text, and their fingerprint as it was on the disk before and after."""

    text: str
    probabilities: tuple[float, ...]
    version: int
    before: str
    after: str


def bench_file(home: Path, learner_id: int) -> Path:
    """Where a learner's bench is kept. Deleting it forgets everything of the bench."""
    return home / "lab" / f"reviews-{learner_id}.json"


class ReviewBench:
    """One learner's bench. Safe to share between threads."""

    def __init__(
        self, embedder: Embedder, file: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._embedder = embedder
        self._file = file
        self._now = now
        self._lock = threading.Lock()

    def state(self) -> Json:
        """Everything, as it is kept; with `fresh`: the steps whose result belongs to what is there now."""
        with self._lock:
            return self._seen(self._read())

    def add(self, text: str, label: str | None) -> Json:
        """Collect a review of the learner's own. Raises InputError."""
        text = " ".join(text.split())
        if not text:
            raise InputError("write a review first")
        if len(text) > MAX_CHARS:
            raise InputError(f"a review may have {MAX_CHARS} characters; this one has {len(text)}")

        def change(state: Json) -> None:
            if len(state["reviews"]) >= MAX_REVIEWS:
                raise InputError(f"{MAX_REVIEWS} reviews are enough here; remove one first")
            review = {
                "id": state["next"],
                "text": text,
                "label": checked_label(label),
                "held_out": False,
                "own": True,
            }
            state["reviews"].append(review)
            state["next"] += 1

        return self._changed(change)

    def label(self, review_id: int, label: str | None) -> Json:
        """Say what a review is; None takes the label away. Raises InputError."""

        def change(state: Json) -> None:
            self._of(state, review_id)["label"] = checked_label(label)

        return self._changed(change)

    def remove(self, review_id: int) -> Json:
        """Take a review off the bench. Raises InputError."""

        def change(state: Json) -> None:
            state["reviews"].remove(self._of(state, review_id))

        return self._changed(change)

    def clean(self) -> Json:
        """Sort out what can't be trained on, each with its reason."""
        return self._changed(clean)

    def train(self) -> Json:
        """Change the weights: from the last ones trained here, else from zeros. Raises InputError, EmbedderError."""

        def change(state: Json) -> None:
            if "clean" not in fresh_steps(state):
                raise InputError("clean the reviews first; they have changed")
            kept = set(state["cleaned"]["kept"])
            examples = [review for review in state["reviews"] if review["id"] in kept]
            missing = [name for name in LABELS if name not in {review["label"] for review in examples}]
            if missing:
                raise InputError(f"label at least one review as {' and one as '.join(missing)} first")
            start = self._weights(state["candidate"])
            vectors = self._embedder.encode([review["text"] for review in examples])
            run = review_classifier.train(start, vectors, targets(examples))
            state["candidate"] = {
                "weights": base64.b64encode(run.weights.to_bytes()).decode(),
                "embedder": self._embedder.name,
                "dimension": self._embedder.dimension,
                "fingerprint": run.weights.fingerprint,
                "before": start.fingerprint,
                "from_zeros": not start.matrix.any(),
                "parameters": run.weights.parameters,
                "losses": [round(loss, 6) for loss in run.losses],
                "change": run.change,
                "examples": len(examples),
                "of": state["cleaned"]["of"],
            }
            state["evaluation"] = None

        return self._changed(change)

    def evaluate(self) -> Json:
        """Ask the trained weights about the held-out reviews. Changes no weight. Raises InputError, EmbedderError."""

        def change(state: Json) -> None:
            if "train" not in fresh_steps(state):
                raise InputError("train first; the reviews have changed")
            weights = self._weights(state["candidate"])
            held_out = [r for r in state["reviews"] if r["held_out"] and r["label"]]
            kept = set(state["cleaned"]["kept"])
            table, own = self._table(weights, held_out), [r for r in state["reviews"] if r["id"] in kept]
            state["evaluation"] = {
                "of": state["candidate"]["fingerprint"],
                "table": table,
                "right": right(table),
                "asked": len(held_out),
                "trained_right": right(self._table(weights, own)),
                "trained_asked": len(own),
                "after": weights.fingerprint,
            }

        return self._changed(change)

    def deploy(self) -> Json:
        """Put the evaluated weights to use, as the next version. Raises InputError."""

        def change(state: Json) -> None:
            if "evaluate" not in fresh_steps(state):
                raise InputError("evaluate first, so that you know what you put to use")
            candidate, found = state["candidate"], state["evaluation"]
            if (state["deployed"] or {}).get("fingerprint") == candidate["fingerprint"]:
                raise InputError("these weights are in use already")
            number = 1 + max((version["version"] for version in state["versions"]), default=0)
            state["deployed"] = {
                **{key: candidate[key] for key in ("weights", "embedder", "dimension", "fingerprint")},
                "version": number,
            }
            line = {
                "version": number,
                "fingerprint": candidate["fingerprint"],
                "at": self._now().isoformat(),
                "right": found["right"],
                "asked": found["asked"],
                "examples": candidate["examples"],
            }
            state["versions"] = [line, *state["versions"]][:KEPT_VERSIONS]

        return self._changed(change)

    def infer(self, text: str) -> Inference:
        """What the deployed weights say. Nothing is written. Raises InputError, EmbedderError."""
        text = " ".join(text.split())[:MAX_CHARS]
        if not text:
            raise InputError("write a review first")
        with self._lock:
            deployed = self._read()["deployed"]
            if deployed is None:
                raise InputError("deploy a classifier first")
            if not self._fits(deployed):
                raise InputError(
                    "the classifier was trained on another embedder’s vectors; train and deploy again"
                )
            weights = self._weights(deployed)
            chances = review_classifier.probabilities(weights, self._embedder.encode([text]))[0]
            after = self._weights(self._read()["deployed"]).fingerprint
        told = tuple(float(chance) for chance in chances)
        return Inference(text, told, deployed["version"], weights.fingerprint, after)

    def reset(self) -> Json:
        """Back to the starter reviews; whatever was trained and deployed is gone."""
        with self._lock:
            self._file.unlink(missing_ok=True)
            return self._seen(self._read())

    def _table(self, weights: Weights, reviews: Sequence[Json]) -> list[list[int]]:
        vectors = self._embedder.encode([review["text"] for review in reviews])
        return review_classifier.confusion(weights, vectors, targets(reviews))

    def _weights(self, kept: Json | None) -> Weights:
        """What is kept, or zeros where there is nothing, or nothing for this embedder."""
        if kept is None or not self._fits(kept):
            return review_classifier.zeros(self._embedder.dimension)
        return Weights.from_bytes(base64.b64decode(kept["weights"]), self._embedder.dimension)

    def _fits(self, kept: Json) -> bool:
        made_by = kept["embedder"], kept["dimension"]
        return bool(made_by == (self._embedder.name, self._embedder.dimension))

    @staticmethod
    def _of(state: Json, review_id: int) -> Json:
        """The review, if it may be changed."""
        found: Json | None = next(
            (r for r in state["reviews"] if r["id"] == review_id and not r["held_out"]), None
        )
        if found is None:
            raise InputError("this review is not on the bench any more; reload the page")
        return found

    def _changed(self, change: Callable[[Json], None]) -> Json:
        with self._lock:
            state = self._read()
            change(state)
            self._write(state)
            return self._seen(state)

    @staticmethod
    def _seen(state: Json) -> Json:
        return state | {"fresh": fresh_steps(state)}

    def _read(self) -> Json:
        state = read_json(self._file)
        return state if state.get("format") == FORMAT else starter()  # nothing of use: begin anew

    def _write(self, state: Json) -> None:
        write_json(self._file, state)
