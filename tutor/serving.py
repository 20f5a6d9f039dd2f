"""Which generator answers: what is served now, and the switch to another one while learners go on asking.

A switch is a row in the database, so it is found by looking: the running app looks every second and loads what is newly
served in the background. Until that is there, new turns are answered by what was served before, but for PATIENCE_S at
most; then they wait for the rest of the load. An answer that is being written keeps its generator to the end. An
adapter that can't be loaded costs nobody an answer: what was served before it answers, and `problem` says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from db.errors import DatabaseError, NotFound
from tutor.generators.protocol import GeneratorError

if TYPE_CHECKING:
    from db.registry import ServedAdapter
    from db.session import Database
    from tutor.generators.protocol import Generator
    from tutor.settings import Settings

BASE = "base"
KEPT_GENERATORS = 2  # what is served, and one to compare it with: each is a whole model in memory
POLL_S = 1.0
PATIENCE_S = 3.5  # with the poll before it, a switch is seen within 5 s
RETRY_S = 60.0  # until what couldn't be loaded is tried again

log = logging.getLogger(__name__)


class Generators:
    """Gives the generator with an adapter: None for what is served now, "base" for the bare model, or a name.

    Each is loaded once, with its first use, one at a time. Safe to share between threads.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._lock = threading.Lock()  # for what follows; never held while something is loaded
        self._loading = threading.Lock()
        self._loaded: OrderedDict[str, Generator] = OrderedDict()
        self._serving: str | None = None  # what answered last
        self._noticed: tuple[str, float] = ("", 0.0)  # what is to be served, and since when we know
        self._broken: dict[str, tuple[float, str]] = {}
        self._watcher: threading.Thread | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self.problem: str | None = None
        """Why something else answers than what was promoted: one line, None if all is well."""

    def __call__(self, name: str | None) -> Generator:
        """Raises NotFound for an adapter nobody registered, GeneratorError if the model can't be loaded."""
        if name is None:
            return self._served(wait=False)
        return self._get(None if name == BASE else find_adapter(self._database, name))

    def start(self) -> None:
        """Watch for switches from now on; returns at once."""
        self._watcher = threading.Thread(target=self._watch, name="serving", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stop.set()
        self._wake.set()

    def _served(self, *, wait: bool) -> Generator:
        """What is served now, or unless `wait` what was before while that is being loaded."""
        passed: list[str] = []  # why what was promoted can't answer
        for found in self._choices():
            key = _key(found)
            if (why := self._why_broken(key)) is not None:
                passed.append(why)
                continue
            if not wait and (before := self._before(key)) is not None:
                return before
            try:
                generator = self._get(found)
            except GeneratorError as error:
                if found is None:
                    raise
                with self._lock:
                    self._broken[key] = (time.monotonic(), str(error))
                log.warning("what was promoted can't be served: %s", error)
                passed.append(str(error))
                continue
            instead = f"the adapter {found.name}" if found else "the base model"
            with self._lock:
                self._serving = key
                self.problem = (
                    f"{passed[0]} Until another is promoted, {instead} answers." if passed else None
                )
            return generator
        raise AssertionError("the base is never passed over")

    def _before(self, key: str) -> Generator | None:
        """What answered last, while this one is being loaded and not for long; None: use this one."""
        with self._lock:
            if self._noticed[0] != key:
                self._noticed = key, time.monotonic()
            waited = time.monotonic() - self._noticed[1]
            if key in self._loaded or self._watcher is None or waited > PATIENCE_S:
                return None
            self._wake.set()
            return self._loaded.get(self._serving or "")

    def _why_broken(self, key: str) -> str | None:
        with self._lock:
            at, why = self._broken.get(key, (0.0, ""))
            if why and time.monotonic() - at > RETRY_S:
                del self._broken[key]
                return None
            return why or None

    def _choices(self) -> Iterator[ServedAdapter | None]:
        """What is to be served, then what was before it, at last the base."""
        from db import registry

        with self._database.session(readonly=True) as session:
            newest = registry.served_adapter(session)
        yield newest
        if newest is None:
            return
        with self._database.session(readonly=True) as session:
            names = registry.standing(registry.promotions(session))
            earlier = [registry.find_adapter(session, name) for name in reversed(names) if name]
        seen = {newest.name}
        for adapter in earlier:
            if adapter is not None and adapter.name not in seen:
                seen.add(adapter.name)
                yield adapter
        yield None

    def _get(self, adapter: ServedAdapter | None) -> Generator:
        key = _key(adapter)
        with self._lock:
            if key in self._loaded:
                self._loaded.move_to_end(key)
                return self._loaded[key]
        with self._loading:
            with self._lock:
                if key in self._loaded:  # another thread loaded it meanwhile
                    return self._loaded[key]
                kept = [one for one in self._loaded if one != self._serving]
                for one in kept[: max(0, len(self._loaded) + 1 - KEPT_GENERATORS)]:
                    del self._loaded[one]
            generator = load(self._settings, self._database, adapter)
            with self._lock:
                self._loaded[key] = generator
            return generator

    def _watch(self) -> None:
        told = ""
        while not self._stop.is_set():
            try:
                if self._serving is not None:  # else nobody asked yet, and the first to ask loads it
                    self._served(wait=True)
                told = ""
            except (DatabaseError, GeneratorError) as error:
                if told != str(error):
                    log.warning("looking for what is served: %s", error)
                told = str(error)
            except Exception:
                if self._stop.is_set():
                    return  # the database was closed under it
                raise
            self._wake.wait(POLL_S)
            self._wake.clear()


def load(settings: Settings, database: Database, adapter: ServedAdapter | None) -> Generator:
    """The generator with this adapter, whose files are checked first. Raises GeneratorError."""
    from db import registry
    from tutor import models
    from tutor.adapter_files import AdapterError, check_adapter

    if settings.server_url is not None:
        with database.session(readonly=True) as session:
            names = [one.name for one in registry.list_adapters(session)]
        return models.load_generator(settings, adapter, registered=names)
    if adapter is not None:
        folder = models.model_folder(settings)
        with database.session(readonly=True) as session:
            known = registry.get_adapter(session, adapter.name)
        try:
            check_adapter(
                Path(adapter.path),
                (known.manifest if known else {}) or None,
                models.base_names(settings),
                models.weights_sha256(folder, settings.models_dir),
                base=folder,
            )
        except AdapterError as error:
            raise GeneratorError(str(error)) from error
    return models.load_generator(settings, adapter)


def find_adapter(database: Database, name: str) -> ServedAdapter:
    """The adapter of this name. Raises NotFound."""
    from db import registry

    with database.session(readonly=True) as session:
        found = registry.find_adapter(session, name)
    if found is None:
        raise NotFound(f"There is no adapter {name!r}; use `base`, or see: python -m finetune list")
    return found


def _key(adapter: ServedAdapter | None) -> str:
    return BASE if adapter is None else f"{adapter.name} {adapter.sha256}"
