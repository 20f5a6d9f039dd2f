"""`quiz PAGE`: a page's questions, asked one by one at a terminal. `grade`: free-text answers against key points."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutor import failures
from tutor.commands.common import Run, command, note, open_lines, opened_services, run_batch
from tutor.wire import InputError, Json
from tutor.wire_study import AnswerLine, answers_json, grade_json, posed_json, read_answers

if TYPE_CHECKING:
    from db.documents import StoredDocument
    from tutor.lesson_values import Posed, Result
    from tutor.services import Services

HINT = "?"


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    command(app, "quiz")(quiz)
    command(app, "grade")(grade)


def quiz(
    run: Run,
    page: Annotated[str, typer.Argument(help="A page of the course, such as tokens.", show_default=False)],
    answers: Annotated[
        bool, typer.Option("--answers", help="Print the reference answers and key points too.")
    ] = False,
) -> None:
    """Show a page's questions; at a terminal, ask them one by one and grade what you answer."""
    run.load()
    with opened_services(run, with_generator=False) as services:
        document = find_page(services, page)
        gate = services.lessons.gate(document.path)
        posed = [question for question in (gate.first, *gate.later) if question]
        if run.json:
            run.emit(quiz_page_json(document, posed, answers=answers))
        elif not posed:
            note(f"{document.title} asks nothing.")
        elif answers or not at_a_terminal():
            _print_questions(run, quiz_page_json(document, posed, answers=answers))
        else:
            run.say(f"{document.title}. Press Enter alone for “I don't know yet”, {HINT} for a hint.")
            for question in posed:
                if not _ask(run, services, question):
                    return


def at_a_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def find_page(services: Services, name: str) -> StoredDocument:
    """The course page of this name, with or without its ending. Raises InputError naming near ones."""
    from difflib import get_close_matches

    from db.documents import list_documents
    from tutor.services import COURSE_SOURCE

    with services.database.session(readonly=True) as session:
        pages = {document.path: document for document in list_documents(session, COURSE_SOURCE)}
    for path in (name, f"{name}.md"):
        if path in pages:
            return pages[path]
    slugs = [path.removesuffix(".md") for path in pages]
    near = get_close_matches(name.removesuffix(".md"), slugs, n=3, cutoff=0.4) or slugs
    known = f"did you mean {', '.join(near)}?" if near else "the course has no pages"
    raise InputError(f"there is no course page {name!r}; {known}")


def quiz_page_json(document: StoredDocument, posed: list[Posed], *, answers: bool) -> Json:
    """A page's questions; reference and key points only where they are asked for."""
    from tutor.pages import questions

    known = {question.key: question for question in questions(document.path, document.meta)}
    return {
        "page": document.path,
        "title": document.title,
        "questions": [
            posed_json(question) | (answers_json(known[question.key]) if answers else {})
            for question in posed
        ],
    }


def grade(
    run: Run,
    batch: Annotated[
        Path,
        typer.Option(
            help='JSON Lines of {"id", "question", "reference", "key_points", "answer"}; "-" reads stdin.',
            show_default=False,
        ),
    ],
) -> int:
    """Grade free-text answers against key points. Nothing is stored."""
    from retrieval.embedder import load_embedder
    from tutor.quiz import Grader, grade_unknown

    settings = run.load()
    if str(batch) != "-":
        open_lines(batch).close()  # a missing file is told before anything is loaded
    grader = Grader(load_embedder(settings.embedder, threads=settings.threads))

    def answer(line: AnswerLine) -> Json:
        if not line.answer:
            return grade_json(grade_unknown(line.key_points), line.id)
        return grade_json(grader.grade(line.question, line.reference, line.key_points, line.answer), line.id)

    return run_batch(run, batch, answer, read_answers)


def _ask(run: Run, services: Services, posed: Posed) -> bool:
    """Ask one question and print its grade; False when the learner ends the round (end of input)."""
    from tutor.lesson_values import LessonError

    run.say(f"\n{posed.number}. {posed.question}")
    for hint in posed.hints:
        run.say(f"   Hint: {hint}")
    began = time.monotonic()
    while True:
        try:
            typed = input("> ").encode("utf-8", "replace").decode().strip()  # a terminal may send broken text
        except EOFError:
            return False
        if typed == HINT:
            shown = services.lessons.hint(posed.page, posed.key)
            run.say(f"   Hint {len(shown)}: {shown[-1]}" if shown else "   There is no hint.")
            continue
        try:
            result = services.lessons.answer(
                posed.page,
                posed.key,
                typed or None,
                request_id=posed.request_id,
                seconds=time.monotonic() - began,
            )
        except LessonError as error:  # too long, say: the learner tries again
            note(failures.one_line(error))
            continue
        _print_result(run, result)
        return True


def _print_questions(run: Run, page: Json) -> None:
    run.say(page["title"])
    for question in page["questions"]:
        run.say(f"\n{question['number']}. {question['question']}")
        if "reference" in question:
            run.say(f"   {question['reference']}")
            for point in question["key_points"]:
                run.say(f"   - {point}")


def _print_result(run: Run, result: Result) -> None:
    run.say(f"   {result.counted.capitalize()}. {result.feedback}")
    for point in result.points:
        run.say(f"   {'✓' if point.hit else '✗'} {point.text}")
        if not point.hit and point.quote:
            run.say(f"     The page: “{' '.join(point.quote.text.split())}”")
    if result.next_step:
        run.say(f"   Read this first: {result.next_step[1]} ({result.next_step[0]})")
