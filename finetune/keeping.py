"""What a job leaves on the disk: its own folder, from which it goes on, and the adapter's, which is whole or not there.

`<home>/jobs/<id>/` holds `dataset.json` (which snapshot), the trainer's checkpoint and adapter, `trained.json` and
`report.json`. `<home>/adapters/<name>/` is what gets registered.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutor.failures import BusyError
from tutor.whole_files import flush, read_json, write_json

if TYPE_CHECKING:
    from db.registry import Adapter
    from db.session import Database

ADAPTER, CHECKPOINT = "adapter", "checkpoint"
_PACKAGES = ("study-tutor", "torch", "transformers", "peft", "trl", "accelerate", "safetensors")


@contextmanager
def one_job_a_home(home: Path) -> Iterator[None]:
    """Hold what only one job of a home may hold; the system lets go of it when the process ends, however it ends.

    Raises BusyError.
    """
    from filelock import FileLock, Timeout

    folder = home / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / "finetune.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError("another fine-tune job runs in this home; wait for it, or see: list") from None
    try:
        yield
    finally:
        lock.release()


class Kept:
    """The folder of one job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.adapter = folder / ADAPTER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def read(self, name: str) -> dict[str, Any]:
        """What was written under this name; {} where there is nothing that can be read."""
        return read_json(self.folder / f"{name}.json")

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Raises OSError; a killed process leaves the old value or the new."""
        write_json(self.folder / f"{name}.json", value)

    def adapter_sha256(self) -> str:
        """The fingerprint of the new adapter's weights file. Raises OSError."""
        from finetune.adapters import weights_file_sha256

        return weights_file_sha256(self.adapter)

    def adapter_is(self, sha256: str) -> bool:
        """Whether the adapter with this fingerprint lies here."""
        try:
            return self.adapter_sha256() == sha256
        except OSError:
            return False

    def sound_dataset(self, database: Database) -> Path | None:
        """The snapshot this job began with, if it is still there and nothing in it was taken back."""
        from db import registry

        known = self.read("dataset")
        with database.session(readonly=True) as session:
            rows = {row.id: row for row in registry.list_datasets(session)} if known else {}
        row = rows.get(known.get("id", 0))
        folder = Path(known.get("path", ""))
        return (
            folder
            if row and row.sha256 == known["sha256"] and not row.withdrawn and folder.is_dir()
            else None
        )

    def publish(
        self,
        final: Path,
        texts: Mapping[str, str],
        *,
        base: Path,
        base_names: Sequence[str],
        base_sha256: str,
        dataset_sha256: str,
        config: Mapping[str, Any],
        report: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Put the adapter and these texts into the folder `final`, checked; its manifest.

        `final` must not belong to a registered adapter. Raises AdapterError, OSError.
        """
        from finetune.adapters import check_adapter, config_sha256, tokenizer_sha256, write_manifest

        part = final.with_name(f".{final.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            part.mkdir()
            for file in self.adapter.iterdir():
                if file.is_file():
                    shutil.copyfile(file, part / file.name)
            for name, text in texts.items():
                (part / name).write_text(text, encoding="utf-8")
            manifest = write_manifest(
                part,
                base_name=base_names[0],
                base_sha256=base_sha256,
                base_config_sha256=config_sha256(base),
                tokenizer_sha256=tokenizer_sha256(base),
                dataset_sha256=dataset_sha256,
                config=config,
                versions=versions(),
                report=report,
            )
            check_adapter(part, manifest, base_names, base_sha256, base=base)
            for file in part.iterdir():
                flush(file)
            shutil.rmtree(final, ignore_errors=True)  # of this job, killed before its adapter was registered
            part.rename(final)
            flush(final.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return manifest

    def tidy(self) -> None:
        """Let go of what only an unfinished job needs."""
        for name in (ADAPTER, CHECKPOINT):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def registered_by(database: Database, job_id: int) -> Adapter | None:
    """The adapter that this job registered, if it came so far."""
    from db import registry

    with database.session(readonly=True) as session:
        return next((a for a in registry.list_adapters(session) if a.job_id == job_id), None)


def versions() -> dict[str, str]:
    """What the weights and the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
