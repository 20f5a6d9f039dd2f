"""The trainer's process as the app sees it: started as a session of its own, watched through its row and its pid.

The app holds nothing that a job needs: it may end and start again while a job runs. What the trainer does is
`finetune`'s, which is never imported here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tutor.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from db.jobs import Job

State = Literal["starting", "running", "stopping", "stopped", "cancelled", "failed", "done"]
"""`stopped`: the row says that it runs, and nobody runs it (the machine went off, the process was killed)."""

COMMAND: tuple[str, ...] = (sys.executable, "-m", "finetune")
STALE_S = 60.0
STARTING_S = 90.0  # from the row to the first sign of life; a laptop may have to read a model first
KEPT_LOG_BYTES = 4000
_NOT_PASSED = {"home", "host", "port", "server_api_key"}  # the key is in the environment or the file already
_CLOCK_S = 2.0


def state_of(job: Job, now: datetime, *, alive: bool, ended: bool = False) -> State:
    """What a job is doing. `alive`: its process was seen; `ended`: it was our child, and it is gone."""
    if job.state in ("cancelled", "failed", "done"):
        return job.state  # type: ignore[return-value]
    if job.state == "queued":
        waits = now - job.created_at < timedelta(seconds=STARTING_S)
        return "starting" if alive or (waits and not ended) else "stopped"
    seen = job.heartbeat_at or job.started_at or job.created_at
    fresh = now - seen < timedelta(seconds=STALE_S)
    if not alive and (ended or not fresh):
        return "stopped"
    return "stopping" if job.cancel_requested else "running"


class Trainers:
    """Starts trainers and knows which of them live. One a process; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._asked: subprocess.Popen[bytes] | None = None

    def folder(self, job_id: int) -> Path:
        """Where a job keeps what it works on."""
        return self._settings.home / "jobs" / str(job_id)

    def start(self, job_id: int, *arguments: str) -> int:
        """Start `finetune run` with these arguments; return its pid. Raises OSError."""
        folder = self.folder(job_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = [*COMMAND, "run", "--home", str(self._settings.home), *arguments]
        with (folder / "log.txt").open("ab") as log:
            self._children[job_id] = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self._settings),
                start_new_session=True,
            )
        return self._children[job_id].pid

    def alive(self, job: Job) -> bool:
        """Whether the process of this job runs on this machine; a pid that another program has now is not it."""
        child = self._children.get(job.id)
        if child is not None and child.poll() is None:
            return True
        return job.pid is not None and _runs(job.pid, job.heartbeat_at or job.started_at)

    def ended(self, job: Job) -> bool:
        """Whether we started this job, and its process is gone."""
        child = self._children.get(job.id)
        return child is not None and child.poll() is not None

    def state(self, job: Job, now: datetime | None = None) -> State:
        """See `state_of`."""
        return state_of(job, now or datetime.now(UTC), alive=self.alive(job), ended=self.ended(job))

    def last_words(self, job_id: int) -> str:
        """The last line that a job wrote to its log, "" where there is none."""
        try:
            with (self.folder(job_id) / "log.txt").open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - KEPT_LOG_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        said = [" ".join(line.split()) for line in lines]
        return next((line for line in reversed(said) if line), "").removeprefix("study-tutor: ")

    def dry_run(self, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
        """What the next job would train on, as JSON on stdout. Raises OSError, subprocess.TimeoutExpired."""
        import psutil

        line = [*COMMAND, "run", "--home", str(self._settings.home), "--json", "--dry-run"]
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(self._settings),
        )
        with suppress(psutil.Error):  # it has ended already, or may not be slowed: then it is only in a hurry
            psutil.Process(process.pid).nice(10 if os.name == "posix" else psutil.BELOW_NORMAL_PRIORITY_CLASS)
        self._asked = process
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        finally:
            self._asked = None
        return subprocess.CompletedProcess(line, process.returncode, out, err)

    def end_dry_run(self) -> bool:
        """Stop asking: a job needs the machine, or the app ends. Whether anybody was asking."""
        asked = self._asked
        if asked is not None:
            asked.kill()
        return asked is not None


def environment(settings: Settings) -> dict[str, str]:
    """Our environment, with every setting that this app was given; a secret is never written anew."""
    found = dict(os.environ)
    for name in sorted(settings.model_fields_set - _NOT_PASSED):
        value: Any = getattr(settings, name)
        if value is not None:
            found[f"{ENV_PREFIX}{name.upper()}"] = str(value)
    return found


def _runs(pid: int, seen: datetime | None) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return seen is None or process.create_time() <= seen.timestamp() + _CLOCK_S
    except psutil.Error:
        return False
