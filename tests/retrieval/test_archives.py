"""Zip archives: members as documents, names that lead nowhere, bombs, and what a second ingest costs."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db import documents
from db.session import Database
from retrieval import archives
from retrieval.ingest import IngestReport, ingest_paths
from retrieval.loaders import LoadError


def packed(*members: tuple[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def stored(database: Database) -> dict[str, documents.StoredDocument]:
    with database.session(readonly=True) as session:
        return {d.path: d for d in documents.list_documents(session, with_text=True)}


@pytest.fixture
def course(tmp_path: Path) -> Path:
    made = tmp_path / "course"
    made.mkdir()
    (made / "note.md").write_text("# Note\n\nOn disk.")
    (made / "b.zip").write_bytes(
        packed(
            ("one.md", "# One\n\nFirst."), ("deep/two.html", "<p>Second.</p>"), ("deep/", ""), ("p.png", "x")
        )
    )
    return made


def test_members_are_documents_and_unchanged_ones_cost_nothing(
    database: Database, fake_embedder: Any, course: Path
) -> None:
    names = ("b.zip/deep/two.html", "b.zip/one.md", "note.md")
    assert ingest_paths(database, fake_embedder, [course]) == IngestReport(added=names)
    found = stored(database)
    assert [(d.title, d.media_type, d.source) for d in found.values()] == [
        ("two", "text/html", str(course)), ("One", "text/markdown", str(course)), ("Note", "text/markdown", str(course))
    ]  # fmt: skip
    fake_embedder.calls.clear()
    (course / "b.zip").write_bytes(packed(("one.md", "# One\n\nFirst."), ("deep/two.html", "<p>Other.</p>")))
    report = ingest_paths(database, fake_embedder, [course], prune=True)
    assert report == IngestReport(changed=names[:1], unchanged=names[1:])
    assert len(fake_embedder.calls) == 1
    assert stored(database)["b.zip/one.md"].id == found["b.zip/one.md"].id


def test_pruning_follows_members_archives_and_single_archives(
    database: Database, fake_embedder: Any, course: Path
) -> None:
    ingest_paths(database, fake_embedder, [course])
    (course / "b.zip").write_bytes(packed(("one.md", "# One\n\nFirst.")))
    assert ingest_paths(database, fake_embedder, [course]).removed == ()
    (course / "note.md").unlink()
    alone = ingest_paths(database, fake_embedder, [course / "b.zip"], prune=True)
    assert alone == IngestReport(unchanged=("b.zip/one.md",), removed=("b.zip/deep/two.html",))
    assert stored(database).keys() == {"b.zip/one.md", "note.md"}
    (course / "b.zip").write_bytes(b"PK\x03\x04 no longer whole")
    broken = ingest_paths(database, fake_embedder, [course], prune=True)
    assert broken.removed == ("note.md",)
    assert broken.rejected[0][0] == "b.zip"
    (course / "b.zip").unlink()
    assert ingest_paths(database, fake_embedder, [course], prune=True).removed == ("b.zip/one.md",)


def with_bits(data: bytes, bits: int) -> bytes:
    """The archive with these general purpose flags set on its only member."""
    at, directory = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    out = bytearray(data)
    out[at + 6 : at + 8] = struct.pack("<H", bits)
    out[directory + 8 : directory + 10] = struct.pack("<H", bits)
    return bytes(out)


def link(name: str, target: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
        archive.writestr("good.md", "Good.")
    return out.getvalue()


def test_each_member_is_read_or_refused_on_its_own(
    database: Database, fake_embedder: Any, tmp_path: Path
) -> None:
    long, nul = "x" * 300 + ".md", "a\0b.md"
    data = packed(
        ("../../up.md", "Text."),
        ("/etc/absolute.md", "Absolute."),
        ("C:\\docs\\windows.md", "Windows."),
        ("./dot/./same.md", "Same."),
        ("dot/same.md", "Twice."),
        (long, "Long."),
        ("line\nbreak.md", "Line."),
        ("right\u202eto.md", "Direction."),
        ("NUL?.md", "Zero."),
        ("empty.txt", ""),
        ("binary.txt", b"\0\1\2"),
        ("inner.zip", packed(("a.md", "x"))),
        ("bomb.txt", b"a " * 2_000_000),
        ("noise.txt", bytes(range(32, 127)) * 500),
        ("sheet.xlsx", "x"),
        ("Größe.md", "Size."),
        ("__MACOSX/._one.md", "x"),
        (".hidden/a.md", "x"),
        ("style.css", "p {}"),
    ).replace(b"NUL?.md", b"NUL\0.md")
    (tmp_path / "a.zip").write_bytes(data)
    report = ingest_paths(database, fake_embedder, [tmp_path / "a.zip"])
    assert report.added == (
        "a.zip/Größe.md", "a.zip/docs/windows.md", "a.zip/dot/same.md", "a.zip/etc/absolute.md", "a.zip/noise.txt"
    )  # fmt: skip
    assert stored(database)["a.zip/dot/same.md"].text == "Same."
    reasons = dict(report.rejected)
    wanted = {
        "a.zip/../../up.md": "leads out of the archive",
        "a.zip/dot/same.md": "twice",
        "a.zip/line\ufffdbreak.md": "can't be stored",
        "a.zip/right\ufffdto.md": "can't be stored",
        "a.zip/NUL\ufffd.md": "can't be stored",
        "a.zip/empty.txt": "empty",
        "a.zip/binary.txt": "binary",
        "a.zip/inner.zip": "archives inside archives",
        "a.zip/bomb.txt": "100 times its size",
        "a.zip/sheet.xlsx": "not supported",
    }
    assert {path: why for path, why in wanted.items() if why not in reasons.get(path, "")} == {}
    assert [why for path, why in report.rejected if path.startswith("a.zip/xxx")] == [
        "its name is longer than 255 bytes; rename it"
    ]
    assert len(report.rejected) == len(wanted) + 1
    assert nul not in "".join(stored(database))
    assert not list(tmp_path.glob("**/*.md"))  # nothing was unpacked anywhere


def test_links_in_archives_are_skipped(database: Database, fake_embedder: Any, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(link("passwd.md", "/etc/passwd"))
    assert ingest_paths(database, fake_embedder, [tmp_path / "a.zip"]) == IngestReport(
        added=("a.zip/good.md",)
    )


def test_names_in_utf8_that_do_not_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(with_bits(packed(("Größe.md", "x")), 0))
    with archives.opened("a.zip", tmp_path / "a.zip") as archive:
        assert [member.label for member in archive.members] == ["a.zip/Größe.md"]


ONE = packed(("a.md", "Some text. " * 50))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (with_bits(ONE, 1), "protected by a password"),
        (packed(("a.md", "x" * 900), method=zipfile.ZIP_LZMA), "ordinary compression"),
        (ONE.replace(ONE[36:50], bytes(14), 1), "damaged in the archive"),
        (packed(("a.md", b" " * (51 * 1024 * 1024)), method=zipfile.ZIP_STORED), r"too large \(51 MB"),
    ],
)
def test_a_member_that_cannot_be_read(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with archives.opened("a.zip", tmp_path / "a.zip") as archive, pytest.raises(LoadError, match=reason):
        archive.members[0].read()


def many(count: int) -> bytes:
    return packed(*((f"{n}.md", "") for n in range(count)), method=zipfile.ZIP_STORED)


def overlapping() -> bytes:
    """A directory that names the same megabyte four hundred times."""
    data = packed(("00.txt", bytes(range(32, 127)) * 10_000))
    directory, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = data[directory:end]
    entries = b"".join(entry.replace(b"00.txt", b"%02x.txt" % (n % 256)) for n in range(400))
    tail = bytearray(data[end:])
    tail[8:16] = struct.pack("<HHI", 400, 400, len(entries))
    return data[:directory] + entries + bytes(tail)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: b"", "the file is empty"),
        (lambda: b"Just text.", "not a zip archive"),
        (lambda: b"%PDF-1.4 x", r"it is a PDF file; rename it to \.pdf"),
        (lambda: packed(("word/document.xml", "x")), r"it is a Word document; rename it to \.docx"),
        (lambda: ONE[:-30], "damaged: "),
        (lambda: many(10_001), "more than 10,000 members; split it"),
        (overlapping, "its members overlap: it looks like a bomb"),
    ],
)
def test_an_archive_that_is_refused_whole(make: Callable[[], bytes], reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(make())
    with pytest.raises(LoadError, match=reason) as caught, archives.opened("a.zip", tmp_path / "a.zip"):
        pass
    assert "\n" not in str(caught.value)


def test_an_archive_may_unpack_to_so_much_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED", 100_000)
    (tmp_path / "a.zip").write_bytes(packed(*((f"{n}.txt", bytes(range(32, 127)) * 500) for n in range(3))))
    with (
        pytest.raises(LoadError, match="more than 0 MB; split it"),
        archives.opened("a.zip", tmp_path / "a.zip"),
    ):
        pass


def test_an_error_while_the_archive_is_open_stays_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(ONE)
    with pytest.raises(OSError, match="disk full"), archives.opened("a.zip", tmp_path / "a.zip"):
        raise OSError("disk full")
