"""Material that learners bring: what becomes of files and their names, of deletions and undos, and over HTTP."""

from __future__ import annotations

import errno
import http.client
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from db import documents
from db.session import Database
from retrieval.ingest import ingest_folder
from retrieval.retriever import Retriever
from tutor import material_store
from tutor.material import Material
from tutor.material_names import MAX_PART, Refused, clean_collection, clean_path, collection_id, file_of
from tutor.ui import material_view

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MOTH = b"# Moths\n\nA luna moth has no mouth and lives for one week.\n"
BEES = b"Bees dance to tell where nectar is. A hive has one queen."


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "home" / "material"


@pytest.fixture
def material(database: Database, fake_embedder: Any, root: Path) -> Iterator[Material]:
    opened = Material(database, fake_embedder, root, now=lambda: NOW)
    yield opened
    opened.close()


def add(
    material: Material, path: str, data: bytes, collection: str = "", request_id: str | None = None
) -> dict[str, Any]:
    incoming = material.receive(collection, path)
    incoming.write(data)
    return material.take(incoming, request_id)


def paths(database: Database) -> list[tuple[str, str]]:
    with database.session(readonly=True) as session:
        return [(d.source, d.path) for d in documents.list_documents(session)]


def kept(root: Path) -> set[str]:
    return {
        f.relative_to(root).as_posix() for f in root.rglob("*") if f.is_file() and f.name != ".answers.json"
    }


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return data.getvalue()


def slow_down(
    monkeypatch: pytest.MonkeyPatch, embedder: Any, reading: threading.Event, go_on: threading.Event
) -> None:
    """Embedding says when it begins, and waits until it may go on."""
    for name in ("encode", "encode_documents"):
        encode = getattr(embedder, name, embedder.encode)

        def slowly(texts: Any, encode: Any = encode) -> Any:
            reading.set()
            assert go_on.wait(20)
            return encode(texts)

        monkeypatch.setattr(embedder, name, slowly, raising=False)


@pytest.mark.parametrize(
    ("sent", "cleaned"),
    [
        ("notes.md", "notes.md"),
        ("../../etc/notes.md", "etc/notes.md"),
        ("/etc/notes.md", "etc/notes.md"),
        ("C:\\Users\\me\\notes.md", "Users/me/notes.md"),
        ("..\\..\\notes.md", "notes.md"),
        ("a/./b//../c.md", "a/b/c.md"),
        ("no\x00tes\n.md", "notes.md"),
        ("evil\u202edm.exe.md", "evildm.exe.md"),
        ("non\u00a0breaking.md", "non breaking.md"),
        ("Cafe\u0301.md", "Caf\u00e9.md"),
        ("dots. . .", "dots"),
        ("week.zip/notes.md", "week.zip_/notes.md"),
        ("<img src=x onerror=alert(1)>.md", "<img src=x onerror=alert(1)>.md"),
        ("lone\ud800.md", "lone?.md"),
    ],
)
def test_a_name_becomes_a_safe_path_that_looks_the_same(sent: str, cleaned: str) -> None:
    assert clean_path(sent) == cleaned
    assert clean_path(cleaned) in (cleaned, cleaned.replace("zip_/", "zip_/"))


@pytest.mark.parametrize(
    "sent", ["", "   ", "..", "../..", "/", "\x00", ".env", ".git/config", "a/.hidden/b.md"]
)
def test_names_that_are_none_and_hidden_files_are_refused(sent: str) -> None:
    with pytest.raises(Refused):
        clean_path(sent)


def test_long_names_are_cut_and_stay_two_files() -> None:
    one, other = clean_path("é" * 300 + "1.pdf"), clean_path("é" * 300 + "2.pdf")
    assert one != other
    for name in (one, other):
        assert name.endswith(".pdf")
        assert len(name.encode()) <= MAX_PART
    with pytest.raises(Refused, match="too deep"):
        clean_path("/".join(["folder" * 20] * 20) + "/a.md")


def test_a_collection_has_one_folder_whatever_the_case_of_its_name() -> None:
    assert clean_collection("  \u202e Bio\n logy  ") == "Bio logy"
    assert clean_collection("\x00") == "My material"
    assert collection_id("Biology") == collection_id("BIOLOGY") != collection_id("Biology 2")
    assert collection_id("../..").startswith("collection-")
    assert collection_id("生物学") != collection_id("化学")
    with pytest.raises(Refused, match="80 characters"):
        clean_collection("x" * 81)
    assert [file_of(p) for p in ("a/b.zip/c/d.md", "a/b.zip", "a/b.md")] == ["a/b.zip", "a/b.zip", "a/b.md"]


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


# ---- over HTTP ----


class Served:
    """The routes alone, behind the guard, on a port."""

    def __init__(self, material: Material) -> None:
        import uvicorn

        from tutor.ui.guard import Guard
        from tutor.ui.material import MaterialPage

        app = FastAPI()
        MaterialPage(material).add_routes(app)
        app.add_middleware(Guard, pages=("/material",))
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            self.thread.join(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        return reply.status, json.loads(text) if text[:1] == b"{" else text.decode()

    def post(self, path: str, **sent: Any) -> tuple[int, Any]:
        return self.ask("POST", path, json.dumps(sent))


@pytest.fixture
def served(material: Material) -> Iterator[Served]:
    running = Served(material)
    yield running
    running.server.should_exit = True
    running.thread.join(10)


def test_the_routes_take_list_delete_and_undo(served: Served) -> None:
    upload = "/material/upload?collection=Insects&path=a%2Fmoths.md&request_id=r-1"
    status, first = served.ask("POST", upload, MOTH)
    assert (status, first["state"], first["name"]) == (200, "added", "a/moths.md")
    assert served.ask("POST", upload, b"other") == (200, first)
    status, listed = served.ask("GET", "/material/list")
    [collection] = listed["collections"]
    assert (status, collection["name"], collection["files"][0]["title"]) == (200, "Insects", "Moths")
    sent = {"source": collection["source"], "file": "a/moths.md", "request_id": "r-2"}
    status, gone = served.post("/material/delete", **sent)
    assert (status, gone["told"]) == (200, "“Moths” is deleted.")
    assert served.post("/material/delete", **sent) == (200, gone)
    assert served.post("/material/delete", **(sent | {"request_id": "r-9"}))[0] == 404
    listed = served.ask("GET", "/material/list")[1]
    assert (listed["collections"], listed["deleted"][0]["name"]) == ([], "Moths")
    assert served.post("/material/undo", deletion=gone["deletion"])[0] == 200
    assert len(served.ask("GET", "/material/list")[1]["collections"]) == 1


def test_the_routes_refuse_what_they_should(
    served: Served, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = "/material/upload?path="
    for headers in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        assert served.ask("POST", f"{upload}a.md", MOTH, **headers)[0] == 403
        assert served.ask("POST", "/material/delete", "{}", **headers)[0] == 403
        assert served.ask("POST", "/material/undo", "{}", **headers)[0] == 403
    assert served.ask("GET", "/material/list", Sec_Fetch_Site="cross-site")[0] == 403
    assert served.ask("POST", f"{upload}..%2F..", MOTH)[0] == 422
    status, found = served.ask("POST", f"{upload}run.exe", b"MZ")
    assert (status, found["state"]) == (200, "rejected")
    assert "not supported" in found["reason"]
    for path in ("/material/delete", "/material/undo"):
        for body in (
            b"",
            b"[]",
            b"[" * 100_000,
            b'{"source": 1}',
            b'{"source": "course", "file": 3}',
            b"\xff",
        ):
            assert served.ask("POST", path, body)[0] == 422
    assert served.post("/material/delete", source="course")[0] == 403
    assert served.post("/material/undo", deletion="../..")[0] == 404
    assert kept(root) == set()

    monkeypatch.setattr(material_store, "MAX_BYTES", 3_000_000)
    status, found = served.ask("POST", f"{upload}big.md", b"x" * 8_000_000)  # found out while it streams
    assert (status, "too large; the limit is 2 MB" in found["error"]) == (413, True)
    assert not list(root.glob(".incoming/*"))


def test_a_full_disk_is_told_and_leaves_nothing(
    served: Served, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for where in ("write", "finish"):
        with monkeypatch.context() as patched:
            patched.setattr(material_store.Incoming, where, full)
            status, found = served.ask("POST", "/material/upload?path=a.md&request_id=full", MOTH)
        assert (status, "disk is full" in found["error"].lower()) == (507, True)
        assert not list(root.glob(".incoming/*"))
    assert served.ask("POST", "/material/upload?path=a.md&request_id=full", MOTH)[0] == 200


def test_a_cut_upload_leaves_nothing(served: Served, root: Path) -> None:
    import socket
    import time

    with socket.create_connection(("127.0.0.1", served.port)) as half:
        half.sendall(
            b"POST /material/upload?path=a.md HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n"
        )
        half.sendall(b"x" * 2_000_000)
        deadline = time.monotonic() + 10
        while not list(root.glob(".incoming/*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list(root.glob(".incoming/*"))
    while list(root.glob(".incoming/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not list(root.glob(".incoming/*"))


def test_reading_does_not_hold_up_the_server(
    served: Served, fake_embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    slow_down(monkeypatch, fake_embedder, reading, go_on)
    results: list[Any] = []

    def upload(name: str) -> None:
        results.append(served.ask("POST", f"/material/upload?path={name}", MOTH)[0])

    threads = [threading.Thread(target=upload, args=(f"{n}.md",)) for n in range(3)]
    for thread in threads:
        thread.start()
    assert reading.wait(20)
    assert served.ask("GET", "/material/list")[0] == 200
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert results == [200, 200, 200]


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
