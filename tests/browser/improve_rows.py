"""What the Improve page is shown in a browser: adapters with reports, and a model that is the one that is served."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any

from db import registry

SHOTS = os.environ.get("BROWSER_SHOTS")  # a folder for screenshots; none by default
WITHOUT_EXEMPLARS = (
    sys.executable,
    "-c",
    "import sys; from finetune.__main__ import main; sys.exit(main([*sys.argv[1:], '--no-exemplars']))",
)
"""The real trainer, spared the search for the exemplars' notes, which takes minutes."""


def _share(value: float, wide: float = 0.1) -> dict[str, Any]:
    return {"value": value, "low": max(0.0, value - wide), "high": min(1.0, value + wide), "n": 120}


def _system(right: float, own: float, words: float) -> dict[str, Any]:
    return {
        "right": _share(right),
        "own_words": _share(own),
        "cites_gold": _share(right + 0.1),
        "supported": _share(own),
        "declined_unanswerable": _share(0.9, 0.05),
        "declined_answerable": _share(0.05, 0.04),
        "token_f1": _share(right - 0.02),
        "words": {"value": words, "low": words - 3, "high": words + 4, "n": 120},
        "total_ms": {"value": 2300 * words / 30, "low": 1900, "high": 2800, "n": 120},
    }


def _said(text: str, status: str = "answered") -> dict[str, str]:
    return {"status": status, "text": text}


def _rule(name: str, passed: bool, text: str) -> dict[str, Any]:
    return {"name": name, "passed": passed, "text": text, "value": 0.1, "low": 0.0, "high": 0.2, "limit": 0.0}


def report(name: str, *, promote: bool, served: str | None = None) -> dict[str, Any]:
    """A report as the trainer writes it."""
    rules = [
        _rule(
            "target",
            promote,
            "Right answers in the model's own checked words, candidate minus served: "
            f"{'+0.210 (+0.120 to +0.300' if promote else '+0.010 (-0.060 to +0.080'}, 120 questions); the lower end "
            "must be above 0.",
        ),
        _rule("right", True, "Right answers, candidate minus served: +0.017 (-0.033 to +0.067, 120 questions); the "
              "lower end must be at least -0.05."),
        _rule("words", True, "Length of an answer, as a multiple of what is served: 0.620; it must be at most 1.1."),
        _rule("closed_book", True, "Facts of the training pages said without any material, candidate minus base: "
              "+0.008; it must be at most 0.02."),
    ]  # fmt: skip
    return {
        "format": 1,
        "adapter": name,
        "base": {"name": "scripted", "weights_sha256": "ab" * 32},
        "served": {"adapter": served, "weights_sha256": "ab" * 32},
        "dataset": {"sha256": "cd" * 32, "train": 2412, "held_out": 140, "from_feedback": 12},
        "training": {"seconds": 742.0, "steps": 320, "examples": 2412, "tokens": 512000, "examples_per_s": 3.3,
                     "precision": "float32", "processes": 1, "peak_memory_mb": 1890, "losses": [[1, 2.1], [320, 0.7]]},
        "systems": {"candidate": _system(0.58, 0.74, 19), "served": _system(0.56, 0.22, 31),
                    "quotes": _system(0.57, 0.0, 34)},
        "paired": [{"measure": "right", "against": "served", "difference": 0.02, "low": -0.03, "high": 0.07, "n": 120}],
        "drafts": {},
        "closed_book": {"candidate": 0.06, "served": 0.05, "gain": {"value": 0.008}},
        "retention": {"base_nll": 3.1, "candidate_nll": 3.13, "increase": 0.03},
        "verdict": {"promote": promote, "rules": rules},
        "answers": [
            {"question": "What is a token?", "answerable": True, "reference": "A piece of text handled as one unit.",
             "base": _said("A token is a secret word, and many other things that I could tell about at length."),
             "served": _said("A token is a piece of text that a model handles as one unit. [1]", "quoted"),
             "candidate": _said("A piece of text that a model handles as one unit. [1]"),
             "quotes": _said("A token is a piece of text that a model handles as one unit. [1]", "quoted")},
            {"question": "Who baked the bread in 1900?", "answerable": False, "reference": "",
             "base": _said("It was baked by the baker."), "served": _said("It was baked by the baker."),
             "candidate": _said("The notes do not answer this.", "not_covered"), "quotes": _said("", "not_covered")},
            {"question": "Is a token a word?", "answerable": True, "reference": "Often it is shorter.",
             "base": _said("Often shorter."), "served": _said("Often shorter."), "candidate": _said("Often shorter.")},
        ],
        "versions": {"torch": "2"}, "config": {}, "seconds": 900.0,
    }  # fmt: skip


def add_adapter(server: Any, name: str, *, promote: bool, served: str | None = None) -> None:
    folder = server.home / "adapters" / name
    folder.mkdir(parents=True, exist_ok=True)
    made = report(name, promote=promote, served=served)
    page = f"# Adapter {name}\n\nA **candidate** <script>alert(1)</script>.\n\n| | it |\n|---|---|\n| right | 0.58 |\n"
    (folder / "report.md").write_text(page, "utf-8")
    (folder / "adapter_config.json").write_text("{}", "utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    with server.services.database.session() as session:
        registry.register_adapter(
            session,
            name=name,
            path=str(folder),
            base_model="scripted",
            sha256=hashlib.sha256(b"weights").hexdigest(),
            state="registered" if promote else "refused",
            manifest={},
            report=made,
        )


class Follower:
    """A generator whose identity is what the registry serves, as the real one's is."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._script = server.script

    def __call__(self, adapter: str | None) -> Any:
        from tutor.generators.protocol import ModelIdentity
        from tutor.generators.scripted import ScriptedGenerator

        served = self._server.rows(registry.served_adapter)
        identity = ModelIdentity("scripted", served.name if served else None, ("12" if served else "ab") * 32)
        return ScriptedGenerator(self._script.write, 0.0, identity=identity)


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/improve-{name}.png", full_page=True)
