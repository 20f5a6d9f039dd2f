"""The command line as a shell sees it: exit codes, one-line errors, what is imported, what Ctrl-C does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pysqlite3 import dbapi2

HEAVY = ("torch", "gradio", "transformers", "sentence_transformers", "numpy", "openai", "alembic", "fastapi")


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STUDY_TUTOR_")}
    return {**kept, "STUDY_TUTOR_BUILTIN_COURSE": "false", **changes}


def study_tutor(*arguments: str, home: Path, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tutor", *arguments],
        env=environment(STUDY_TUTOR_HOME=str(home), **env),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr of a command that failed."""
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    line, *more = done.stderr.splitlines()
    assert more == []
    assert line.startswith("study-tutor: ")
    return line


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, json; from tutor.cli import main; code = main(['--help'])\n"
        f"print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]
    assert all(name in done.stdout for name in ("serve", "ingest", "ask", "feedback", "doctor"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["quiz", "tokens"], "there is no course page 'tokens'; the course has no pages"),
        (["grade"], "Missing option '--batch'"),
        (["export", "x", "--format", "pdf"], "'pdf'"),
        (["ask"], "give either a question or --batch FILE"),
        (["ask", "why?", "--batch", "-"], "give either a question or --batch FILE"),
        (["ask", ""], "The question is empty"),
        (["search", "   "], "The question is empty"),
        (["ask", "x" * 100_000], "100,000 characters, and the limit is 2,000"),
        (["search", "x", "-k", "0"], "'-k'"),
        (["ask", "--batch", "/no/such/file"], "can't read /no/such/file"),
        (["feedback", "import", "/no/such/file"], "can't read /no/such/file"),
        (["ask", "x", "--nonsense"], "No such option"),
    ],
)
def test_bad_usage_is_exit_2_and_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = study_tutor(*arguments, home=tmp_path)
    assert (done.returncode, says in complaint(done)) == (2, True), done.stderr


def test_version_and_the_place_of_home_and_json(tmp_path: Path) -> None:
    assert study_tutor("--version", home=tmp_path).stdout.startswith("study-tutor ")
    for arguments in (["--json", "documents"], ["documents", "--json"]):
        assert json.loads(study_tutor(*arguments, home=tmp_path).stdout) == []
    other = tmp_path / "other"
    study_tutor("--home", str(tmp_path / "before"), "documents", "--home", str(other), home=tmp_path)
    assert other.is_dir()
    assert not (tmp_path / "before").exists()


def test_settings_mistakes_are_exit_2(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("pasages = 3")
    done = study_tutor("documents", home=tmp_path)
    assert done.returncode == 2
    assert "'pasages'. Did you mean passages?" in complaint(done)


def test_a_home_that_is_a_file_is_exit_1(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("mine")
    done = study_tutor("documents", home=home)
    assert done.returncode == 1
    assert f"The home {home} is a file" in complaint(done)
    assert home.read_text() == "mine"


def test_a_newer_or_damaged_database_is_exit_3_and_untouched(tmp_path: Path) -> None:
    study_tutor("documents", home=tmp_path)
    path = tmp_path / "study-tutor.sqlite3"
    connection = dbapi2.connect(str(path))
    connection.execute("UPDATE schema_revision SET version_num = '9999'")
    connection.commit()
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    before = path.read_bytes()
    done = study_tutor("documents", home=tmp_path)
    assert done.returncode == 3
    assert "newer version" in complaint(done)
    assert path.read_bytes() == before
    path.write_bytes(b"not a database" * 500)
    done = study_tutor("history", home=tmp_path)
    assert done.returncode == 3
    assert "damaged" in complaint(done)


def test_a_missing_model_folder_is_exit_1_with_a_next_step(tmp_path: Path) -> None:
    for command, setting in (("search", "embedder"), ("ask", "generator")):
        missing = {f"STUDY_TUTOR_{setting.upper()}": str(tmp_path / "nowhere")}
        done = study_tutor(command, "why?", home=tmp_path, **missing)
        assert done.returncode == 1
        assert f"setting `{setting}`" in complaint(done)


def test_serve_refuses_the_open_network_a_busy_port_and_a_second_server(tmp_path: Path) -> None:
    done = study_tutor("serve", "--host", "0.0.0.0", home=tmp_path)
    assert done.returncode == 5
    assert "no login" in complaint(done)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = study_tutor("serve", "--port", port, home=tmp_path)
        assert done.returncode == 4
        assert f"port {port} on 127.0.0.1 is in use" in complaint(done)
        done = study_tutor("serve", home=tmp_path, GRADIO_SERVER_PORT=port)
        assert done.returncode == 4
    code = (
        "import sys, pathlib; from tutor.commands.serve import home_lock\n"
        "with home_lock(pathlib.Path(sys.argv[1]), 7999): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    done = study_tutor("serve", "--port", "0", home=tmp_path)
    assert done.returncode == 4
    assert f"process {holder.pid} on port 7999" in complaint(done)
    holder.kill()  # a killed server leaves nothing locked
    holder.communicate()
    code = code.replace("sys.stdin.read()", "pass")
    again = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert again.stdout == "held\n"


def test_ctrl_c_is_exit_130(tmp_path: Path, tiny_base: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tutor", "ask", "--batch", "-"],
        env=environment(STUDY_TUTOR_HOME=str(tmp_path), STUDY_TUTOR_GENERATOR=str(tiny_base)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("not JSON\n")
    process.stdin.flush()
    assert '"error"' in process.stdout.readline()  # it has started, and waits for the next line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "study-tutor: interrupted\n")


def test_a_bug_leaves_a_number_and_a_file_but_no_traceback(tmp_path: Path) -> None:
    code = (
        "import sys, tutor.services\n"
        "def broken(*a, **k): raise ZeroDivisionError('oops')\n"
        "tutor.services.open_database = broken\n"
        "from tutor.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "documents", "--home", str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    line = complaint(done)
    kept = list((tmp_path / "logs").iterdir())
    assert len(kept) == 1
    assert str(kept[0]) in line
    assert "ZeroDivisionError: oops" in kept[0].read_text()
    for arguments, env in ((["-v", "-v"], {}), ([], {"STUDY_TUTOR_DEBUG": "1"})):
        done = subprocess.run(
            [*command, *arguments], env=environment(**env), capture_output=True, text=True, check=False
        )
        assert "Traceback" in done.stderr


def test_colour_never_reaches_a_pipe(tmp_path: Path) -> None:
    for env in ({"GITHUB_ACTIONS": "true"}, {"NO_COLOR": "1"}):
        done = study_tutor("--help", home=tmp_path, **env)
        assert "\x1b" not in done.stdout + done.stderr
    assert "\x1b" not in study_tutor("nope", home=tmp_path, GITHUB_ACTIONS="true").stderr
