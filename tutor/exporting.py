"""A learner's data as a file to keep: JSON (restores everything), CSV for spreadsheets, an Anki package of the cards.

Values in, bytes out; nothing touches the disk or the network. What belongs to a learner is `db.portable`'s; this is
the only home of genanki.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

DECK = "Study Tutor"
MODEL_ID = 1_607_392_811
"""The note type's id. It must never change: Anki recognises by it what it imported before."""

FIELDS = ("Front", "Back", "Page")

_NAMES = {
    "json": ("study-tutor.json", "application/json"),
    "csv": ("study-tutor-csv.zip", "application/zip"),
    "anki": ("study-tutor.apkg", "application/octet-stream"),
}
FORMATS = tuple(_NAMES)

# What a spreadsheet takes for a formula, with the full-width forms that some programs read as the same.
_FORMULA = re.compile(r"\s*[=+\-@\t\r\n＝＋－＠]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NOT_IN_TAGS = re.compile(r"[\s\"]+")

_CSS = ".card { font-family: sans-serif; font-size: 20px; text-align: left; } .page { color: #777; font-size: 14px; }"
_BACK = '{{FrontSide}}<hr id="answer">{{Back}}<p class="page">{{Page}}</p>'


@dataclass(frozen=True, slots=True)
class Export:
    """A finished export. `rows` counts what is in it, by table."""

    filename: str
    media_type: str
    data: bytes
    rows: dict[str, int]

    @property
    def is_text(self) -> bool:
        """Whether `data` is UTF-8 text."""
        return self.media_type == "application/json"


def make_export(session: Session, learner_id: int, format: str, at: datetime) -> Export:
    """Everything of a learner as one file; `at` dates it. Raises ValueError for an unknown format."""
    from db.documents import list_documents
    from db.portable import export_learner
    from db.portable_fields import TABLES

    if format not in _NAMES:
        raise ValueError(f"the format is one of {', '.join(FORMATS)}, not {format!r}")
    everything = export_learner(session, learner_id)
    rows = {table: len(found) for table, found in everything.items() if isinstance(found, list)}
    if format == "json":
        data = as_json(everything)
    elif format == "csv":
        columns = {table.name: [column.name for column in table.columns] for table in TABLES}
        data = as_csv(everything, columns, at)
    else:
        titles = {document.path: document.title for document in list_documents(session)}
        data = as_anki(everything["cards"], titles, at)
        rows = {"cards": rows["cards"]}
    return Export(*_NAMES[format], data, rows)


def as_json(everything: Mapping[str, Any]) -> bytes:
    """The export as JSON that `import` reads."""
    return (json.dumps(everything, ensure_ascii=False, indent=1) + "\n").encode()


def as_csv(everything: Mapping[str, Any], columns: Mapping[str, Sequence[str]], at: datetime) -> bytes:
    """A zip of one UTF-8 CSV for each table of `columns`; lists and objects inside a cell are JSON.

    Text that a spreadsheet would run as a formula gets an apostrophe in front, so it can't be read back exactly: for
    that there is JSON.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for table, names in columns.items():
            _pack(archive, f"{table}.csv", _table(names, everything[table]).encode(), at)
    return packed.getvalue()


def as_anki(cards: Sequence[Mapping[str, Any]], titles: Mapping[str, str], at: datetime) -> bytes:
    """An Anki package of the cards, a subdeck for each page. Importing a later export again updates the same notes.

    `titles` names the pages by path; a page that is no longer in the course goes by its path. What a learner
    suspended stays suspended; the memory of a card stays here, because Anki keeps its own.
    """
    import sqlite3

    import genanki

    model = genanki.Model(
        MODEL_ID,
        DECK,
        fields=[{"name": name} for name in FIELDS],
        templates=[{"name": "Card", "qfmt": "{{Front}}", "afmt": _BACK}],
        css=_CSS,
    )
    decks = {DECK: genanki.Deck(_deck_id(DECK), DECK)}
    for card in cards:
        page = card.get("page")
        title = titles.get(page, page) if page else ""
        part = _deck_part(title or "")
        name = f"{DECK}::{part}" if part else DECK
        if name not in decks:
            decks[name] = genanki.Deck(_deck_id(name), name)
        note = genanki.Note(
            model,
            [_field(card["front"]), _field(card["back"]), _field(title)],
            tags=list(dict.fromkeys(filter(None, map(_tag, card["concepts"])))),
            guid=genanki.guid_for(card["card_key"]),
        )
        for made in note.cards:
            made.suspend = bool(card.get("suspended"))
        decks[name].add_note(note)

    # Not `write_to_file`: it leaves a temporary file behind. An Anki package is a zip of an SQLite file; this one
    # is never on the disk, and has nothing to do with our own database.
    connection = sqlite3.connect(":memory:")
    try:
        ids = iter(range(int(at.timestamp() * 1000), 2**62))
        package = genanki.Package(list(decks.values()))
        package.write_to_db(connection.cursor(), at.timestamp(), ids)
        connection.commit()
        collection = connection.serialize()
    finally:
        connection.close()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        _pack(archive, "collection.anki2", collection, at)
        _pack(archive, "media", b"{}", at)
    return packed.getvalue()


def _pack(archive: zipfile.ZipFile, name: str, data: bytes, at: datetime) -> None:
    info = zipfile.ZipInfo(name, max(at.timetuple()[:6], (1980, 1, 1, 0, 0, 0)))  # the oldest a zip can say
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


def _table(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys([*names, *(name for row in rows for name in row)]))
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return written.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _field(text: str) -> str:
    """Plain text as the HTML of an Anki field. Control characters would end the field."""
    return html.escape(_CONTROLS.sub("", text)).replace("\n", "<br>")


def _tag(concept: str) -> str:
    return _NOT_IN_TAGS.sub("-", _CONTROLS.sub("", concept).strip())


def _deck_part(title: str) -> str:
    return _CONTROLS.sub("", title).replace("::", ":").replace('"', "'").strip()


def _deck_id(name: str) -> int:
    """The same for the same name, in the range genanki asks for."""
    return (1 << 30) + int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % (1 << 30)
