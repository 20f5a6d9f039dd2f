"""The Material page: its frame as HTML, and what its script draws from, as JSON. Values in, values out.

The script writes every name as text, never as HTML. What a value is called in words is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from db.documents import StoredDocument
from retrieval.files import MAX_BYTES
from retrieval.loaders import SUPPORTED_SUFFIXES
from tutor.material import Collection, Deletion, StoredFile
from tutor.material_names import DEFAULT_COLLECTION, MAX_COLLECTION
from tutor.ui.markup import count, day, esc, reader_url, when

Json = dict[str, Any]
_FORMATS = {
    ".md": "Markdown",
    ".markdown": "Markdown",
    ".txt": "Text",
    ".text": "Text",
    ".html": "HTML",
    ".htm": "HTML",
    ".xhtml": "HTML",
    ".pdf": "PDF",
    ".docx": "Word",
    ".epub": "EPUB",
    ".ipynb": "Notebook",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".zip": "Zip",
}
_NOTES = {
    "own": "",
    "watched": "Kept in step with a folder on this machine: change it there.",
    "folder": "Read from a folder on this machine. Deleting here leaves the files where they are.",
    "course": "Comes with the program and can’t be changed here.",
}
_MARKS = {"own": "", "watched": "Watched folder", "folder": "Folder", "course": "Read only"}


def page() -> str:
    """The page as it is before its script has fetched what is indexed."""
    megabytes = MAX_BYTES // 1024**2
    accepted = ",".join(SUPPORTED_SUFFIXES)
    return (
        '<div class="page" id="main" tabindex="-1" data-title="Material"><article class="sheet wide material">'
        '<h1>Material</h1><p class="meta">Add documents, and the tutor answers from them at once. They stay on this '
        "machine.</p>"
        '<form class="add" id="add"><div class="drop" id="drop"><p class="drop-title">Drop files or folders here</p>'
        '<p class="drop-buttons"><button type="button" class="button" data-do="files" aria-describedby="accepted">'
        'Choose files</button><button type="button" class="button quiet" data-do="folder" '
        'aria-describedby="accepted" hidden>Choose a folder</button></p>'
        '<p class="hint" id="accepted">Markdown, text, HTML, PDF, Word (.docx), EPUB, notebooks, CSV, and zips of '
        f"them; up to {megabytes} MB a file</p></div>"
        '<div class="into"><label for="collection">Collection</label>'
        f'<input class="field" id="collection" list="collection-names" value="{esc(DEFAULT_COLLECTION)}" '
        f'maxlength="{MAX_COLLECTION}" autocomplete="off" aria-describedby="collection-hint">'
        '<datalist id="collection-names"></datalist>'
        '<p class="hint" id="collection-hint">Give each course a collection of its own.</p></div>'
        f'<input type="file" id="files" multiple hidden accept="{esc(accepted)}" data-most="{MAX_BYTES}">'
        '<input type="file" id="folder" multiple hidden webkitdirectory></form>'
        '<section id="uploads" aria-labelledby="uploads-title" hidden><div class="uploads-head">'
        '<h2 id="uploads-title">Adding</h2><button type="button" class="text-button" data-do="clear" hidden>'
        'Clear list</button></div><ul class="rows" id="upload-rows"></ul></section>'
        '<p class="visually-hidden" role="status" aria-live="polite" id="told"></p>'
        '<section id="indexed" aria-labelledby="indexed-title"><h2 id="indexed-title">What the tutor reads</h2>'
        '<p class="filter" hidden><label for="filter">Filter</label><input class="field" type="search" id="filter" '
        'autocomplete="off" placeholder="Title or file name"></p>'
        '<div id="collections"><p class="hint">Loading…</p></div><div id="trash"></div></section></article></div>'
    )


def listing(
    collections: Sequence[Collection], deletions: Sequence[Deletion], now: datetime | None = None
) -> Json:
    """What is indexed and what can be undone, in the order in which it is shown."""
    return {
        "collections": [_collection(collection, now) for collection in collections],
        "deleted": [
            {
                "id": deletion.id,
                "name": deletion.title,
                "from": deletion.collection if deletion.file else "",
                "what": _took(deletion.file, deletion.documents),
                "when": when(datetime.fromisoformat(deletion.at), now=now),
            }
            for deletion in deletions
        ],
    }


def deleted(found: Mapping[str, Any]) -> Json:
    """What a deletion is told."""
    return {"deletion": found["deletion"], "told": f"“{found['name']}” is deleted."}


def restored(found: Mapping[str, Any]) -> Json:
    """What an undo is told."""
    return {"source": found["source"], "file": found["file"], "told": f"“{found['name']}” is back."}


def _collection(collection: Collection, now: datetime | None) -> Json:
    passages = sum(d.chunk_count for file in collection.files for d in file.documents)
    number = sum(len(file.documents) for file in collection.files)
    return {
        "source": collection.source,
        "name": _name(collection),
        "kind": collection.kind,
        "mark": _MARKS[collection.kind],
        "note": _NOTES[collection.kind],
        "place": collection.source if collection.kind in ("folder", "watched") else "",
        "summary": f"{count(number, 'document')} · {count(passages, 'passage')}",
        "editable": collection.kind in ("own", "folder"),
        "files": [_file(file, now) for file in collection.files],
    }


def _name(collection: Collection) -> str:
    if collection.kind in ("folder", "watched"):
        return PurePosixPath(collection.name.replace("\\", "/")).name or collection.name
    return collection.name


def _file(file: StoredFile, now: datetime | None) -> Json:
    is_one = len(file.documents) == 1 and file.documents[0].path == file.file
    passages = sum(document.chunk_count for document in file.documents)
    facts = [_format(file.file), *([] if is_one else [count(len(file.documents), "document")])]
    facts += [count(passages, "passage"), _date(max(d.updated_at for d in file.documents), now)]
    return {
        "file": file.file,
        "title": file.title,
        "link": _link(file.documents[0]) if is_one else "",
        "facts": " · ".join(facts),
        "name": file.file if PurePosixPath(file.file).name != file.title else "",
        "members": [] if is_one else [{"title": d.title, "link": _link(d)} for d in file.documents],
    }


def _link(document: StoredDocument) -> str:
    return reader_url(document.source, document.path, doc=document.id)


def _format(path: str) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    return _FORMATS.get(suffix) or suffix.lstrip(".").upper() or "File"


def _date(moment: datetime, now: datetime | None) -> str:
    local = moment.astimezone()
    today = (now or datetime.now(local.tzinfo)).astimezone()
    return day(local, year=local.year != today.year)


def _took(file: str | None, documents: int) -> str:
    return "" if file and documents == 1 else count(documents, "document")
