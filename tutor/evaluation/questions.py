"""Labelled questions: what `eval retrieval` and `eval answers` read, and the index that they are asked of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.evaluate import Gold, same_document
from tutor.wire import InputError, read_objects, text_field

if TYPE_CHECKING:
    from db.session import Database
    from retrieval.records import Embedder


@dataclass(frozen=True, slots=True)
class Question:
    """One labelled question. `must_say` and `must_not_say` are compared without case."""

    id: str
    question: str
    answerable: bool
    gold: tuple[Gold, ...]
    must_say: tuple[str, ...]
    must_not_say: tuple[str, ...]
    kind: str
    split: str


def read_questions(lines: Iterable[bytes]) -> list[Question]:
    """The questions of a labelled file. Raises InputError at the first bad line: numbers need all of them.

    Without `answerable` a question is answerable if it has `gold`.
    """
    found = []
    for number, value in read_objects(lines):
        if isinstance(value, InputError):
            raise value
        try:
            found.append(_question(number, value))
        except InputError as error:
            raise InputError(f"line {number}: {error}") from None
    if not found:
        raise InputError("the file holds no labelled question")
    return found


def _question(number: int, value: Mapping[str, Any]) -> Question:
    given = value.get("gold", [])
    given = [given] if isinstance(given, dict) else given
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise InputError("gold must be a list of {document, quote}")
    gold = tuple(
        Gold(
            text_field(item, "document", required=True) or "",
            text_field(item, "quote", required=True) or "",
        )
        for item in given
    )
    if any(not g.letters for g in gold):
        raise InputError("gold quotes nothing")
    answerable = value.get("answerable", bool(gold))
    if not isinstance(answerable, bool):
        raise InputError("answerable must be true or false")
    question = (text_field(value, "question", required=True) or "").strip()
    if not question:
        raise InputError("question is empty")
    return Question(
        id=str(value.get("id", number)),
        question=question,
        answerable=answerable,
        gold=gold,
        must_say=_texts(value, "must_say"),
        must_not_say=_texts(value, "must_not_say"),
        kind=text_field(value, "kind") or "",
        split=text_field(value, "split") or "all",
    )


def _texts(value: Mapping[str, Any], key: str) -> tuple[str, ...]:
    given = value.get(key) or []
    if not isinstance(given, list):
        raise InputError(f"{key} must be a list of texts")
    return tuple(text_field({key: item}, key, required=True) or "" for item in given)


def check_documents(questions: Iterable[Question], database: Database) -> None:
    """Raise InputError where a label names a document that is not indexed: it would count as a miss for ever."""
    from db.documents import list_documents

    with database.session(readonly=True) as session:
        indexed = [document.path for document in list_documents(session)]
    named = {gold.document for question in questions for gold in question.gold}
    missing = sorted(name for name in named if not any(same_document(path, name) for path in indexed))
    if missing:
        raise InputError(
            f"{len(missing)} labelled document{'s are' if len(missing) > 1 else ' is'} not indexed, such as "
            f"{missing[0]}; ingest the material, or name it with --material"
        )


@contextmanager
def own_index(embedder: Embedder, material: list[Path], copied: Database | None = None) -> Iterator[Database]:
    """A database for measuring, gone afterwards: of `material`, else a copy of what `copied` has indexed.

    Turns are logged there, so that nothing measured is ever mixed up with what a learner did.
    Raises InputError for material that can't be read at all.
    """
    from db.documents import copy_documents
    from db.session import Database
    from retrieval.ingest import ingest_paths

    with tempfile.TemporaryDirectory(prefix="study-tutor-eval-") as folder:
        database = Database.open(Path(folder) / "eval.sqlite3")
        try:
            if material:
                report = ingest_paths(database, embedder, material)
                if not report.added:
                    why = f": {report.rejected[0][1]}" if report.rejected else ""
                    raise InputError(f"nothing could be indexed from {material[0]}{why}")
            elif copied is not None:
                with copied.session(readonly=True) as source, database.session() as target:
                    copy_documents(source, target, embedder.name)
            yield database
        finally:
            database.close()
