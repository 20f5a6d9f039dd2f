"""Foreign formats are read in a process of their own, with limits: one bad file costs only itself.

`Sandbox.load` is `loaders.load_document` through one reusable worker (`python -m retrieval.sandbox`). Markdown and
plain text are read right here. What comes back is JSON that is checked before it is believed: whoever breaks a parser
is still in a cage, and can say nothing but a document's text or one line of reason.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from retrieval.loaders import LoadError, is_plain, load_document
from retrieval.records import Document, Section, Sentence

SECONDS = 30.0
MEMORY = 1024**3  # bytes on top of what the worker needs before it reads anything
MAX_ANSWER = 512 * 1024**2

_HEADER = struct.Struct(">II")  # bytes of the name, bytes of the file
_LENGTH = struct.Struct(">I")
_KINDS = {"paragraph", "list_item", "table_row", "code", "quote"}
_CRASHED = (
    "the program that reads it crashed on it: it is broken or hostile; save it again, or in another format"
)


class Sandbox:
    """Loads documents; the worker starts with the first file that needs it. Close it, or use `with`.

    Threads may share one: files wait for each other.
    """

    def __init__(self, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        """`seconds` and `memory` (bytes) are what one file may cost."""
        self._seconds = seconds
        self._memory = memory
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, path_label: str, data: bytes) -> Document:
        """What `load_document` says of the file. Raises LoadError, also for one that takes too much time or memory."""
        if is_plain(path_label):
            return load_document(path_label, data)
        with self._lock:
            answer = self._ask(path_label, data)
        return _document(answer, path_label)

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._end()

    def _ask(self, path_label: str, data: bytes) -> Any:
        worker = self._started()
        assert worker.stdin is not None
        assert worker.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            worker.kill()

        timer = threading.Timer(self._seconds, stop)
        timer.daemon = True
        timer.start()
        keep = False
        try:
            label = path_label.encode("utf-8", "replace")
            worker.stdin.write(_HEADER.pack(len(label), len(data)))
            worker.stdin.write(label)
            worker.stdin.write(data)
            worker.stdin.flush()
            (length,) = _LENGTH.unpack(_exactly(worker.stdout, _LENGTH.size))
            if length > MAX_ANSWER:
                raise LoadError("its text is larger than any document's; split it")
            answer = json.loads(_exactly(worker.stdout, length))
            keep = not (isinstance(answer, dict) and answer.get("worn"))
            return answer
        except (OSError, EOFError, ValueError, RecursionError):
            if late.is_set():
                raise LoadError(
                    f"reading it took longer than {self._seconds:g} s; split it, or save it in a simpler format"
                ) from None
            raise LoadError(_CRASHED) from None
        finally:
            timer.cancel()
            if not keep or late.is_set():
                self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._worker is not None and self._worker.poll() is None:
            return self._worker
        self._end()
        package = str(Path(__file__).resolve().parents[1])
        kept = {
            name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "SYSTEMROOT") if name in os.environ
        }
        # -P: nothing that lies in the current folder is imported. One thread: stacks count as memory.
        self._worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "retrieval.sandbox", str(self._memory), str(self._seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept | {"PYTHONPATH": package, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the parent, which then closes this
        )
        return self._worker

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe:
                with suppress(OSError):  # bytes that it will never read
                    pipe.close()


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise EOFError
    return data


def _document(answer: Any, path_label: str) -> Document:
    """The document that an answer describes. Raises LoadError for its reason, and for an answer that can't be."""
    if isinstance(answer, dict) and isinstance(reason := answer.get("reason"), str):
        raise LoadError("".join(c if c.isprintable() else " " for c in reason)[:500])
    try:
        text: str = answer["text"]
        text.encode()
        sections = tuple(_section(section, len(text)) for section in answer["sections"])
        fields = [answer["title"], answer["media_type"]]
        good = isinstance(answer["meta"], dict) and all(isinstance(field, str) for field in fields)
        if not good or any(a.start > b.start for a, b in pairwise(sections)):
            raise ValueError("not a document")
        return Document(path_label, answer["title"], text, answer["media_type"], sections, answer["meta"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LoadError(_CRASHED) from None


def _section(values: Any, length: int) -> Section:
    path, anchor, start, end, rows = values
    if not (isinstance(anchor, str) and all(isinstance(heading, str) for heading in path)):
        raise ValueError("not a section")
    sentences = []
    behind = start
    for begin, stop, text, kind in rows:
        if not (behind <= begin < stop <= end and isinstance(text, str) and kind in _KINDS):
            raise ValueError("not a sentence")
        sentences.append(Sentence(begin, stop, text, kind))
        behind = stop
    if not 0 <= start <= end <= length:
        raise ValueError("a section outside its text")
    return Section(tuple(path), anchor, start, end, tuple(sentences))


def _answer(path_label: str, data: bytes) -> dict[str, Any]:
    """In the worker: the document, or the reason, as JSON values. `worn` asks for a new worker."""
    try:
        document = load_document(path_label, data)
    except LoadError as error:
        return {"reason": str(error)}
    except MemoryError:
        return {"reason": "reading it takes more memory than a document may; split it", "worn": True}
    except RecursionError:
        return {"reason": "nested deeper than any document needs; it is broken or hostile", "worn": True}
    except Exception as error:  # noqa: BLE001  a parser's own mistake: the file's fault as far as anyone can tell
        return {"reason": f"{_CRASHED} ({type(error).__name__})", "worn": True}
    return {
        "title": document.title,
        "text": document.text,
        "media_type": document.media_type,
        "meta": dict(document.meta),
        "sections": [
            [
                s.heading_path,
                s.anchor,
                s.start,
                s.end,
                [(x.start, x.end, x.text, x.kind) for x in s.sentences],
            ]
            for s in document.sections
        ],
    }


def _limit(memory: int, seconds: float) -> Callable[[bool], object]:
    """Bound this process, where the system can. Returns what to call when a file begins (True) and ends (False)."""
    try:
        import resource
        import signal
    except ImportError:  # Windows: the parent's clock is the only limit
        return lambda _begins: None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it has no file to write
    if size := _size():  # macOS has no such limit that holds
        resource.setrlimit(resource.RLIMIT_AS, (size + memory, size + memory))
    # Should the parent die, this still ends: an alarm kills even inside a C library.
    return lambda begins: signal.alarm(max(2, round(2 * seconds)) if begins else 0)


def _size() -> int:
    """The address space of this process in bytes, as its limit counts it; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError, AttributeError):
        return 0


def _serve() -> None:
    """The worker: files from stdin, answers to stdout, until stdin ends."""
    from retrieval.loaders import csv_table, docx, epub, html, notebook, pdf  # noqa: F401  before the limits

    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    memory = int(sys.argv[1])
    clock = _limit(memory, float(sys.argv[2]))
    fresh = _size()
    while header := incoming.read(_HEADER.size):
        label_size, size = _HEADER.unpack(header)
        clock(True)
        label = incoming.read(label_size).decode("utf-8", "replace")
        try:
            found = _answer(label, incoming.read(size))
            found["worn"] = found.get("worn", False) or _size() - fresh > memory / 2
            answer = json.dumps(found, default=list).encode()
        except MemoryError:
            answer = json.dumps(
                {"reason": "it takes more memory than a document may; split it", "worn": True}
            ).encode()
        outgoing.write(_LENGTH.pack(len(answer)) + answer)
        outgoing.flush()
        clock(False)


if __name__ == "__main__":
    _serve()
