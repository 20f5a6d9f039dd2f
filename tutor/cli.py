"""The command line: `study-tutor` and `python -m tutor`. The commands themselves are in `tutor.commands`.

Only typer and the settings are imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tutor.commands import ask, data, evaluate, feedback, ingest, quiz, serve, study, system
from tutor.commands.common import HomeOption, JsonOption, Run, VerboseOption, run_app

app = typer.Typer(
    help="A course reader with a tutor that answers from the course and checks every sentence.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (serve, ingest, ask, quiz, study, data, feedback, evaluate, system):
    group.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"study-tutor {version('study-tutor')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    home: HomeOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """A course reader with a tutor that answers from the course and checks every sentence."""
    run = context.find_object(Run)
    assert run is not None
    run.merge(home, as_json, verbose)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; no error escapes."""
    return run_app(app, "study-tutor", arguments)
