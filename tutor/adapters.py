"""What serving does with adapters besides loading them: the one that comes with the program; are all of them sound?"""

from __future__ import annotations

import json
import logging
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutor.adapter_files import MANIFEST, folder_problem
from tutor.generators.files import ADAPTER_WEIGHTS
from tutor.settings import SHIPPED_GENERATOR, Settings

if TYPE_CHECKING:
    from db.session import Database

SHIPPED_REASON = "comes with the program"
REPORT = "report.json"

log = logging.getLogger(__name__)


def shipped_adapters() -> list[Path]:
    """The folders of the adapters in this package, the newest name last."""
    folder = Path(str(files("tutor"))) / "adapters"
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))


def register_shipped(settings: Settings, database: Database) -> None:
    """Register what comes with the program, and serve it in a home where nothing was ever promoted.

    Only for the shipped base, and never twice: who rolled back to the base stays there. Where the program was moved,
    the registered path follows. An adapter that is damaged is left out: the base alone answers then.
    """
    from db import registry

    found = shipped_adapters()
    if not found or settings.server_url is not None or settings.generator != SHIPPED_GENERATOR:
        return
    for folder in found:
        try:
            manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
            sha256 = str(manifest["files"][ADAPTER_WEIGHTS])
            report = _report(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the shipped adapter %s was left out: %s", folder.name, error)
            continue
        with database.session(readonly=True) as session:
            known = registry.get_adapter(session, folder.name)
        if known is None:
            if problem := folder_problem(folder, manifest):
                log.warning("the shipped adapter was left out: %s", problem)
                continue
            with database.session() as session:
                registry.offer_adapter(
                    session,
                    name=folder.name,
                    path=str(folder),
                    base_model=SHIPPED_GENERATOR,
                    sha256=sha256,
                    manifest=manifest,
                    report=report,
                    reason=SHIPPED_REASON,
                )
        elif known.sha256 == sha256 and known.path != str(folder) and not Path(known.path).is_dir():
            with database.session() as session:
                registry.set_path(session, folder.name, str(folder))


def adapter_problems(database: Database) -> list[str]:
    """One line for each registered adapter whose files are not what was registered."""
    from db import registry

    with database.session(readonly=True) as session:
        adapters = registry.list_adapters(session)
    found = [folder_problem(Path(one.path), one.manifest, one.sha256) for one in adapters]
    return [problem for problem in found if problem]


def _report(folder: Path) -> dict[str, Any]:
    path = folder / REPORT
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
