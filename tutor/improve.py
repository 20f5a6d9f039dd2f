"""What the Improve page shows and does: feedback and its fate, jobs, the newest verdict, votes, what is served.

Everything is read from rows, so the page is right after a restart, too. Training is another process
(`improve_jobs.py`); nothing of `finetune` is imported here.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db import documents, jobs, registry, study
from db.errors import DatabaseError, NotFound
from db.feedback import list_feedback, opted_out, set_opt_out
from tutor import voting
from tutor.adapter_files import folder_problem
from tutor.failures import BusyError
from tutor.improve_jobs import State, Trainers
from tutor.improve_preview import Preview, Previews
from tutor.models import base_names
from tutor.wire import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from db.feedback import Feedback
    from db.jobs import Job
    from db.registry import Adapter, Promotion
    from db.session import Database
    from tutor.settings import Settings

VOTE = "vote"  # a study event; ref: the ballot's item
JOB_KIND = "finetune"
MINUTES = (5, 10, 15, 30, 60)
ROLLED_BACK, ROLLBACK_UNDONE, PROMOTED = "rolled back by hand", "rollback undone", "promoted by hand"
LIVE: tuple[State, ...] = ("starting", "running", "stopping")
RESUMABLE: tuple[State, ...] = ("stopped", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Served:
    """What answers now. `back_to` is what a rollback would bring; there is none unless `can_roll_back`.

    `undo` is the version that the newest switch took back, in a tuple of its own because None is the base model.
    """

    name: str | None
    base: str
    since: datetime | None
    sha256: str
    can_roll_back: bool
    back_to: str | None
    undo: tuple[str | None] | None = None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and what it is doing; `problem` is one line about what went wrong, "" if nothing did."""

    job: Job
    state: State
    problem: str


@dataclass(frozen=True, slots=True)
class Result:
    """The newest evaluated adapter. `refusal` says why it can't be promoted, "" if it can or is served."""

    adapter: Adapter
    served: bool
    refusal: str
    ballots: tuple[voting.Ballot, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the page but the preview. `versions` are what was served, newest first."""

    served: Served
    versions: tuple[Promotion, ...]
    feedback: tuple[Feedback, ...]
    opted_out: bool
    jobs: tuple[JobView, ...]
    result: Result | None

    @property
    def job(self) -> JobView | None:
        """The newest job."""
        return self.jobs[0] if self.jobs else None

    @property
    def busy(self) -> bool:
        """Whether a job runs, so that the page has something to watch."""
        return any(view.state in LIVE for view in self.jobs)


class Improve:
    """The page's work. Safe to share between threads."""

    def __init__(self, database: Database, settings: Settings, learner_id: int) -> None:
        self._database = database
        self._settings = settings
        self._learner = learner_id
        self._trainers = Trainers(settings)
        self._previews = Previews(self._trainers, settings.home / "jobs" / "preview.json")
        self._lock = threading.Lock()

    def overview(self, now: datetime | None = None) -> Overview:
        """The page as it is at `now`."""
        now = now or datetime.now(UTC)
        with self._database.session(readonly=True) as session:
            adapters = registry.list_adapters(session)
            history = registry.promotions(session)
            served = registry.served_adapter(session)
            stack = registry.standing(history)
            return Overview(
                Served(
                    name=served.name if served else None,
                    base=base_names(self._settings)[0],
                    since=history[0].created_at if history else None,
                    sha256=served.sha256 if served else "",
                    can_roll_back=len(stack) > 1,
                    back_to=stack[-2] if len(stack) > 1 else None,
                    undo=_taken_back(history),
                ),
                tuple(history),
                tuple(list_feedback(session, learner_id=self._learner)),
                opted_out(session, self._learner),
                tuple(self._view(job, now) for job in jobs.list_jobs(session)),
                self._result(session, adapters, served.name if served else None),
            )

    def opt_out(self, out: bool) -> None:
        """Keep this learner's ratings out of training, or let them in again."""
        with self._database.session() as session:
            set_opt_out(session, self._learner, out)

    # -- jobs --

    def start(self, max_minutes: int | None) -> int:
        """Begin a job and its process; the job's id. Raises BusyError while one runs, OSError."""
        with self._lock:
            with self._database.session() as session:
                self._make_way(session)
                config = {} if max_minutes is None else {"max_minutes": max_minutes}
                job = jobs.create_job(session, JOB_KIND, config, self._settings.home / "jobs")
            return self._spawn(job)

    def resume(self, job_id: int) -> int:
        """Go on with a job that stopped, from its last checkpoint. Raises BusyError, DatabaseError, OSError."""
        with self._lock:
            with self._database.session() as session:
                self._make_way(session, keep=job_id)
                job = self._job(session, job_id)
                if job.state != "queued":  # one that never began is queued still
                    job = jobs.requeue(session, job_id)
            return self._spawn(job)

    def cancel(self, job_id: int) -> None:
        """Ask a job to stop; it keeps its checkpoint. One that nobody runs (any more) is cancelled at once."""
        with self._lock, self._database.session() as session:
            state = self._trainers.state(self._job(session, job_id))
            jobs.request_cancel(session, job_id)
            if state == "stopped" and self._job(session, job_id).state == "running":
                jobs.finish_job(session, job_id, "cancelled")

    def preview(self, wait_s: float, *, asked: bool = True) -> Preview | None:
        """What the next job would train on. Finding out takes a core for minutes, so it begins when somebody has
        `asked` for it; None until then."""
        key = self.key()
        if asked:
            self._previews.forget_failure()
        elif not self._previews.begun(key):
            return None
        return self._previews.get(key, wait_s)

    def key(self) -> str:
        """Stands for all feedback and material: another key, another data set."""
        with self._database.session(readonly=True) as session:
            told = [documents.index_version(session)]
            rows = [
                (row.id, row.rating, row.reason, row.correction, row.comment)
                for row in list_feedback(session)
                if row.fate != "withdrawn"
            ]
        return hashlib.sha256(repr((told, rows)).encode()).hexdigest()[:16]

    def close(self) -> None:
        """Stop what only this app wants to know; a job goes on."""
        self._trainers.end_dry_run()

    # -- what is served --

    def promote(self, name: str) -> Promotion:
        """Serve the adapter of the newest result. Raises NotFound, DatabaseError with the rule that forbids it."""
        with self._lock, self._database.session() as session:
            adapter = registry.get_adapter(session, name)
            served = registry.served_adapter(session)
            if adapter is None:
                raise NotFound(f"There is no version {name} (any more).")
            why = refusal(adapter, served.name if served else None)
            if problem := why or folder_problem(Path(adapter.path), adapter.manifest, adapter.sha256):
                raise DatabaseError(problem)
            return registry.promote(session, name, PROMOTED)

    def rollback(self) -> Promotion:
        """Serve again what was served before. Raises DatabaseError where there is nothing before."""
        with self._lock, self._database.session() as session:
            return registry.rollback(session, ROLLED_BACK)

    def undo(self, name: str | None) -> Promotion:
        """Take a rollback back: serve this version again. Only right after the rollback. Raises DatabaseError."""
        with self._lock, self._database.session() as session:
            if _taken_back(registry.promotions(session)) != (name,):
                raise DatabaseError("Something else was promoted since; see the versions.")
            return registry.promote(session, name, ROLLBACK_UNDONE)

    # -- votes --

    def vote(self, name: str, item: str, choice: str) -> Result:
        """Keep a vote; a question that was voted on keeps its first vote. Raises InputError for an unknown one."""
        with self._lock, self._database.session() as session:
            adapter = registry.get_adapter(session, name)
            found = self._ballots(session, adapter) if adapter else ()
            ballot = next((ballot for ballot in found if ballot.item == item), None)
            if ballot is None or choice not in voting.choices(len(ballot.texts)):
                raise InputError("this question is no longer on the page; reload it")
            if ballot.choice is None:
                data = {"adapter": name, "question": ballot.question, "choice": choice}
                study.record_event(session, self._learner, VOTE, ref=item, data=data)
        return self.result(name)

    def result(self, name: str) -> Result:
        """One adapter's result. Raises NotFound."""
        with self._database.session(readonly=True) as session:
            adapter = registry.get_adapter(session, name)
            served = registry.served_adapter(session)
            if adapter is None or not evaluated(adapter):
                raise NotFound(f"There is no report of {name}.")
            return self._result_of(session, adapter, served.name if served else None)

    def folder(self, name: str) -> Path:
        """Where an adapter's files are. Raises NotFound."""
        with self._database.session(readonly=True) as session:
            adapter = registry.find_adapter(session, name)
        if adapter is None:
            raise NotFound(f"There is no version {name!r}.")
        return Path(adapter.path)

    # -- parts --

    def _view(self, job: Job, now: datetime) -> JobView:
        state = self._trainers.state(job, now)
        problem = ""
        if state == "failed":
            problem = job.error or self._trainers.last_words(job.id) or "It ended without a word."
        elif state == "stopped":
            problem = self._trainers.last_words(job.id)
        return JobView(job, state, problem)

    def _result(self, session: Session, adapters: Sequence[Adapter], served: str | None) -> Result | None:
        newest = next((adapter for adapter in adapters if evaluated(adapter)), None)
        return None if newest is None else self._result_of(session, newest, served)

    def _result_of(self, session: Session, adapter: Adapter, served: str | None) -> Result:
        is_served = adapter.name == served
        return Result(
            adapter, is_served, "" if is_served else refusal(adapter, served), self._ballots(session, adapter)
        )

    def _ballots(self, session: Session, adapter: Adapter) -> tuple[voting.Ballot, ...]:
        votes: dict[str, str] = {}
        for event in study.events(
            session, self._learner, kinds=(VOTE,)
        ):  # newest first: the first vote stays
            if event.ref and event.data.get("adapter") == adapter.name:
                votes[event.ref] = str(event.data.get("choice"))
        answers = adapter.report.get("answers")
        return tuple(
            voting.ballots(answers if isinstance(answers, list) else (), adapter.name, self._learner, votes)
        )

    def _make_way(self, session: Session, keep: int | None = None) -> None:
        """Call those failed that nobody runs any more; `keep` may be queued still. Raises BusyError if one runs."""
        states = {job.id: self._trainers.state(job) for job in jobs.list_jobs(session)}
        live = next((job_id for job_id, state in states.items() if state in LIVE), None)
        if live is not None:
            raise BusyError(f"training {live} is still running; wait for it or stop it")
        jobs.reap(session, lambda pid: False)
        for job in jobs.list_jobs(session):
            if job.state == "queued" and job.id != keep:
                jobs.finish_job(session, job.id, "failed", exit_code=1, error="It never began.")

    def _job(self, session: Session, job_id: int) -> Job:
        job = jobs.get_job(session, job_id)
        if job is None:
            raise NotFound(f"Training {job_id} doesn't exist (any more).")
        return job

    def _spawn(self, job: Job) -> int:
        self._trainers.end_dry_run()  # two of them would halve each other's speed, and more
        try:
            self._trainers.start(job.id, "--job", str(job.id))
        except OSError as error:
            with self._database.session() as session:
                said = f"the trainer could not be started ({error.strerror})"
                jobs.finish_job(session, job.id, "failed", exit_code=1, error=said)
            raise
        return job.id


def _taken_back(history: Sequence[Promotion]) -> tuple[str | None] | None:
    """What the newest switch took back, if it was a rollback."""
    if not history or not history[0].rollback:
        return None
    return (history[1].adapter if len(history) > 1 else None,)


def evaluated(adapter: Adapter) -> bool:
    """Whether the gate spoke about this adapter."""
    verdict = adapter.report.get("verdict")
    return isinstance(verdict, dict) and isinstance(verdict.get("promote"), bool)


def broken(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules that the gate found broken."""
    rules = (report.get("verdict") or {}).get("rules")
    return [rule for rule in rules or () if isinstance(rule, dict) and not rule.get("passed")]


def refusal(adapter: Adapter, served: str | None) -> str:
    """Why this adapter may not be served in place of what is served now, in a sentence; "" if it may."""
    if adapter.withdrawn:
        return "It was trained on feedback that was taken back since. Train again."
    if not evaluated(adapter):
        return "It was never examined to the end."
    if not adapter.report["verdict"]["promote"] or adapter.state != "registered":
        rules = broken(adapter.report)
        number = {0: "The gate", 1: "One rule"}.get(len(rules), f"{len(rules)} rules")
        return f"{number} refused it; what answered before goes on answering."
    compared = (adapter.report.get("served") or {}).get("adapter")
    if compared != served:
        return (
            f"It was examined against {compared or 'the base model'}, and now {served or 'the base model'} "
            "answers. Train again to compare the two."
        )
    return ""
