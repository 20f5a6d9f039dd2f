"""The data set as files: others read them, damage shows, the same content is the same folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.dataset import Dataset, Example, content_hash
from finetune.notes import write_prompt
from finetune.snapshot import FILES, SnapshotError, read_snapshot, write_snapshot


def example(number: int, **changed: object) -> Example:
    prompt = write_prompt(f"What is thing {number}?", (f"Thing {number} is “big” — naïve\u2028too.",))
    values = {"completion": f"Thing {number} is “big”\u2028.", "group": "a", "kind": "answer"} | changed
    return Example(f"e-{number}", prompt, **values)  # type: ignore[arg-type]


def dataset(first_id: int = 7) -> Dataset:
    train = (example(1), replace(example(2), id=f"feedback-{first_id}", feedback_id=first_id))
    held_out = (example(3, kind="abstain"),)
    pair = replace(train[1], rejected="Worse.")
    thumb = replace(train[1], completion="Worse.", label=False)
    preferences = (pair, thumb)
    return Dataset(
        train,
        held_out,
        preferences,
        ((first_id + 1, "the answer is empty"),),
        content_hash(train, held_out, preferences),
        {"seed": 3},
    )


def test_a_snapshot_is_read_as_it_was_written(tmp_path: Path) -> None:
    data = dataset()
    folder = write_snapshot(data, tmp_path / "datasets")
    assert folder == tmp_path / "datasets" / data.sha256[:16]
    found = read_snapshot(folder)
    assert found == replace(data, preferences=found.preferences)
    assert sorted(map(repr, found.preferences)) == sorted(map(repr, data.preferences))
    about = json.loads((folder / "dataset.json").read_text("utf-8"))
    assert about["counts"] == data.counts()
    assert about["counts"]["pairs"] == about["counts"]["thumbs"] == 1
    assert about["settings"] == {"seed": 3}
    assert set(about["files"]) == set(FILES)
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_the_same_content_is_the_same_folder_and_no_id_of_a_database_is_in_the_files(tmp_path: Path) -> None:
    first = write_snapshot(dataset(7), tmp_path)
    files = {name: (first / name).read_bytes() for name in FILES}
    again = write_snapshot(dataset(70), tmp_path)
    assert again == first
    assert {name: (again / name).read_bytes() for name in FILES} == files
    assert read_snapshot(again).feedback_ids == (70,)


@pytest.mark.parametrize("name", [*FILES, "dataset.json"])
def test_a_snapshot_that_was_touched_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_snapshot(dataset(), tmp_path)
    whole = (folder / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole.replace(b"big", b"bad"), b""):
        if damaged == whole:
            continue
        (folder / name).write_bytes(damaged)
        with pytest.raises(SnapshotError):
            read_snapshot(folder)
    (folder / name).unlink()
    with pytest.raises(SnapshotError, match="can't be read"):
        read_snapshot(folder)


def test_another_data_set_under_this_name_is_refused(tmp_path: Path) -> None:
    folder = write_snapshot(dataset(), tmp_path)
    about = json.loads((folder / "dataset.json").read_text("utf-8"))
    (folder / "dataset.json").write_text(json.dumps(about | {"sha256": "0" * 64}), "utf-8")
    with pytest.raises(SnapshotError, match="not the one"):
        read_snapshot(folder)


def test_a_write_that_fails_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    calls = 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_snapshot(dataset(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_standard_loader_reads_every_file(tmp_path: Path) -> None:
    from datasets import load_dataset

    folder = write_snapshot(dataset(), tmp_path / "datasets")
    columns = {
        "train.jsonl": {"prompt", "completion"},
        "held_out.jsonl": {"prompt", "completion"},
        "preference.jsonl": {"prompt", "chosen", "rejected"},
        "unpaired.jsonl": {"prompt", "completion", "label"},
    }
    for name, wanted in columns.items():
        rows = load_dataset(
            "json", data_files=str(folder / name), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert set(rows.column_names) == wanted | {"id", "group", "kind"}
        assert [m["role"] for m in rows[0]["prompt"]] == ["system", "user"]
        answers = rows[0].get("completion") or rows[0]["chosen"]
        assert [m["role"] for m in answers] == ["assistant"]
    train = load_dataset(
        "json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [row["completion"][0]["content"] for row in train] == [e.completion for e in dataset().train]
