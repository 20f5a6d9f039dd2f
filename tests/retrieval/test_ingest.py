"""Ingest: what is added, changed, unchanged, removed and rejected, and what the database holds afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import documents
from db.session import Database
from retrieval import files, ingest
from retrieval.ingest import IngestReport, ingest_folder, ingest_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "material"
    (made / "deep").mkdir(parents=True)
    (made / "a.md").write_text("---\ndue: 2026-01-02\n---\n# A\n\nFirst here. Second here.\n")
    (made / "deep" / "b.txt").write_text("Third one.")
    return made


def stored(database: Database) -> dict[str, documents.StoredDocument]:
    with database.session(readonly=True) as session:
        return {d.path: d for d in documents.list_documents(session, with_text=True)}


def test_added_unchanged_changed_removed(database: Database, fake_embedder: Any, folder: Path) -> None:
    paths = [folder]
    assert ingest_paths(database, fake_embedder, paths) == IngestReport(added=("a.md", "deep/b.txt"))
    first = stored(database)
    assert first["a.md"].source == str(folder)
    assert first["a.md"].meta == {"due": "2026-01-02"}
    assert first["deep/b.txt"].text == "Third one."

    fake_embedder.calls.clear()
    assert ingest_paths(database, fake_embedder, paths) == IngestReport(unchanged=("a.md", "deep/b.txt"))
    assert fake_embedder.calls == []

    (folder / "a.md").write_text("# A\n\nFirst changed.\n")
    assert ingest_paths(database, fake_embedder, paths) == IngestReport(
        changed=("a.md",), unchanged=("deep/b.txt",)
    )
    assert stored(database)["a.md"].id == first["a.md"].id

    (folder / "deep" / "b.txt").unlink()
    assert ingest_paths(database, fake_embedder, paths).removed == ()
    assert ingest_paths(database, fake_embedder, paths, prune=True).removed == ("deep/b.txt",)
    assert stored(database).keys() == {"a.md"}


def test_what_is_stored_of_a_chunk(database: Database, fake_embedder: Any, folder: Path) -> None:
    ingest_folder(database, fake_embedder, folder, source="course")
    document = stored(database)["a.md"]
    with database.session(readonly=True) as session:
        chunk = documents.get_chunk_by_ordinal(session, document.id, 0)
    assert chunk is not None
    assert chunk.heading_path == ("A",)
    assert chunk.text == document.text[chunk.start : chunk.end] == "First here. Second here."
    assert [document.text[a:b] for a, b, _, _ in chunk.sentences] == ["First here.", "Second here."]
    assert [text for _, _, text, _ in chunk.sentences] == ["First here.", "Second here."]
    expected = fake_embedder.encode(["A\nFirst here. Second here.", "First here.", "Second here."])
    assert chunk.vector == expected[0].astype("<f4").tobytes()
    assert chunk.sentence_vectors == expected[1:].astype("<f4").tobytes()


def test_another_embedder_rebuilds_everything(
    database: Database, fake_embedder: Any, make_embedder: Callable[..., Any], folder: Path
) -> None:
    ingest_paths(database, fake_embedder, [folder])
    other = make_embedder("fake@2", 16)
    assert ingest_paths(database, other, [folder]).changed == ("a.md", "deep/b.txt")
    with database.session(readonly=True) as session:
        assert documents.all_vectors(session, "fake@1") == []
        assert [len(v) for _, v in documents.all_vectors(session, "fake@2")] == [64, 64]


def test_a_new_layout_rebuilds_everything(
    database: Database, fake_embedder: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_paths(database, fake_embedder, [folder])
    monkeypatch.setattr(ingest, "LAYOUT", b"next")
    assert ingest_paths(database, fake_embedder, [folder]).changed == ("a.md", "deep/b.txt")


def test_bad_files_are_rejected_with_a_reason_and_the_others_proceed(
    database: Database, fake_embedder: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    (folder / "aa.xyz").write_bytes(b"?")
    (folder / "binary.txt").write_bytes(b"\0\1\2")
    (folder / "empty.md").write_bytes(b"")
    (folder / "heading.md").write_text("# Only\n")
    (folder / "large.txt").write_text("x" * 1001)
    (folder / "odd\nname.txt").write_text("text")
    (folder / os.fsdecode(b"odd\xff.txt")).write_text("text")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.md").write_text("hidden")
    (folder / "link.md").symlink_to(folder / "a.md")
    (folder / "loop").symlink_to(folder)
    report = ingest_paths(database, fake_embedder, [folder])
    assert report.added == ("a.md", "deep/b.txt")
    reasons = dict(report.rejected)
    assert list(reasons) == [
        "aa.xyz",
        "binary.txt",
        "empty.md",
        "heading.md",
        "large.txt",
        "odd�name.txt",
        "odd?.txt",
    ]
    assert "not supported" in reasons["aa.xyz"]
    assert "binary" in reasons["binary.txt"]
    assert "empty" in reasons["empty.md"]
    assert "no text" in reasons["heading.md"]
    assert "too large" in reasons["large.txt"]
    assert "rename" in reasons["odd?.txt"]


def test_what_can_no_longer_be_read_keeps_its_last_good_version(
    database: Database, fake_embedder: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_paths(database, fake_embedder, [folder])
    (folder / "a.md").write_bytes(b"\0\1\2")
    listed = Path.iterdir

    def closed(self: Path) -> Any:
        if self.name == "deep":
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", closed)
    report = ingest_paths(database, fake_embedder, [folder], prune=True)
    assert dict(report.rejected)["deep"] == "can't be read: Permission denied"
    assert "binary" in dict(report.rejected)["a.md"]
    assert report.removed == ()
    assert stored(database).keys() == {"a.md", "deep/b.txt"}


def test_a_single_file_belongs_to_its_folder_and_prunes_nothing(
    database: Database, fake_embedder: Any, folder: Path
) -> None:
    (folder / "c.txt").write_text("Fourth.")
    ingest_paths(database, fake_embedder, [folder])
    report = ingest_paths(database, fake_embedder, [folder / "c.txt", folder / "gone.txt"], prune=True)
    assert report == IngestReport(
        unchanged=("c.txt",), rejected=((str(folder / "gone.txt"), "no such file or folder"),)
    )
    assert stored(database).keys() == {"a.md", "c.txt", "deep/b.txt"}


def test_no_transaction_is_open_while_the_model_computes(
    database: Database, make_embedder: Callable[..., Any], folder: Path
) -> None:
    class Writing(make_embedder):  # type: ignore[misc, valid-type]
        def encode(self, texts: Any) -> Any:
            with database.session() as session:  # would wait, then fail, if ingest held the write lock
                documents.delete_source(session, "nothing")
            return super().encode(texts)

    assert ingest_paths(database, Writing(), [folder]).added == ("a.md", "deep/b.txt")


def test_a_crash_in_the_middle_keeps_whole_documents_only(
    database: Database, fake_embedder: Any, folder: Path
) -> None:
    encode = fake_embedder.encode

    def second_fails(texts: Any) -> Any:
        if any("Third" in t for t in texts):
            raise KeyboardInterrupt
        return encode(texts)

    fake_embedder.encode = second_fails
    with pytest.raises(KeyboardInterrupt):
        ingest_paths(database, fake_embedder, [folder])
    fake_embedder.encode = encode
    assert stored(database).keys() == {"a.md"}
    assert ingest_paths(database, fake_embedder, [folder]) == IngestReport(
        added=("deep/b.txt",), unchanged=("a.md",)
    )


def test_progress_counts_the_files(database: Database, fake_embedder: Any, folder: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    ingest_folder(database, fake_embedder, folder, source="x", on_progress=lambda *step: seen.append(step))
    assert seen == [("a.md", 0, 2), ("deep/b.txt", 1, 2), ("", 2, 2)]


def test_the_built_in_course_loads_without_a_reject(database: Database, fake_embedder: Any) -> None:
    course = Path(ingest.__file__).parents[1] / "tutor" / "course"
    report = ingest_folder(database, fake_embedder, course, source="course")
    assert len(report.added) >= 6
    assert report.rejected == ()
    for document in stored(database).values():
        assert document.chunk_count >= 10
        assert np.all([document.title, document.meta])


def test_what_the_check_refuses_keeps_its_last_good_version(
    database: Database, fake_embedder: Any, folder: Path
) -> None:
    def check(label: str, data: bytes) -> list[str]:
        return [f"{label}:4: too short", f"{label}:5: too plain"] if b"changed" in data else []

    assert ingest_folder(database, fake_embedder, folder, source="x", check=check).added == (
        "a.md",
        "deep/b.txt",
    )
    (folder / "a.md").write_text("# A\n\nFirst changed.\n")
    (folder / "deep" / "b.txt").write_text("Third, better.")
    report = ingest_folder(database, fake_embedder, folder, source="x", check=check)
    assert report == IngestReport(
        changed=("deep/b.txt",), rejected=(("a.md", "a.md:4: too short; a.md:5: too plain"),)
    )
    assert "First here." in stored(database)["a.md"].text
