"""What every command shares: the global options, settings, output, and reading a batch.

`@command` gives a function the options `--home`, `--json` and `-v`, so that they work after the command as well
as before it, and hands it a `Run` first. Results are printed with `Run.emit` and `Run.say`; notes for the person at the
keyboard go to stderr with `note`.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Protocol, TypeVar

import typer
from typer.main import get_command

from tutor import failures
from tutor.settings import Settings, load_settings
from tutor.wire import InputError, Json, to_line

if TYPE_CHECKING:
    from tutor.services import Services

HomeOption = Annotated[
    Path | None, typer.Option(help="Folder for everything kept (else STUDY_TUTOR_HOME).", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", show_default=False)]
VerboseOption = Annotated[
    int, typer.Option("-v", "--verbose", count=True, help="Log more to stderr; -v -v for tracebacks.")
]

PATIENCE_SECONDS = 0.5

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(slots=True)
class Run:
    """One run of the command line: what was asked for, and where results go."""

    home: Path | None = None
    json: bool = False
    verbose: int = 0
    settings: Settings | None = field(default=None)

    def merge(self, home: Path | None, as_json: bool, verbose: int) -> None:
        """Take over global options, wherever on the line they stood; the later `--home` wins."""
        self.home = home or self.home
        self.json = self.json or as_json
        self.verbose += verbose

    def load(self, **overrides: Any) -> Settings:
        """Read the settings and prepare the process for them. Raises SettingsError."""
        self.settings = load_settings(home=self.home, **overrides)
        prepare_process(self.settings, self.verbose)
        return self.settings

    def emit(self, value: Any) -> None:
        """Print one JSON document on one line, at once."""
        print(to_line(value), flush=True)

    def say(self, text: str = "") -> None:
        """Print a line for people. Control characters of documents and models never reach the terminal."""
        print(_CONTROLS.sub("", text), flush=True)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print rows as aligned columns."""
        lines = [tuple(headings), *(tuple(_cell(cell) for cell in row) for row in rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.say("  ".join(cells).rstrip())


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Register `function(run, ...)` as a command with the global options added."""

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        signature = inspect.signature(function, eval_str=True)
        own = list(signature.parameters.values())[1:]
        shared = [
            inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
            _option("home", HomeOption, None),
            _option("as_json", JsonOption, False),
            _option("verbose", VerboseOption, 0),
        ]

        @functools.wraps(function)
        def call(
            context: typer.Context, home: Path | None, as_json: bool, verbose: int, **arguments: Any
        ) -> int | None:
            run = context.find_object(Run) or Run()
            run.merge(home, as_json, verbose)
            return function(run, **arguments)

        everything = [shared[0], *(_keyword(parameter) for parameter in own), *shared[1:]]
        call.__signature__ = signature.replace(parameters=everything)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in everything}
        del call.__wrapped__
        app.command(name)(call)
        return function

    return register


def run_app(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command line of `app`, called `name`, and return its exit code; no error escapes."""
    use_utf8()
    run = Run()
    try:
        code = get_command(app).main(args=arguments, prog_name=name, standalone_mode=False, obj=run)
    except typer.TyperException as error:  # the command line itself is wrong
        return _usage(error, name)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  nothing may reach the user as a traceback
        home = run.settings.home if run.settings else run.home
        return failures.report(error, home=home, debug=run.verbose >= 2)
    if code == failures.INTERRUPTED:  # typer turns Ctrl-C into this code
        print("study-tutor: interrupted", file=sys.stderr)
    return code or failures.DONE


def _usage(error: typer.TyperException, name: str) -> int:
    """One line for a wrong command line; the help text where nothing was given at all."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    path = context.command_path if context else name
    line = f"study-tutor: {message.rstrip('.')}. See: {path} --help"
    print(message if "\n" in message else line, file=sys.stderr)
    return error.exit_code


class Line(Protocol):
    """One line of a batch, as its reader gives it: what can't be used has an `error`."""

    @property
    def number(self) -> int: ...
    @property
    def id(self) -> Any: ...
    @property
    def error(self) -> str | None: ...


AnyLine = TypeVar("AnyLine", bound=Line)


def run_batch(
    run: Run,
    path: Path,
    answer: Callable[[AnyLine], Json],
    read: Callable[[Iterable[bytes]], Iterator[AnyLine]],
) -> int:
    """Answer every line of `path` ("-" = stdin) on stdout, in order; return the exit code.

    A line that can't be used is answered `{"id", "error"}` in its place. Errors that are not the line's own fault
    (a missing model, a damaged database) end the run. Raises InputError when there is no such file.
    """
    worst = failures.DONE
    with open_lines(path) as lines:
        for line in read(lines):
            problem = line.error
            if problem is None:
                try:
                    result = answer(line)
                except Exception as error:
                    if failures.exit_code(error) != failures.BAD_INPUT:
                        raise
                    problem = f"line {line.number}: {failures.one_line(error)}"
                else:
                    if result.get("status") == "failed" and worst == failures.DONE:
                        worst = failures.FAILED
            if problem is not None:
                worst = failures.BAD_INPUT
                result = {"id": line.id, "error": problem}
            run.emit(result)
    return worst


def one_or_batch(question: str | None, batch: Path | None) -> None:
    """Raise InputError unless exactly one of the two is given, and the file can be read."""
    if (question is None) == (batch is None):
        raise InputError("give either a question or --batch FILE")
    if batch is not None and str(batch) != "-":
        open_lines(batch).close()


def note(text: str) -> None:
    """Tell the person at the keyboard something that is not a result."""
    print(_CONTROLS.sub("", text), file=sys.stderr, flush=True)


@contextmanager
def opened_services(
    run: Run, *, with_generator: bool = True, index_course: bool = True
) -> Iterator[Services]:
    """`build_services` for the settings of this run, with a progress bar for the course, closed at the end."""
    from tutor.services import build_services

    settings = run.settings or run.load()
    with progress() as show:
        services = build_services(
            settings, with_generator=with_generator, index_course=index_course, on_progress=show
        )
    with closing(services):
        yield services


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """A callback (path, done, total) that draws a bar on stderr, if someone looks and it takes long enough."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("indexing", visible=False)
        appear = threading.Timer(PATIENCE_SECONDS, bar.update, (task,), {"visible": True})
        appear.start()
        try:
            yield lambda path, done, total: bar.update(
                task, completed=done, total=total, description=f"indexing {path[-40:]}"
            )
        finally:
            appear.cancel()


def prepare_process(settings: Settings, verbose: int = 0) -> None:
    """Logging to stderr, and no request to anywhere unless a setting names a model of the hub.

    Comes before any heavy import: these libraries read the environment when they are imported.
    """
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(
        level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True
    )
    wanted = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait slow everyone else on a small machine down
    }
    if not settings.uses_hub:
        wanted["HF_HUB_OFFLINE"] = "1"
    if not sys.stderr.isatty():
        wanted["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    if not verbose:
        wanted["TRANSFORMERS_VERBOSITY"] = "error"
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def use_utf8() -> None:
    """Make stdout and stderr write every character, whatever the terminal's encoding says."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]


def open_lines(path: Path) -> BinaryIO:
    """The lines of a file, or of stdin for "-", as bytes. Raises InputError when it can't be read."""
    if str(path) == "-":
        return sys.stdin.buffer
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None


def write_file(path: Path, data: bytes, *, force: bool = False) -> None:
    """Write a whole file or none, readable by its owner only; "-" is stdout.

    Raises InputError where the file exists already, unless `force`, or where its folder does not.
    """
    if str(path) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if path.exists() and not force:
        raise InputError(f"{path} exists already; choose another name or replace it with --force")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}; make it first")
    handle, name = tempfile.mkstemp(prefix=".study-tutor-", suffix=".part", dir=path.parent)
    partial = Path(name)  # a full disk or a kill must not leave half a file under the final name
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return " ".join(text.split())
