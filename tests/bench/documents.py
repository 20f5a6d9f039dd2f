"""Real documents that nobody here wrote: `python -m tests.bench documents [--home DIR] [--answers]`.

Fetches Debian's git-doc and postgresql-doc-15 (1,410 HTML pages), ingests them into a home of their own as a teacher
would, and measures search and answers on the labelled questions about them (`tests/data/real_questions.jsonl`). With
`--home` the index is kept, and a second run measures only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

PACKAGES = {"git-doc": "usr/share/doc/git-doc", "postgresql-doc-15": "usr/share/doc/postgresql-doc-15/html"}
QUESTIONS = Path(__file__).parents[1] / "data" / "real_questions.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Fetch, ingest, measure. Returns the exit code of the first step that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench documents", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--home", type=Path, help="keep the index there; a temporary folder otherwise")
    parser.add_argument("--answers", action="store_true", help="measure whole answers too (many minutes)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        home = options.home or Path(temporary) / "home"
        pages = home / "pages"
        for package, inside in PACKAGES.items():
            if not (pages / package).is_dir():
                fetch(package, inside, pages / package)
        commands = [["ingest", str(pages / package)] for package in PACKAGES]
        commands.append(["eval", "retrieval", str(QUESTIONS)])
        if options.answers:
            commands.append(["eval", "answers", str(QUESTIONS)])
        environment = {**os.environ, "STUDY_TUTOR_BUILTIN_COURSE": "false", "OMP_WAIT_POLICY": "PASSIVE"}
        for command in commands:
            done = subprocess.run(
                [sys.executable, "-m", "tutor", "--home", str(home), *command], env=environment, check=False
            )
            if done.returncode:
                return done.returncode
    return 0


def fetch(package: str, inside: str, folder: Path) -> None:
    """Put the HTML pages of a Debian package into `folder`; nothing is installed. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(["apt-get", "-qq", "download", package], cwd=temporary, check=True)
        (archive,) = Path(temporary).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(archive), temporary], check=True)
        for page in sorted((Path(temporary) / inside).rglob("*.html")):
            if not page.is_symlink():  # git-doc's index.html is its git.html
                place = folder / page.relative_to(Path(temporary) / inside)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(page.read_bytes())
