"""Exports as their readers see them: Anki's own file format, a CSV reader, and JSON read back into an empty home."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import tempfile
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import genanki
import pytest

from db import documents, quizzes, reviews, study
from db.documents import NewDocument
from db.portable import import_learner
from db.session import Database
from tutor.exporting import make_export

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
EVIL = '=HYPERLINK("http://x.example","a")'
FRONT = 'Is 2 < 3 & "yes"?\nSay why.'


def card(session: Any, learner: int, key: str, page: str | None, front: str, **more: Any) -> reviews.Card:
    concepts = more.pop("concepts", ("token", "byte-pair encoding"))
    origin = "question" if page else "answer"
    return reviews.put_card(
        session, learner, card_key=key, origin=origin, front=front, back=f"<b>Back</b> of {key}", page=page,
        concepts=concepts, due=NOW, at=NOW, **more,
    )  # fmt: skip


@pytest.fixture
def learner(database: Database) -> int:
    with database.session() as session:
        me = study.learner(session, "me").id
        documents.put_document(
            session,
            NewDocument(
                "course", "tokens.md", "Tokens :: and more", "text/markdown", "h", "Text.", {}, (), "e", 2
            ),
        )
        card(session, me, "tokens.md#q-1", "tokens.md", FRONT)
        card(session, me, "tokens.md#q-2", "tokens.md", "Second?", concepts=("token",))
        rest = card(session, me, "gone.md#q-1", "gone.md", "Third?", concepts=())
        reviews.suspend_card(session, me, rest.id, True)
        card(session, me, "answer#1", None, "Own?", concepts=('odd "tag"  name', "token"))
        quizzes.save_attempt(
            session, me, page="tokens.md", question_key="tokens.md#q-1", question=FRONT, reference="Yes.",
            answer=EVIL, verdict="partial", score=0.5, concepts=["token"], grader="g@1", at=NOW, seconds=12.5,
            key_points=[{"text": "Es heißt “ja”", "hit": True}],
        )  # fmt: skip
        study.record_reading(
            session, me, "tokens.md", "top", seconds=61, read=True, at=NOW - timedelta(days=1)
        )
        other = study.learner(session, "other").id
        card(session, other, "tokens.md#q-1", "tokens.md", "Not mine")
    return me


def export(database: Database, learner: int, format: str) -> Any:
    with database.session(readonly=True) as session:
        return make_export(session, learner, format, NOW)


def test_anki_reads_the_package(database: Database, learner: int, tmp_path: Path) -> None:
    made = export(database, learner, "anki")
    assert made.filename.endswith(".apkg")
    assert made.rows == {"cards": 4}
    with zipfile.ZipFile(io.BytesIO(made.data)) as archive:
        assert set(archive.namelist()) == {"collection.anki2", "media"}
        assert json.loads(archive.read("media")) == {}
        archive.extract("collection.anki2", tmp_path)
    connection = sqlite3.connect(tmp_path / "collection.anki2")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    [(models, decks)] = connection.execute("SELECT models, decks FROM col").fetchall()
    [model] = json.loads(models).values()
    assert [field["name"] for field in model["flds"]] == ["Front", "Back", "Page"]
    names = {int(number): deck["name"] for number, deck in json.loads(decks).items()}
    rows = connection.execute(
        "SELECT n.guid, n.flds, n.tags, n.mid, c.did, c.queue FROM notes n JOIN cards c ON c.nid = n.id ORDER BY n.id"
    ).fetchall()
    connection.close()
    found = {
        guid: (fields.split("\x1f"), tags, names[deck], queue) for guid, fields, tags, _, deck, queue in rows
    }
    assert found == {
        genanki.guid_for("tokens.md#q-1"): (
            ["Is 2 &lt; 3 &amp; &quot;yes&quot;?<br>Say why.", "&lt;b&gt;Back&lt;/b&gt; of tokens.md#q-1",
             "Tokens :: and more"], " token byte-pair-encoding ", "Study Tutor::Tokens : and more", 0,
        ),
        genanki.guid_for("tokens.md#q-2"): (
            ["Second?", "&lt;b&gt;Back&lt;/b&gt; of tokens.md#q-2", "Tokens :: and more"], " token ",
            "Study Tutor::Tokens : and more", 0,
        ),
        genanki.guid_for("gone.md#q-1"): (
            ["Third?", "&lt;b&gt;Back&lt;/b&gt; of gone.md#q-1", "gone.md"], "  ", "Study Tutor::gone.md", -1,
        ),
        genanki.guid_for("answer#1"): (
            ["Own?", "&lt;b&gt;Back&lt;/b&gt; of answer#1", ""], " odd-tag-name token ", "Study Tutor", 0,
        ),
    }  # fmt: skip
    assert {row[3] for row in rows} == {int(model["id"])}


def test_a_second_anki_export_is_the_same_notes(database: Database, learner: int, tmp_path: Path) -> None:
    def ids(at: datetime) -> tuple[Any, ...]:
        with database.session(readonly=True) as session:
            data = make_export(session, learner, "anki", at).data
        path = tmp_path / f"{at:%Y}.anki2"
        path.write_bytes(zipfile.ZipFile(io.BytesIO(data)).read("collection.anki2"))
        connection = sqlite3.connect(path)
        notes = sorted(connection.execute("SELECT guid, mid FROM notes"))
        decks = json.loads(connection.execute("SELECT decks FROM col").fetchone()[0])
        newest = connection.execute("SELECT max(mod) FROM notes").fetchone()[0]
        connection.close()
        return notes, set(decks), newest

    first, later = ids(NOW), ids(NOW + timedelta(days=400))
    assert first[:2] == later[:2]
    assert first[2] < later[2]  # Anki takes the newer text


def test_no_temporary_file_stays(
    database: Database, learner: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "temporary"
    empty.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(empty))
    for format in ("json", "csv", "anki"):
        export(database, learner, format)
    assert list(empty.iterdir()) == []


def test_csv_tables_are_read_back_and_run_no_formula(database: Database, learner: int) -> None:
    made = export(database, learner, "csv")
    with zipfile.ZipFile(io.BytesIO(made.data)) as archive:
        assert set(archive.namelist()) == {f"{table}.csv" for table in made.rows}
        tables = {
            name.removesuffix(".csv"): list(csv.DictReader(io.StringIO(archive.read(name).decode("utf-8"))))
            for name in archive.namelist()
        }
        assert archive.read("reviews.csv").decode().startswith("id,card_id,")  # no row, but its header
    assert {table: len(rows) for table, rows in tables.items()} == made.rows
    [attempt] = tables["attempts"]
    assert attempt["answer"] == "'" + EVIL
    assert attempt["question"] == FRONT
    assert (attempt["score"], attempt["seconds"]) == ("0.5", "12.5")
    assert json.loads(attempt["key_points"]) == [{"text": "Es heißt “ja”", "hit": True}]
    assert [row["suspended"] for row in tables["cards"]] == ["false", "false", "true", "false"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r\n=1", "＝1+1"])
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    from tutor.exporting import as_csv

    everything = {"cards": [{"id": -1, "front": text, "back": "1 = 1"}]}
    data = zipfile.ZipFile(io.BytesIO(as_csv(everything, {"cards": ["id"]}, NOW))).read("cards.csv").decode()
    [row] = csv.DictReader(io.StringIO(data, newline=""))
    assert row == {"id": "-1", "front": f"'{text}", "back": "1 = 1"}


def test_json_restores_everything(database: Database, learner: int, tmp_path: Path) -> None:
    made = export(database, learner, "json")
    everything = json.loads(made.data)
    assert (everything["format"], everything["version"], everything["learner"]) == ("study-tutor", 1, "me")
    assert made.rows["cards"] == len(everything["cards"]) == 4
    second = Database.open(tmp_path / "second.sqlite3")
    with second.session() as session:
        added = import_learner(session, study.learner(session, "me").id, everything)
    assert added == made.rows
    with second.session(readonly=True) as session:
        again = make_export(session, study.learner(session, "me").id, "json", NOW)
    second.close()
    assert again.data == made.data


def test_an_unknown_format_is_refused(database: Database, learner: int) -> None:
    with pytest.raises(ValueError, match="json, csv, anki, not 'pdf'"):
        export(database, learner, "pdf")
