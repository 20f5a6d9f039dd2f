"""The worker that reads foreign formats: what it gives back, and that time, memory and crashes cost one file only."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from retrieval import sandbox as module
from retrieval.loaders import LoadError, load_document
from retrieval.sandbox import Sandbox

PAGE = b"<title>T</title><h1>Head</h1><p>Some text. More.</p><table><tr><th>A<th>B<tr><td>1<td>2</table>"
MB = 1024**2


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox() as opened:
        yield opened


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_same_document_comes_back_and_the_worker_stays(shared: Sandbox) -> None:
    assert shared.load("deep/a.html", PAGE) == load_document("deep/a.html", PAGE)
    assert shared._worker is not None
    pid = shared._worker.pid
    csv = "id;größe\n1;\u20ac 2\n".encode("cp1252")
    assert shared.load("b.csv", csv) == load_document("b.csv", csv)
    with pytest.raises(LoadError, match="no text"):
        shared.load("c.html", b"<html></html>")
    assert shared._worker.pid == pid


def test_plain_files_start_no_worker_and_closing_ends_it() -> None:
    with Sandbox() as opened:
        assert opened.load("a.md", b"# A\n\nText.").title == "A"
        assert opened._worker is None
        opened.load("a.html", PAGE)
        assert opened._worker is not None
        pid = opened._worker.pid
        assert is_alive(pid)
    assert not is_alive(pid)
    assert opened.load("a.html", PAGE).title == "T"  # it may be used again
    opened.close()


def test_the_worker_imports_nothing_heavy_and_starts_fast() -> None:
    code = "import sys, retrieval.sandbox, retrieval.loaders.pdf, retrieval.loaders.docx, retrieval.loaders.epub; "
    code += (
        "print(sorted({'torch', 'sqlalchemy', 'transformers', 'gradio', 'db', 'tutor'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    began = time.monotonic()
    with Sandbox() as opened:
        opened.load("a.html", PAGE)
    assert time.monotonic() - began < 3  # 0.2 s alone on the machine


def test_a_file_that_takes_too_long_is_given_up_and_the_next_one_is_read() -> None:
    slow = b"a,b,c,d\n" + b"one,two,three,four\n" * 100_000  # about 15 s
    with Sandbox(seconds=1) as opened:
        began = time.monotonic()
        with pytest.raises(LoadError, match=r"took longer than 1 s; split it"):
            opened.load("slow.csv", slow)
        assert time.monotonic() - began < 3
        assert opened.load("a.html", PAGE).title == "T"


def test_a_file_that_takes_too_much_memory_is_given_up_and_the_next_one_is_read() -> None:
    with Sandbox(memory=150 * MB) as opened:
        for bomb in (b"<p>x</p>" * 700_000, b"<ul>" + b"<li>x" * 700_000):
            with pytest.raises(LoadError, match=r"more memory than a document may; split it"):
                opened.load("bomb.html", bomb)
            assert opened.load("a.html", PAGE).title == "T"


def test_a_word_document_that_unpacks_to_gigabytes_costs_itself_only(shared: Sandbox) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("word/document.xml", "w", force_zip64=True) as part:
            for _ in range(600):
                part.write(bytes(MB))
    with pytest.raises(LoadError, match="bomb"):
        shared.load("bomb.docx", made.getvalue())
    assert shared.load("a.html", PAGE).title == "T"


def test_a_crash_is_one_files_fault(shared: Sandbox) -> None:
    shared.load("a.html", PAGE)
    assert shared._worker is not None
    pid = shared._worker.pid
    killer = threading.Timer(0.3, os.kill, (pid, signal.SIGSEGV))
    killer.start()
    with pytest.raises(LoadError, match="crashed on it"):
        shared.load("slow.csv", b"a,b,c,d\n" + b"one,two,three,four\n" * 100_000)
    killer.join()
    assert shared.load("a.html", PAGE).title == "T"
    os.kill(shared._worker.pid, signal.SIGKILL)  # and between two files
    shared._worker.wait()
    assert shared.load("a.html", PAGE).title == "T"


def test_threads_take_turns(shared: Sandbox) -> None:
    titles: list[str] = []

    def read(number: int) -> None:
        titles.append(shared.load("a.html", b"<title>%d</title><p>Text.</p>" % number).title)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(titles) == [str(n) for n in range(8)]


def test_the_worker_writes_no_file_and_sees_no_secrets(
    shared: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_TUTOR_SERVER_API_KEY", "secret")
    with Sandbox() as opened:
        opened.load("a.html", PAGE)
        assert opened._worker is not None
        with open(f"/proc/{opened._worker.pid}/environ", "rb") as environ:  # noqa: PTH123
            assert b"secret" not in environ.read()
        with open(f"/proc/{opened._worker.pid}/limits") as limits:  # noqa: PTH123
            assert "Max file size             0" in limits.read()


GOOD: dict[str, Any] = {
    "title": "T",
    "text": "abc def",
    "media_type": "text/html",
    "meta": {},
    "sections": [],
}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        GOOD | {"text": "\ud800"},
        GOOD | {"text": 1},
        GOOD | {"title": None},
        GOOD | {"meta": []},
        GOOD | {"sections": [[["H"], "h", 0, 8, []]]},
        GOOD | {"sections": [[["H"], "h", 0, 7, [[0, 9, "abc", "paragraph"]]]]},
        GOOD | {"sections": [[["H"], "h", 0, 7, [[4, 7, "def", "paragraph"], [0, 3, "abc", "paragraph"]]]]},
        GOOD | {"sections": [[["H"], "h", 0, 7, [[0, 3, "abc", "script"]]]]},
        GOOD | {"sections": [[[1], "h", 0, 7, []]]},
        GOOD | {"sections": [[["B"], "b", 4, 7, []], [["A"], "a", 0, 3, []]]},
        GOOD | {"sections": "x"},
    ],
)
def test_an_answer_that_no_loader_gives_is_not_believed(answer: Any) -> None:
    with pytest.raises(LoadError, match="crashed on it"):
        module._document(answer, "a.html")


def test_a_reason_is_one_short_printable_line() -> None:
    with pytest.raises(LoadError) as caught:
        module._document({"reason": "a\n\x1b[31m" + "b" * 9000}, "a.html")
    assert str(caught.value).startswith("a  [31mb")
    assert len(str(caught.value)) == 500
