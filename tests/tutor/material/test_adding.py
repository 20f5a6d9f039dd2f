"""What becomes of a file that comes in: added, changed, unchanged, rejected; and how it is listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from db.session import Database
from tests.tutor.material.sample import BEES, MOTH, NOW, add, kept, paths, zipped
from tutor.material import Material
from tutor.material_names import Refused, collection_id
from tutor.ui import material_view


def test_added_changed_unchanged_and_the_file_is_kept(
    material: Material, database: Database, root: Path
) -> None:
    first = add(material, "moths.md", MOTH, "Insects")
    assert (first["state"], first["passages"], first["documents"]) == ("added", 1, 1)
    source = f"material/{collection_id('Insects')}"
    assert paths(database) == [(source, "moths.md")]
    assert add(material, "moths.md", MOTH, "insects")["state"] == "unchanged"
    assert add(material, "moths.md", MOTH + b"\nIt is green.\n", "Insects")["state"] == "changed"
    assert paths(database) == [(source, "moths.md")]
    folder = collection_id("Insects")
    assert kept(root) == {f"{folder}/collection.json", f"{folder}/files/moths.md"}
    assert (root / folder / "files" / "moths.md").read_bytes().endswith(b"green.\n")


def test_collections_and_sub_folders_keep_files_of_one_name_apart(
    material: Material, database: Database
) -> None:
    for path, collection in (("1/notes.md", "A"), ("2/notes.md", "A"), ("1/notes.md", "B")):
        assert add(material, path, MOTH + path.encode(), collection)["state"] == "added"
    assert len(paths(database)) == 3
    listed = material.collections()
    assert [(c.name, c.kind, [f.file for f in c.files]) for c in listed] == [
        ("A", "own", ["1/notes.md", "2/notes.md"]),
        ("B", "own", ["1/notes.md"]),
    ]


@pytest.mark.parametrize(
    ("path", "data", "reason"),
    [
        ("run.exe", b"MZ", "not supported"),
        ("empty.md", b"", ""),
        ("fake.pdf", b"no pdf at all", ""),
        ("photo.png", b"\x89PNG", "hold no text"),
        ("broken.zip", b"PK\x03\x04nothing", ""),
        ("none.zip", zipped(photo__png=b"x"), "no document"),
    ],
)
def test_what_cannot_be_read_is_rejected_and_not_kept(
    material: Material, database: Database, root: Path, path: str, data: bytes, reason: str
) -> None:
    found = add(material, path, data)
    assert found["state"] == "rejected"
    assert reason in found["reason"]
    assert "\n" not in found["reason"]
    assert paths(database) == []
    assert kept(root) == set()


def test_a_bad_new_version_leaves_the_good_one(material: Material, database: Database, root: Path) -> None:
    add(material, "moths.md", MOTH)
    found = add(material, "moths.md", b"---\ntitle: [\n---\n")
    assert found["state"] == "rejected"
    assert found["reason"].endswith("the version from before stays")
    assert len(paths(database)) == 1
    assert [(root / f).read_bytes() for f in kept(root) if f.endswith(".md")] == [MOTH]


def test_an_archive_becomes_its_documents_and_follows_its_new_version(
    material: Material, database: Database
) -> None:
    found = add(material, "week.zip", zipped(moths__md=MOTH, bees__txt=BEES, run__exe=b"MZ"))
    assert (found["state"], found["documents"], found["rejected_count"]) == ("added", 2, 1)
    assert found["rejected"][0]["name"] == "week.zip/run.exe"
    add(material, "week.zip", zipped(bees__txt=BEES))
    assert [path for _, path in paths(database)] == ["week.zip/bees.txt"]
    [collection] = material.collections()
    assert [(f.file, f.title) for f in collection.files] == [("week.zip", "week.zip")]
    deleted = material.delete(collection.source, "week.zip")
    assert paths(database) == []
    material.undo(deleted["deletion"])
    assert [path for _, path in paths(database)] == ["week.zip/bees.txt"]


def test_a_file_cannot_take_the_place_of_a_folder(material: Material) -> None:
    add(material, "week/notes.md", MOTH)
    with pytest.raises(Refused, match="a folder of this name"):
        add(material, "week", MOTH)
    add(material, "day.md", MOTH)
    with pytest.raises(Refused, match="name of its folder"):
        add(material, "day.md/notes.md", MOTH)


def test_the_page_escapes_and_the_list_says_what_is_what(material: Material) -> None:
    add(material, "<script>alert(1)<.md", b"# <b>Bold</b> title\n\nSome words.\n", '"><img src=x>')
    add(material, "week.zip", zipped(moths__md=MOTH, bees__txt=BEES), "Insects")
    found = json.loads(json.dumps(material_view.listing(material.collections(), [], NOW)))
    first, second = found["collections"]
    assert first["name"] == '"><img src=x>'  # as data; the script writes it as text
    assert first["files"][0]["name"] == "<script>alert(1)<.md"
    assert second["summary"] == "2 documents · 2 passages"
    assert second["files"][0]["facts"].startswith("Zip · 2 documents · 2 passages · ")
    assert [m["title"] for m in second["files"][0]["members"]] == ["bees", "Moths"]
    assert "<script" not in material_view.page()


def test_watch_is_a_setting_and_keeps_a_folder_in_step(
    database: Database, fake_embedder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from tutor.settings import load_settings
    from tutor.watching import Watching

    monkeypatch.setenv("STUDY_TUTOR_WATCH", str(tmp_path / "w"))
    assert load_settings().watch == tmp_path / "w"
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "moths.md").write_bytes(MOTH)
    watching = Watching(database, fake_embedder, folder)
    watching.start()
    deadline = time.monotonic() + 20
    while not paths(database) and time.monotonic() < deadline:
        time.sleep(0.05)
    watching.stop()
    assert paths(database) == [(str(folder.resolve()), "moths.md")]
