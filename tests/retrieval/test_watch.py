"""A watched folder: what one look at it changes in the index. No test sleeps; the clock is given."""

from __future__ import annotations

import json
import os
import signal
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db import documents
from db.errors import DatabaseBusy
from db.session import Database
from retrieval.ingest import IngestReport
from retrieval.watch import Watcher

NOW = 1_800_000_000.0
NOTHING = IngestReport()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "watched"
    made.mkdir()
    return made


@pytest.fixture
def watcher(database: Database, fake_embedder: Any, folder: Path) -> Watcher:
    return Watcher(database, fake_embedder, folder, clock=lambda: NOW)


def write(file: Path, text: str, age: float = 60) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    os.utime(file, (NOW - age, NOW - age))


def paths(database: Database) -> list[str]:
    with database.session(readonly=True) as session:
        return [d.path for d in documents.list_documents(session)]


def test_files_come_change_and_go(
    database: Database, folder: Path, watcher: Watcher, fake_embedder: Any
) -> None:
    assert watcher.step() == NOTHING
    write(folder / "a.md", "One.")
    write(folder / "deep" / "b.html", "<p>Two.</p>")
    assert watcher.step() == IngestReport(added=("a.md", "deep/b.html"))
    fake_embedder.calls.clear()
    assert watcher.step() == NOTHING
    write(folder / "a.md", "One changed.", age=50)
    assert watcher.step() == IngestReport(changed=("a.md",))
    write(folder / "a.md", "One changed.", age=40)  # touched only
    assert watcher.step() == IngestReport(unchanged=("a.md",))
    assert len(fake_embedder.calls) == 1
    (folder / "a.md").rename(folder / "c.md")
    assert watcher.step() == IngestReport(added=("c.md",), removed=("a.md",))
    (folder / "deep" / "b.html").unlink()
    assert watcher.step() == IngestReport(removed=("deep/b.html",))
    assert paths(database) == ["c.md"]


def test_a_file_that_is_being_written_waits(folder: Path, watcher: Watcher) -> None:
    write(folder / "old.md", "Done.")
    write(folder / "new.md", "Beg", age=0)
    assert watcher.step() == IngestReport(added=("old.md",))
    write(folder / "new.md", "Begun and", age=-1)  # a clock that is ahead
    assert watcher.step() == NOTHING
    write(folder / "new.md", "Begun and ended.", age=-2)
    assert watcher.step() == NOTHING
    assert watcher.step() == IngestReport(added=("new.md",))


def test_the_first_look_removes_what_is_gone_and_keeps_what_waits(
    database: Database, folder: Path, watcher: Watcher, fake_embedder: Any
) -> None:
    for name in ("a.md", "b.md", "c.md"):
        write(folder / name, f"Text of {name}.")
    watcher.step()
    (folder / "a.md").unlink()
    write(folder / "b.md", "Being writ", age=0)
    again = Watcher(database, fake_embedder, folder, clock=lambda: NOW)
    assert again.step() == IngestReport(unchanged=("c.md",), removed=("a.md",))
    assert again.step() == IngestReport(changed=("b.md",))


def test_an_archive_is_watched_by_its_members(database: Database, folder: Path, watcher: Watcher) -> None:
    def pack(age: float, **members: str) -> None:
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            for name, text in members.items():
                archive.writestr(f"{name}.md", text)
        os.utime(folder / "a.zip", (NOW - age, NOW - age))

    pack(60, one="One.", two="Two.")
    write(folder / "b.md", "Beside.")
    assert watcher.step().added == ("a.zip/one.md", "a.zip/two.md", "b.md")
    write(folder / "b.md", "Beside it.", age=50)
    assert watcher.step() == IngestReport(changed=("b.md",))
    pack(40, two="Two.", three="Three.")
    assert watcher.step() == IngestReport(
        added=("a.zip/three.md",), unchanged=("a.zip/two.md",), removed=("a.zip/one.md",)
    )
    assert paths(database) == ["a.zip/three.md", "a.zip/two.md", "b.md"]


def test_a_rejected_file_is_told_once_until_it_changes(folder: Path, watcher: Watcher) -> None:
    write(folder / "a.pdf", "no pdf")
    assert [path for path, _ in watcher.step().rejected] == ["a.pdf"]
    assert watcher.step() == NOTHING
    write(folder / "b.md", "Text.")
    assert watcher.step() == IngestReport(added=("b.md",))
    write(folder / "a.pdf", "still no pdf", age=50)
    assert [path for path, _ in watcher.step().rejected] == ["a.pdf"]


def test_a_folder_that_vanishes_takes_nothing_with_it(
    database: Database, folder: Path, watcher: Watcher
) -> None:
    write(folder / "a.md", "One.")
    watcher.step()
    away = folder.rename(folder.with_name("unplugged"))
    assert watcher.step() == NOTHING
    assert paths(database) == ["a.md"]
    away.rename(folder)
    assert watcher.step() == NOTHING


def test_what_failed_is_tried_again(folder: Path, watcher: Watcher, fake_embedder: Any) -> None:
    write(folder / "a.md", "One.")
    encode = fake_embedder.encode
    fake_embedder.encode = lambda texts: 1 / 0
    with pytest.raises(ZeroDivisionError):
        watcher.step()
    fake_embedder.encode = encode
    assert watcher.step() == IngestReport(added=("a.md",))


def test_running_reports_changes_survives_a_busy_database_and_stops(
    folder: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "a.md", "One.")
    stop = threading.Event()
    seen: list[IngestReport] = []
    step, calls = watcher.step, 0

    def busy_at_first() -> IngestReport:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise DatabaseBusy("the database is busy")
        if calls == 5:
            stop.set()
        return step()

    monkeypatch.setattr(watcher, "step", busy_at_first)
    thread = threading.Thread(target=watcher.run, args=(stop, seen.append, 0.001))
    thread.start()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert seen == [IngestReport(added=("a.md",))]


def test_the_command_reports_until_ctrl_c(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_embedder: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tutor import cli

    one = make_embedder(dimension=512)
    monkeypatch.setattr("retrieval.embedder.load_embedder", lambda name, threads=None: one)
    monkeypatch.setattr("retrieval.reader.Reader", lambda threads=None: None, raising=False)
    write(folder / "a.md", "One.", age=10**9)
    step = Watcher.step

    def then_interrupt(self: Watcher) -> IngestReport:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        return step(self)

    monkeypatch.setattr(Watcher, "step", then_interrupt)
    home = ["--home", str(tmp_path / "home")]
    assert cli.main(["ingest", "--watch", str(folder), "--json", *home]) == 130
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "added": ["a.md"],
        "changed": [],
        "unchanged": [],
        "removed": [],
        "rejected": [],
    }
    assert "Ctrl-C" in err
    assert cli.main(["ingest", "--watch", str(folder / "a.md"), *home]) == 2
    assert "--watch takes exactly one folder" in capsys.readouterr().err
