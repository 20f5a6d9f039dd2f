"""A data set as files that others' tools read, one folder each, named by what is in it. Start at `write_snapshot`.

    train.jsonl, held_out.jsonl   prompt, completion               (SFT)
    preference.jsonl              prompt, chosen, rejected         (DPO)
    unpaired.jsonl                prompt, completion, label        (KTO)
    dataset.json                  counts, settings, SHA-256 of each file and of the whole

The forms are the conversational ones of TRL; `id`, `group` and `kind` come along for people. No database's ids are in
these files: which feedback is where stands in dataset.json, outside of what is hashed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from finetune.dataset import Dataset, Example, content_hash
from tutor.shipped import file_sha256
from tutor.whole_files import flush

FORMAT = 1
TRAIN, HELD_OUT, PREFERENCE, UNPAIRED = FILES = (
    "train.jsonl",
    "held_out.jsonl",
    "preference.jsonl",
    "unpaired.jsonl",
)
ABOUT = "dataset.json"


class SnapshotError(Exception):
    """A snapshot is damaged or not there. `str()` is one line that says what and where."""


def snapshot_folder(dataset: Dataset, folder: Path) -> Path:
    """Where the snapshot of this data set lies below `folder` (`<home>/datasets`)."""
    return folder / dataset.sha256[:16]


def write_snapshot(dataset: Dataset, folder: Path) -> Path:
    """Write the data set below `folder`; the same content goes into the same folder, which is returned.

    It is there as a whole or not at all. Raises OSError (disk full, not writable).
    """
    final = snapshot_folder(dataset, folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    parts: dict[str, tuple[Example, ...]] = {
        TRAIN: dataset.train,
        HELD_OUT: dataset.held_out,
        PREFERENCE: tuple(e for e in dataset.preferences if e.rejected is not None),
        UNPAIRED: tuple(e for e in dataset.preferences if e.rejected is None),
    }
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.tmp-", dir=folder))
    try:
        made = temporary / "new"
        made.mkdir()
        for name, part in parts.items():
            _write(made / name, "".join(f"{json.dumps(_row(e), ensure_ascii=False)}\n" for e in part))
        about = {
            "format": FORMAT,
            "sha256": dataset.sha256,
            "counts": dataset.counts(),
            "settings": dict(dataset.settings),
            "files": {name: file_sha256(made / name) for name in FILES},
            "feedback": {name: [e.feedback_id for e in part] for name, part in parts.items()},
            "rejected": [{"feedback_id": number, "reason": reason} for number, reason in dataset.rejected],
        }
        _write(made / ABOUT, json.dumps(about, ensure_ascii=False, indent=1))
        flush(made)
        if final.exists():  # of the same content; its list of feedback may be of another day
            final.rename(temporary / "old")
        made.rename(final)
        flush(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def read_snapshot(folder: Path) -> Dataset:
    """The data set in this folder. Raises SnapshotError where a file is missing, changed or cut."""
    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        if about["format"] != FORMAT:
            raise SnapshotError(
                f"{folder / ABOUT} has format {about['format']}, and this version reads {FORMAT}"
            )
        parts = {name: _read(folder / name, about) for name in FILES}
        rejected = tuple((int(r["feedback_id"]), str(r["reason"])) for r in about["rejected"])
        train, held_out = parts[TRAIN], parts[HELD_OUT]
        preferences = tuple(
            sorted(parts[PREFERENCE] + parts[UNPAIRED], key=lambda e: json.dumps(e.content()))
        )
        found = Dataset(train, held_out, preferences, rejected, about["sha256"], about["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise SnapshotError(
            f"The data set in {folder} can't be read: {reason or 'it is damaged'}."
        ) from error
    if content_hash(train, held_out, preferences) != found.sha256:
        raise SnapshotError(f"The data set in {folder} is not the one that its name says; make it again.")
    return found


def _row(example: Example) -> dict[str, Any]:
    """One line: the columns that trainers know, and what people want to see."""

    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    row: dict[str, Any] = {"prompt": [dict(message) for message in example.prompt]}
    if example.rejected is not None:
        row |= {"chosen": said(example.completion), "rejected": said(example.rejected)}
    else:
        row |= {"completion": said(example.completion)}
        row |= {} if example.label is None else {"label": example.label}
    number = (
        None
        if example.feedback_id is None
        else hashlib.sha256(repr(example.content()).encode("utf-8", "replace"))
    )
    name = example.id if number is None else f"feedback {number.hexdigest()[:12]}"
    return row | {"id": name, "group": example.group, "kind": example.kind}


def _example(row: Mapping[str, Any], feedback_id: int | None) -> Example:
    return Example(
        id=row["id"] if feedback_id is None else f"feedback-{feedback_id}",
        prompt=tuple(row["prompt"]),
        completion=(row["chosen"] if "chosen" in row else row["completion"])[0]["content"],
        group=row["group"],
        kind=row["kind"],
        feedback_id=feedback_id,
        rejected=row["rejected"][0]["content"] if "rejected" in row else None,
        label=row.get("label"),
    )


def _read(file: Path, about: Mapping[str, Any]) -> tuple[Example, ...]:
    if file_sha256(file) != about["files"][file.name]:
        raise SnapshotError(
            f"The data set's file {file} was changed or cut since it was written; make it again."
        )
    lines: Iterable[str] = file.read_text("utf-8").split("\n")[:-1]
    ids = about["feedback"][file.name]
    return tuple(_example(json.loads(line), number) for line, number in zip(lines, ids, strict=True))


def _write(file: Path, text: str) -> None:
    with file.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
