"""One fine-tune job, start to finish: data set -> adapter -> comparison -> registered with the gate's verdict.

Start reading at `Job.run`. Everybody who watches reads the job's row. What is done lies in the job's folder, so that a
job that was killed goes on from there: the data set, the last checkpoint, the adapter. Nothing here touches what is
served; promoting is a separate act.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db import feedback, jobs, registry
from db.errors import DatabaseError
from db.registry import Adapter, ServedAdapter
from finetune import dataset as datasets
from finetune.config import FinetuneConfig
from finetune.heart import Heart
from finetune.keeping import Kept, one_job_a_home, registered_by, versions
from finetune.outcomes import Cancelled, Trained
from tutor import failures
from tutor.failures import RefusedError
from tutor.serving import BASE
from tutor.wire import InputError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.session import Database
    from finetune.dataset import Dataset
    from finetune.outcomes import Progress
    from tutor.settings import Settings

KIND = "finetune"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,60}", re.ASCII)
COLLECTING, TRAINING, EVALUATING, REGISTERING = (0.0, 0.05), (0.05, 0.75), (0.75, 0.98), (0.98, 1.0)
"""Where each stage begins and ends, as a share of the whole job."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. Kept in the job's row, so that a resumed job does the same."""

    config: FinetuneConfig
    name: str | None = None
    exemplars: bool = True
    since: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """As the job's row keeps it."""
        since = self.since.isoformat() if self.since else None
        return self.config.as_json() | {"name": self.name, "exemplars": self.exemplars, "since": since}

    @classmethod
    def from_json(cls, said: Mapping[str, Any], **given: Any) -> Request:
        """What a job's row asks for, which may be a part only; what is `given` for the configuration wins.

        Raises InputError.
        """
        own = {key: value for key, value in said.items() if key not in ("name", "exemplars", "since")}
        own |= {key: value for key, value in given.items() if value is not None}
        since = said.get("since")
        return cls(
            FinetuneConfig.from_json(own),
            said.get("name"),
            bool(said.get("exemplars", True)),
            datetime.fromisoformat(since) if since else None,
        )

    @property
    def command(self) -> str:
        """The command line that asks for this."""
        said = f"python -m finetune run --seed {self.config.seed} --method {self.config.method}"
        return said if self.exemplars else f"{said} --no-exemplars"


def run_job(
    settings: Settings,
    database: Database,
    request: Request,
    job_id: int | None = None,
    *,
    again: bool = False,
) -> Adapter:
    """Run a queued job, or a new one, in this process; the adapter it made. `again`: one that ended goes on.

    Raises BusyError where another job runs, RefusedError for too little data, TrainingError, Cancelled, or what keeps
    models and data from being read; the row has the same in one line.
    """
    with one_job_a_home(settings.home):
        with database.session() as session:
            jobs.reap(
                session, lambda pid: database.dialect != "sqlite"
            )  # this home's lock is ours: nobody runs
            if job_id is None:
                job_id = jobs.create_job(session, KIND, request.as_json(), settings.home / "jobs").id
            elif again:
                _take_up(session, job_id)
        with _ended_in_its_row(database, job_id), Heart(database, job_id) as heart:
            return Job(settings, database, request, job_id, heart).run()


def _take_up(session: Session, job_id: int) -> None:
    job = jobs.get_job(session, job_id)
    if job is not None and job.state == "done":
        raise InputError(f"job {job_id} is done, so there is nothing to go on with")
    if job is None or job.state != "queued":
        jobs.requeue(session, job_id)


class Job:
    """The steps of a job, and what they share."""

    def __init__(
        self, settings: Settings, database: Database, request: Request, job_id: int, heart: Heart
    ) -> None:
        from tutor.models import base_names, model_folder, weights_sha256

        self.settings = settings
        self.database = database
        self.request = request
        self.config = request.config
        self.id = job_id
        self.heart = heart
        self.began = time.monotonic()
        self.kept = Kept(settings.home / "jobs" / str(job_id))
        self.base = model_folder(settings)
        self.base_names = base_names(settings)
        self.base_sha256 = weights_sha256(self.base, settings.models_dir)

    def run(self) -> Adapter:
        """Start to finish."""
        if done := registered_by(self.database, self.id):
            return done  # it was killed between its last two steps
        self.check_names()
        data = self.snapshot()
        trained = self.train(data)
        report = self.compare(trained, data)
        return self.register(report, data)

    def check_names(self) -> None:
        """Raise before the work what would spoil it after: a name that is taken, a served adapter of another base."""
        from tutor.adapters import register_shipped

        register_shipped(self.settings, self.database)  # in a new home: it would be served
        name = self.request.name
        with self.database.session(readonly=True) as session:
            served = registry.served_adapter(session)
            if name is not None and registry.get_adapter(session, name):
                raise InputError(f"there is an adapter {name} already; choose another name")
        if name is not None and (name == BASE or not _NAME.fullmatch(name)):
            raise InputError(f"{name!r} can't be the name of an adapter; use letters, digits, - and _")
        if served and served.base_model not in self.base_names:
            raise InputError(
                f"the served adapter {served.name} is of {served.base_model}, and an adapter of "
                f"{self.base_names[0]} can't be compared with it; roll back first"
            )

    def snapshot(self) -> Dataset:
        """The data set as files with a hash; the one this job began with, unless somebody took feedback back since.

        Raises RefusedError where there is too little to learn from; then nothing is changed.
        """
        from finetune.collect import prepare
        from finetune.snapshot import read_snapshot, write_snapshot
        from tutor.services import build_services

        self.heart.enter("collecting", COLLECTING[0])
        if known := self.kept.sound_dataset(self.database):
            return read_snapshot(known)

        def searched(what: str, done: int, total: int) -> None:
            self._tell(COLLECTING, "collecting", done, total)
            self.heart.check()

        with closing(build_services(self.settings, with_generator=False, index_course=False)) as services:
            data = prepare(
                services,
                self.config,
                self.settings.home,
                with_exemplars=self.request.exemplars,
                since=self.request.since,
                on_progress=searched,
            )
        if why := datasets.refusal(data, self.config):
            raise RefusedError(why)
        folder = write_snapshot(data, self.settings.home / "datasets")
        with self.database.session() as session:
            row = registry.put_dataset(
                session, data.sha256, str(folder), data.counts(), self.config.seed, data.feedback_ids
            )
            jobs.set_dataset(session, self.id, row.id)
            feedback.set_fate(session, data.feedback_ids, "in_dataset", dataset_id=row.id)
            for number, reason in data.rejected:
                feedback.set_fate(session, [number], "rejected", reason=reason)
        self.kept.write("dataset", {"id": row.id, "path": str(folder), "sha256": data.sha256})
        return data

    def train(self, data: Dataset) -> Trained:
        """The adapter, from the last checkpoint where there is one that fits."""
        from finetune.train import train

        key = {"dataset": data.sha256, "config": self.config.training_json(), "base": self.base_sha256}
        known = self.kept.read("trained")
        if known.get("key") == key and self.kept.adapter_is(known["sha256"]):
            return Trained(**known["trained"] | {"folder": Path(known["trained"]["folder"])})
        self.heart.enter("training", TRAINING[0])

        def progressed(progress: Progress) -> None:
            begin, end = TRAINING
            self.heart.tell(begin + (end - begin) * progress.step / max(1, progress.steps), asdict(progress))

        trained = train(
            self.config,
            data.train,
            self.base,
            self.base_names[0],
            self.kept.folder,
            on_progress=progressed,
            should_stop=lambda: self.heart.should_stop,
            wait_while_busy=self._let_answer,
            preferences=data.preferences,
        )
        said = asdict(trained) | {"folder": str(trained.folder)}
        self.kept.write("trained", {"key": key, "sha256": self.kept.adapter_sha256(), "trained": said})
        return trained

    def compare(self, trained: Trained, data: Dataset) -> dict[str, Any]:
        """The report on the new adapter beside what is served now, with the gate's verdict."""
        from finetune.evaluate import evaluate_adapter
        from finetune.report import Origin

        self.heart.enter("evaluating", EVALUATING[0])
        with self.database.session(readonly=True) as session:
            name = self.request.name or registry.next_name(session)
        candidate = ServedAdapter(
            name, str(self.kept.adapter), self.base_names[0], self.kept.adapter_sha256()
        )
        origin = Origin(
            adapter=name,
            base=self.base_names[0],
            dataset=dataset_part(data),
            training=training_part(trained),
            config=self.config.as_json(),
            versions=versions(),
            command=self.request.command,
        )
        report = evaluate_adapter(
            self.settings, self.database, candidate, origin, data.held_out, self._tick, began=self.began
        )
        self.kept.write("report", report)
        return report

    def register(self, report: Mapping[str, Any], data: Dataset) -> Adapter:
        """The adapter in its own folder with report, card and manifest, then its row, and the fate of the feedback."""
        from finetune import gate
        from finetune.report import card, page

        self.heart.enter("registering", REGISTERING[0])
        name = str(report["adapter"])
        state = gate.state(report)
        texts = {
            "report.json": json.dumps(report, ensure_ascii=False, indent=1) + "\n",
            "report.md": page(report),
            "README.md": card(report),
        }
        folder = self.settings.home / "adapters" / name
        manifest = self.kept.publish(
            folder,
            texts,
            base=self.base,
            base_names=self.base_names,
            base_sha256=self.base_sha256,
            dataset_sha256=data.sha256,
            config=self.config.as_json(),
            report=report,
        )
        with self.database.session() as session:
            adapter = registry.register_adapter(
                session,
                name=name,
                path=str(folder),
                base_model=self.base_names[0],
                sha256=self.kept.adapter_sha256(),
                state=state,
                manifest=manifest,
                report=report,
                job_id=self.id,
                dataset_id=self.kept.read("dataset").get("id"),
            )
            if state == "registered":
                feedback.set_fate(session, data.feedback_ids, "in_adapter", adapter_id=adapter.id)
        self.kept.tidy()
        return adapter

    def _tick(self, done: int, of: int) -> None:
        """Before every question of the evaluation."""
        self._let_answer()
        self._tell(EVALUATING, "evaluating", done, of)
        self.heart.check()

    def _let_answer(self) -> None:
        """Stand still while the app writes an answer."""
        from finetune.pacing import wait_while_answering

        wait_while_answering(self.settings.home, should_stop=lambda: self.heart.should_stop)

    def _tell(self, span: tuple[float, float], stage: str, done: int, of: int) -> None:
        begin, end = span
        self.heart.tell(begin + (end - begin) * done / max(1, of), {"stage": stage, "done": done, "of": of})


def dataset_part(data: Dataset) -> dict[str, Any]:
    """The data set as the report names it."""
    return {"sha256": data.sha256, **data.counts()}


def training_part(trained: Trained) -> dict[str, Any]:
    """What training took, as the report tells it."""
    memory = trained.peak_memory_bytes
    return {
        "seconds": round(trained.seconds, 1),
        "steps": trained.steps,
        "examples": trained.examples,
        "tokens": trained.tokens,
        "examples_per_s": round(trained.examples / trained.seconds, 2) if trained.seconds else None,
        "precision": trained.precision,
        "processes": trained.processes,
        "waited_s": round(trained.waited, 1),
        "resumed_at": trained.resumed_at,
        "notes": list(trained.notes),
        "peak_memory_mb": round(memory / 2**20) if memory else None,
        "losses": [[int(step), round(float(loss), 4)] for step, loss in trained.losses],
    }


@contextmanager
def _ended_in_its_row(database: Database, job_id: int) -> Iterator[None]:
    """The job runs inside; however it ends, its row says so in one line."""
    with database.session() as session:
        jobs.start_job(session, job_id, os.getpid())
    try:
        yield
    except BaseException as error:
        cancelled = isinstance(error, Cancelled | KeyboardInterrupt)
        code = failures.INTERRUPTED if cancelled else failures.exit_code(error)
        said = (
            failures.one_line(error)
            if code is not None
            else f"an unexpected problem ({type(error).__name__})"
        )
        with (
            suppress(DatabaseError),
            database.session() as session,
        ):  # the row may have been ended by somebody else
            jobs.finish_job(
                session,
                job_id,
                "cancelled" if cancelled else "failed",
                exit_code=failures.FAILED if code is None else code,
                error=said,
            )
        raise
    with database.session() as session:
        jobs.finish_job(session, job_id, "done")
