"""Names that strangers give their files and collections become safe paths."""

from __future__ import annotations

import pytest

from tutor.material_names import MAX_PART, Refused, clean_collection, clean_path, collection_id, file_of


@pytest.mark.parametrize(
    ("sent", "cleaned"),
    [
        ("notes.md", "notes.md"),
        ("../../etc/notes.md", "etc/notes.md"),
        ("/etc/notes.md", "etc/notes.md"),
        ("C:\\Users\\me\\notes.md", "Users/me/notes.md"),
        ("..\\..\\notes.md", "notes.md"),
        ("a/./b//../c.md", "a/b/c.md"),
        ("no\x00tes\n.md", "notes.md"),
        ("evil\u202edm.exe.md", "evildm.exe.md"),
        ("non\u00a0breaking.md", "non breaking.md"),
        ("Cafe\u0301.md", "Caf\u00e9.md"),
        ("dots. . .", "dots"),
        ("week.zip/notes.md", "week.zip_/notes.md"),
        ("<img src=x onerror=alert(1)>.md", "<img src=x onerror=alert(1)>.md"),
        ("lone\ud800.md", "lone?.md"),
    ],
)
def test_a_name_becomes_a_safe_path_that_looks_the_same(sent: str, cleaned: str) -> None:
    assert clean_path(sent) == cleaned
    assert clean_path(cleaned) in (cleaned, cleaned.replace("zip_/", "zip_/"))


@pytest.mark.parametrize(
    "sent", ["", "   ", "..", "../..", "/", "\x00", ".env", ".git/config", "a/.hidden/b.md"]
)
def test_names_that_are_none_and_hidden_files_are_refused(sent: str) -> None:
    with pytest.raises(Refused):
        clean_path(sent)


def test_long_names_are_cut_and_stay_two_files() -> None:
    one, other = clean_path("é" * 300 + "1.pdf"), clean_path("é" * 300 + "2.pdf")
    assert one != other
    for name in (one, other):
        assert name.endswith(".pdf")
        assert len(name.encode()) <= MAX_PART
    with pytest.raises(Refused, match="too deep"):
        clean_path("/".join(["folder" * 20] * 20) + "/a.md")


def test_a_collection_has_one_folder_whatever_the_case_of_its_name() -> None:
    assert clean_collection("  \u202e Bio\n logy  ") == "Bio logy"
    assert clean_collection("\x00") == "My material"
    assert collection_id("Biology") == collection_id("BIOLOGY") != collection_id("Biology 2")
    assert collection_id("../..").startswith("collection-")
    assert collection_id("生物学") != collection_id("化学")
    with pytest.raises(Refused, match="80 characters"):
        clean_collection("x" * 81)
    assert [file_of(p) for p in ("a/b.zip/c/d.md", "a/b.zip", "a/b.md")] == ["a/b.zip", "a/b.zip", "a/b.md"]
