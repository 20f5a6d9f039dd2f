"""The job stands still while the app writes an answer, in whatever process, and only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from finetune.pacing import NICENESS, wait_while_answering
from tutor.busy import answering, is_answering

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import sys, pathlib; from tutor.busy import answering\n"
    "with answering(pathlib.Path(sys.argv[1])): print(1, flush=True); input()"
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")


def test_it_is_known_while_it_lasts_and_no_longer(tmp_path: Path) -> None:
    assert not is_answering(tmp_path)
    with answering(tmp_path):
        assert is_answering(tmp_path)
        with answering(tmp_path):
            assert is_answering(tmp_path)
        assert is_answering(tmp_path)
        assert not is_answering(tmp_path / "other")
    assert not is_answering(tmp_path)


def test_another_process_sees_it_and_a_kill_ends_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"1\n"
    assert is_answering(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    assert not is_answering(tmp_path)


def test_many_threads_answer_while_others_look(tmp_path: Path) -> None:
    """No answer goes unnoticed because somebody was just looking."""
    wrong: list[str] = []
    ending = threading.Event()

    def look() -> None:
        while not ending.is_set():
            is_answering(tmp_path)

    def answer() -> None:
        for _ in range(100):
            with answering(tmp_path):
                if not is_answering(tmp_path):
                    wrong.append("unnoticed")

    lookers = [threading.Thread(target=look) for _ in range(2)]
    writers = [threading.Thread(target=answer) for _ in range(4)]
    for thread in (*lookers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ending.set()
    for thread in lookers:
        thread.join()
    assert wrong == []
    assert not is_answering(tmp_path)


def test_an_answer_is_written_even_where_no_lock_can_be(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    with answering(tmp_path):
        pass
    assert not is_answering(tmp_path)


def test_the_job_waits_for_the_answer_and_for_no_longer_than_it_may(tmp_path: Path) -> None:
    assert wait_while_answering(tmp_path) < 0.1
    with answering(tmp_path):
        assert 0.3 <= wait_while_answering(tmp_path, max_wait_s=0.3) < 2
        assert wait_while_answering(tmp_path, should_stop=lambda: True) < 0.1
    done = threading.Event()

    def answer() -> None:
        with answering(tmp_path):
            done.wait(10)

    thread = threading.Thread(target=answer)
    thread.start()
    while not is_answering(tmp_path):
        time.sleep(0.01)
    threading.Timer(0.5, done.set).start()
    assert 0.3 < wait_while_answering(tmp_path) < 5
    thread.join()


def test_the_job_runs_behind_the_app() -> None:
    script = (
        "import psutil, torch; from finetune.pacing import give_way; give_way(1); give_way()\n"
        "print(psutil.Process().nice(), torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(max(NICENESS, psutil.Process().nice())), "1"]
