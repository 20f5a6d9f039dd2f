"""What makes a whole job take seconds: three pages of the course, a few of the exemplars on them, a quick search.

Run as a program it is `python -m finetune` with these few: `python job_home.py quick|shipped FOLDER ARGUMENTS...`,
searching by shared words or with the shipped models.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

KEPT = {"tokens": (4, 2), "kinds-of-learning": (1, 0), "ai-and-automation": (14, 3), "elsewhere": (0, 2)}
"""Of each page so many answerable and unanswerable exemplars."""


def write_few(folder: Path) -> Path:
    """A course of three pages, two of them held out, and a seed set of a few lines of the shipped one."""
    from finetune.exemplars import FOLDER
    from tutor.services import builtin_course

    for part in ("course", "exemplars"):
        (folder / part).mkdir(parents=True)
    for stem, counts in KEPT.items():
        kept: dict[tuple[bool, str], list[str]] = {}
        for line in (FOLDER / f"{stem}.jsonl").read_text("utf-8").splitlines():
            said = json.loads(line)
            kept.setdefault((said["kind"] != "answerable", said.get("split", "")), []).append(line)
        few = [line for (unanswerable, _), lines in kept.items() for line in lines[: counts[unanswerable]]]
        (folder / "exemplars" / f"{stem}.jsonl").write_text("\n".join(few) + "\n", "utf-8")
        if (page := builtin_course() / f"{stem}.md").is_file():
            shutil.copy(page, folder / "course")
    return folder


def use_few(
    folder: Path, put: Callable[[object, str, object], None] = setattr, *, quick: bool = True
) -> None:
    """Let everything take this course and this seed set for the whole, and a `quick` one search by shared words."""
    import finetune.collect
    import finetune.evaluate
    import finetune.exemplars
    import retrieval.embedder
    import retrieval.reader
    import tutor.services
    from tests.fake_embedder import FakeEmbedder

    if quick:
        embedder = FakeEmbedder(dimension=512)
        put(retrieval.embedder, "load_embedder", lambda name, threads=None: embedder)
        put(retrieval.reader, "Reader", lambda threads=None: None)
    real = finetune.exemplars.load_exemplars
    for module in (finetune.exemplars, finetune.collect):
        put(module, "load_exemplars", lambda: real(folder / "exemplars"))
    for other in (tutor.services, finetune.evaluate):
        put(other, "builtin_course", lambda: folder / "course")


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    from finetune.__main__ import main

    search, few, *arguments = sys.argv[1:]
    use_few(Path(few), quick=search == "quick")
    sys.exit(main(arguments))
