"""The command line: `study-tutor` and `python -m tutor`. The commands themselves are in `tutor.commands`.

Only typer and the settings are imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from tutor import failures
from tutor.commands import ask, feedback, ingest, serve, study, system
from tutor.commands.common import HomeOption, JsonOption, Run, VerboseOption, use_utf8

app = typer.Typer(
    help="A course reader with a tutor that answers from the course and checks every sentence.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (serve, ingest, ask, study, feedback, system):
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
    use_utf8()
    run = Run()
    try:
        code = get_command(app).main(args=arguments, prog_name="study-tutor", standalone_mode=False, obj=run)
    except typer.TyperException as error:  # the command line itself is wrong
        return _usage(error)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  nothing may reach the user as a traceback
        home = run.settings.home if run.settings else run.home
        return failures.report(error, home=home, debug=run.verbose >= 2)
    if code == failures.INTERRUPTED:  # typer turns Ctrl-C into this code
        print("study-tutor: interrupted", file=sys.stderr)
    return code or failures.DONE


def _usage(error: typer.TyperException) -> int:
    """One line for a wrong command line; the help text where nothing was given at all."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "study-tutor"
    line = f"study-tutor: {message.rstrip('.')}. See: {path} --help"
    print(message if "\n" in message else line, file=sys.stderr)
    return error.exit_code
