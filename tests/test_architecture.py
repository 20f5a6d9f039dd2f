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


def test_nothing_names_a_registry_host_or_a_machine() -> None:
    git = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if git.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"pypi\.(?:org|python)|pythonhosted|npmjs|deb\.debian|/root/|/opt/wheels|/farm/")
    found = []
    for name in git.stdout.split():
        path = ROOT / name
        if path == Path(__file__) or path.suffix in {".png", ".lock"} or not path.is_file():
            continue
        found += [f"{name}: {m[0]}" for m in [pattern.search(path.read_text("utf-8", errors="replace"))] if m]
    assert found == []
