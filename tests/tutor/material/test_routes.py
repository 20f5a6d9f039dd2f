"""Material over HTTP: what the routes take, what they refuse, and what a broken upload leaves."""

from __future__ import annotations

import errno
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from tests.tutor.material.sample import MOTH, kept, slow_down
from tutor import material_store
from tutor.material import Material


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
