"""What is deleted is unfindable at once and can come back; nothing is lost on the way."""

from __future__ import annotations

import errno
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from db import documents
from db.session import Database
from retrieval.ingest import ingest_folder
from retrieval.retriever import Retriever
from tests.tutor.material.sample import BEES, MOTH, NOW, add, kept, paths, slow_down
from tutor.material import Material
from tutor.material_names import Refused


def test_a_deleted_document_is_unfindable_at_once_and_undo_restores_it(
    material: Material, database: Database, fake_embedder: Any, root: Path
) -> None:
    add(material, "bees.txt", BEES)
    add(material, "moths.md", MOTH)
    retriever = Retriever(database, fake_embedder)
    question = "How long does a luna moth live?"
    before = [(p.document, p.text, p.lexical) for p in retriever.retrieve(question)]
    [collection] = material.collections()
    found = material.delete(collection.source, "moths.md")
    assert found["name"] == "Moths"
    assert {p.document for p in retriever.retrieve(question)} == {"bees.txt"}
    assert not [f for f in kept(root) if f.startswith("my-material") and f.endswith("moths.md")]
    assert [d.title for d in material.deletions()] == ["Moths"]

    calls = len(fake_embedder.calls)
    assert material.undo(found["deletion"])["file"] == "moths.md"
    assert len(fake_embedder.calls) == calls  # nothing is computed again
    assert [(p.document, p.text, p.lexical) for p in retriever.retrieve(question)] == before
    assert material.deletions() == []
    assert add(material, "moths.md", MOTH)["state"] == "unchanged"
    with pytest.raises(Refused, match="trash"):
        material.undo(found["deletion"])


def test_undo_works_after_a_restart_from_the_file_alone(
    material: Material, database: Database, fake_embedder: Any, root: Path
) -> None:
    add(material, "1/moths.md", MOTH, "Insects")
    add(material, "bees.txt", BEES, "Insects")
    [collection] = material.collections()
    found = material.delete(collection.source, None)
    assert paths(database) == []
    again = Material(database, fake_embedder, root, now=lambda: NOW)
    again.tidy()
    assert [(d.title, d.documents, d.file) for d in again.deletions()] == [("Insects", 2, None)]
    again.undo(found["deletion"])
    [back] = again.collections()
    assert (back.name, [f.file for f in back.files]) == ("Insects", ["1/moths.md", "bees.txt"])
    assert add(again, "1/moths.md", MOTH, "Insects")["state"] == "unchanged"
    again.close()


def test_undo_does_not_overwrite_what_came_since(material: Material, database: Database) -> None:
    add(material, "moths.md", MOTH)
    [collection] = material.collections()
    found = material.delete(collection.source, "moths.md")
    add(material, "moths.md", MOTH + b"\nNew.\n")
    with pytest.raises(Refused, match="added again since"):
        material.undo(found["deletion"])
    assert len(material.deletions()) == 1


def test_the_trash_is_emptied_after_a_week(
    material: Material, database: Database, fake_embedder: Any, root: Path
) -> None:
    add(material, "moths.md", MOTH)
    [collection] = material.collections()
    material.delete(collection.source, "moths.md")
    for days, left in ((6, 1), (8, 0)):
        later = Material(database, fake_embedder, root, now=lambda days=days: NOW + timedelta(days=days))
        later.tidy()
        assert len(later.deletions()) == left
    assert not [f for f in kept(root) if f.endswith("moths.md")]


def test_a_repeated_request_gives_the_first_result_even_after_a_restart(
    material: Material, database: Database, fake_embedder: Any, root: Path
) -> None:
    first = add(material, "moths.md", MOTH, request_id="r-1")
    assert add(material, "moths.md", MOTH, request_id="r-1") == first
    [collection] = material.collections()
    gone = material.delete(collection.source, "moths.md", "r-2")
    assert material.delete(collection.source, "moths.md", "r-2") == gone
    back = material.undo(gone["deletion"], "r-3")
    again = Material(database, fake_embedder, root)
    assert again.undo(gone["deletion"], "r-3") == back
    assert again.answer("r-1") == first
    assert len(paths(database)) == 1


def test_the_course_and_a_watched_folder_are_read_only_other_folders_lose_only_the_index(
    database: Database, fake_embedder: Any, root: Path, tmp_path: Path
) -> None:
    own, watched = tmp_path / "own", tmp_path / "watched"
    for folder, source in ((own, str(own)), (watched, str(watched)), (own, "course")):
        folder.mkdir(exist_ok=True)
        (folder / "bees.txt").write_bytes(BEES)
        ingest_folder(database, fake_embedder, folder, source=source)
    material = Material(database, fake_embedder, root, watched=watched)
    assert [c.kind for c in material.collections()] == ["watched", "folder", "course"]
    for source in ("course", str(watched)):
        with pytest.raises(Refused, match="can't be changed here"):
            material.delete(source, "bees.txt")
    found = material.delete(str(own), "bees.txt")
    assert (own / "bees.txt").exists()
    assert str(own) not in dict(paths(database))
    material.undo(found["deletion"])
    assert str(own) in dict(paths(database))
    for source, file in (("material/../..", None), (str(own), "../bees.txt"), (str(own), "bees.tx")):
        with pytest.raises(Refused, match="not here any more"):
            material.delete(source, file)


def test_an_upload_that_a_crash_cut_off_is_finished_or_removed(
    material: Material, database: Database, fake_embedder: Any, root: Path
) -> None:
    cut = material.receive("", "cut.md")
    cut.write(MOTH)
    add(material, "moths.md", MOTH)  # as if killed after the index was written and before the file was moved
    [stored] = root.glob("my-material-*/files/moths.md")
    staged = material.receive("", "moths.md")
    staged.write(MOTH)
    staged.finish()
    stored.unlink()
    material.tidy()
    assert stored.read_bytes() == MOTH
    assert not (root / ".incoming").exists()


def test_a_deletion_that_the_database_refuses_leaves_everything(
    material: Material, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(material, "moths.md", MOTH)
    before = kept(root)
    [collection] = material.collections()

    def refuse(*_: object) -> bool:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(documents, "delete_document", refuse)
    with pytest.raises(OSError, match="broken"):
        material.delete(collection.source, "moths.md")
    assert kept(root) == before
    assert len(paths(database)) == 1


def test_a_deletion_does_not_wait_for_a_long_reading(
    database: Database, fake_embedder: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = Material(database, fake_embedder, root)
    add(material, "bees.txt", BEES)
    reading, go_on = threading.Event(), threading.Event()
    slow_down(monkeypatch, fake_embedder, reading, go_on)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(add(material, "moths.md", MOTH)))
    thread.start()
    assert reading.wait(20)
    [collection] = material.collections()
    material.delete(collection.source, None)
    assert paths(database) == []
    go_on.set()
    thread.join(20)
    assert results[0]["state"] == "added"
    assert [path for _, path in paths(database)] == ["moths.md"]
    material.close()
