"""The house stands as the README says: its tree names every file, and set-up names no host and no machine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("db", "retrieval", "tutor", "finetune")


def tree_of_readme() -> dict[str, str]:
    """Path -> what it is for, from the README's code block that starts with `db/`."""
    block = re.search(r"^```text\n(db/.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.S | re.M)
    assert block, "the README has no tree"
    paths: dict[str, str] = {}
    folders: list[str] = []
    for line in block[1].splitlines():
        name, _, purpose = line.strip().partition("  ")
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], name]
        for part in name.split(", "):
            paths["".join(folders[:-1]) + part] = purpose.strip()
    return paths


def tracked_modules() -> set[str]:
    files = {p.relative_to(ROOT).as_posix() for package in PACKAGES for p in (ROOT / package).rglob("*.py")}
    return {f for f in files if not f.endswith("__init__.py") and "/versions/" not in f}


def test_the_readmes_tree_names_every_module_and_nothing_else() -> None:
    tree = tree_of_readme()
    named = {path for path in tree if path.endswith(".py")}
    assert named == tracked_modules()
    assert all((ROOT / path).exists() for path in tree)
    assert [path for path, purpose in tree.items() if not purpose] == []


def test_no_module_grows_past_one_idea() -> None:
    long = {f: n for f in tracked_modules() if (n := len((ROOT / f).read_text("utf-8").splitlines())) > 450}
    assert long == {}


def test_set_up_names_no_host() -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock", ".ci/run"):
        text = (ROOT / name).read_text("utf-8").replace("http://127.0.0.1", "")
        assert re.findall(r"\w+://|--(?:extra-)?index-url", text) == [], name


def test_no_file_names_the_machine_it_was_written_on() -> None:
    git = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if git.returncode:
        pytest.skip("not a git checkout")
    places = [place for place in (str(ROOT), str(Path.home())) if len(place) > 3]
    texts = {
        name: (ROOT / name).read_text("utf-8", errors="replace")
        for name in git.stdout.split()
        if (ROOT / name).is_file()
    }
    assert [(name, place) for name, text in texts.items() for place in places if f"{place}/" in text] == []
