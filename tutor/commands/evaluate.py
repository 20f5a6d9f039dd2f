"""`eval retrieval|answers|grading FILE`: how good search, answers and grading are, on a labelled file.

What is measured and how is `tutor.evaluation`'s; this reads the file, builds what is measured, and prints.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tutor.agreement import LABELS
from tutor.commands.common import Run, command, note, open_lines, opened_services, progress, write_file
from tutor.wire import InputError, Json

Tables = list[tuple[str, list[str], list[list[str]]]]


def register(app: typer.Typer) -> None:
    """Add this file's command to `app`."""
    command(app, "eval")(evaluate)


def evaluate(
    run: Run,
    what: Annotated[str, typer.Argument(help="retrieval, answers or grading.", show_default=False)],
    file: Annotated[
        Path | None, typer.Argument(help='Labelled JSON Lines; "-" reads stdin.', show_default=False)
    ] = None,
    material: Annotated[
        list[Path] | None,
        typer.Option(help="Ask about these files or folders instead of what is indexed.", show_default=False),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write the report as Markdown.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing report.")] = False,
) -> None:
    """Measure on a labelled file, with 95 % intervals.

    retrieval: {question, gold: [{document, quote}]}, every stage switched off in turn. answers: the same with
    must_say, must_not_say, answerable; the model that is configured beside quoting alone. grading: the input of
    `grade` with `label`, or `labels` of two people.
    """
    measures = {"retrieval": _retrieval, "answers": _answers, "grading": _grading}
    if what not in measures:
        raise InputError(f"there is no `eval {what}`; there is: eval {', '.join(measures)}")
    if file is None:
        raise InputError(f"give the labelled file: eval {what} FILE")
    if what == "grading" and material:
        raise InputError("`eval grading` needs no --material: answers are graded against their key points")
    found, tables = measures[what](run, file, material or [])
    if report is not None:
        write_file(report, _markdown(what, file, tables).encode(), force=force)
    if run.json:
        run.emit(found)
        return
    for title, headings, rows in tables:
        run.say(title)
        run.table(headings, rows)
        run.say()


def _retrieval(run: Run, file: Path, material: list[Path]) -> tuple[Json, Tables]:
    from tutor.evaluation.questions import check_documents, own_index, read_questions
    from tutor.evaluation.retrieval import retrieval_report, retrieval_tables

    with open_lines(file) as stream:
        questions = read_questions(stream)
    run.load()
    with _measured(run, material) as services, progress() as show:
        embedder, reader = services.retriever.embedder, services.retriever.reader
        with own_index(embedder, material, copied=services.database) as database:
            check_documents(questions, database)
            reranker = services.retriever.reranker
            found = retrieval_report(questions, database, embedder, reader, reranker, show)
    return found, retrieval_tables(found)


def _answers(run: Run, file: Path, material: list[Path]) -> tuple[Json, Tables]:
    from retrieval.retriever import Retriever
    from tutor.evaluation.answers import QUOTES, QuoteOnly, answer_all, answers_report, answers_tables
    from tutor.evaluation.questions import check_documents, own_index, read_questions
    from tutor.turn import Tutor

    with open_lines(file) as stream:
        questions = read_questions(stream)
    settings = run.load()
    with _measured(run, material) as services, progress() as show:
        embedder = services.retriever.embedder
        with own_index(embedder, material, copied=services.database) as database:
            check_documents(questions, database)
            searching = services.retriever
            retriever = Retriever(database, embedder, reader=searching.reader, reranker=searching.reranker)
            learner_id = _learner(database)
            writers: dict[str, Callable[[str | None], Any]] = {
                services.tutor.generator_for(None).identity.base: services.tutor.generator_for,
                QUOTES: lambda name: QuoteOnly(),
            }
            runs = {
                name: answer_all(
                    questions,
                    Tutor(database, retriever, writer, settings, services.tutor.judge),
                    learner_id,
                    show,
                )
                for name, writer in writers.items()
            }
    found = answers_report(runs)
    return found, answers_tables(found)


def _grading(run: Run, file: Path, material: list[Path]) -> tuple[Json, Tables]:
    from retrieval.embedder import load_embedder
    from tutor.evaluation.grading import DEV, grading_report
    from tutor.quiz import Grader
    from tutor.wire_study import read_labelled

    with open_lines(file) as stream:
        lines = read_labelled(stream)
    settings = run.load()
    found = grading_report(lines, Grader(load_embedder(settings.embedder, threads=settings.threads)))
    if found["thresholds_fitted_on"] != DEV:
        note(
            '(no line has "split": "dev": the baselines\' thresholds were fitted on the lines they are judged by)'
        )
    return found, _grading_tables(found)


def _measured(run: Run, material: list[Path]) -> Any:
    """The services whose models are measured; their index is brought up to date only where it is asked."""
    return opened_services(run, index_course=not material)


def _learner(database: Any) -> int:
    from db.study import learner

    with database.session() as session:
        return learner(session, "eval").id


def _grading_tables(report: Json) -> Tables:
    from tutor.evaluation.grading import METHODS

    tables: Tables = []
    for split, part in report["splits"].items():
        rows = [_row(method, part["methods"][method]) for method in METHODS]
        if part["labellers"]:
            rows.append(_row("the two labellers", part["labellers"]))
        headings = ["", "n", "kappa", "95 %", "weighted", "accuracy"]
        tables.append((f"{split}: {part['n']} answers to {part['questions']} questions", headings, rows))
        confusion = part["methods"]["grader"]["confusion"]
        cells = [[label, *(str(n) for n in confusion[label].values())] for label in LABELS]
        tables.append((f"{split}: label (down), grader (across)", ["", *LABELS], cells))
    spent = report["timings_ms"]
    tables.append(("ms an answer", ["median", "95 %"], [[f"{spent['median']:g}", f"{spent['p95']:g}"]]))
    return tables


def _row(name: str, found: Json) -> list[str]:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    low, high = (number(value) for value in found["interval"])
    return [
        name,
        str(found["n"]),
        number(found["kappa"]),
        f"{low} to {high}",
        number(found["weighted_kappa"]),
        number(found["accuracy"]),
    ]


def _markdown(what: str, file: Path, tables: Tables) -> str:
    """The tables as a Markdown page."""
    lines = [f"# eval {what}: {file.name}", ""]
    for title, headings, rows in tables:
        lines += [
            f"## {title}",
            "",
            _line(headings),
            _line(["---"] * len(headings)),
            *(_line(row) for row in rows),
            "",
        ]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
