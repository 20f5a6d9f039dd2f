"""`search` and `ask`: one question, or a batch of them, through the same code as the browser."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutor import failures
from tutor.commands.common import Run, command, note, one_or_batch, opened_services, run_batch
from tutor.wire import LARGEST_ID, BatchLine, InputError, Json, read_batch, search_json, turn_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tutor.events import Event, TurnResult
    from tutor.services import Services
    from tutor.settings import Settings

QuestionArgument = Annotated[str | None, typer.Argument(help="What you want to know.", show_default=False)]
BatchOption = Annotated[
    Path | None,
    typer.Option(help='JSON Lines of {"id", "question"}; "-" reads stdin.', show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    command(app, "search")(search)
    command(app, "ask")(ask)


def search(
    run: Run,
    question: QuestionArgument = None,
    batch: BatchOption = None,
    k: Annotated[
        int | None, typer.Option("-k", min=1, max=50, help="How many passages.", show_default=False)
    ] = None,
) -> int:
    """Find the passages that a question is answered from."""
    one_or_batch(question, batch)
    settings = run.load()
    _check(question, settings)
    with opened_services(run, with_generator=False) as services:
        services.load_embedder()
        if batch is not None:
            return run_batch(
                run, batch, lambda line: search_one(services, line.question, line.id, k=k), read_batch
            )
        assert question is not None
        found = search_one(services, question, k=k, echo=True)
        if run.json:
            run.emit(found)
        else:
            _print_passages(run, found)
    return failures.DONE


def search_one(
    services: Services, question: str, id: Any = None, *, k: int | None = None, echo: bool = False
) -> Json:
    """The `k` best passages for one question, as JSON; `echo` puts the question in. Raises QuestionError.

    Whether the question is covered is judged as a turn would judge it, however few passages are asked for.
    """
    from tutor.turn import valid_question

    question = valid_question(question, services.settings.max_question_chars)
    began = time.perf_counter()
    passages, evidence = services.tutor.search(question, k)
    spent = 1000 * (time.perf_counter() - began)
    return search_json(
        passages[: k or services.settings.passages],
        covered=evidence.covered,
        timings_ms={"retrieve": spent, "total": spent},
        id=id,
        question=question if echo else None,
    )


def ask(
    run: Run,
    question: QuestionArgument = None,
    batch: BatchOption = None,
    conversation: Annotated[
        int | None,
        typer.Option(min=1, max=LARGEST_ID, help="Go on with this conversation.", show_default=False),
    ] = None,
    closed_book: Annotated[
        bool, typer.Option("--closed-book", help="Answer without the material; nothing is checked.")
    ] = False,
    adapter: Annotated[
        str | None,
        typer.Option(help="Use this adapter, or `base` for none, not the served one.", show_default=False),
    ] = None,
) -> int:
    """Ask the tutor. Every sentence of the answer is checked and cited."""
    one_or_batch(question, batch)
    if batch is not None and conversation is not None:
        raise InputError("--conversation goes with one question; in a batch, give each line its history")
    settings = run.load()
    _check(question, settings)
    with opened_services(run) as services:
        services.check_adapter(adapter)
        if not closed_book:
            services.load_embedder()
        options: dict[str, Any] = {
            "learner_id": services.learner_id,
            "closed_book": closed_book,
            "adapter": adapter,
        }

        def answer(line: BatchLine) -> Json:
            return turn_json(services.tutor.ask(line.question, history=line.history, **options), line.id)

        if batch is not None:
            return run_batch(run, batch, answer, read_batch)
        assert question is not None
        options["conversation_id"] = conversation
        if run.json:
            result = services.tutor.ask(question, **options)
            run.emit(turn_json(result))
        else:
            with closing(services.tutor.answer(question, **options)) as events:  # type: ignore[type-var]
                result = _print_turn(run, events)
        if result.status == "failed":
            note(f"study-tutor: {result.error or 'the model gave no answer'}")
            return failures.FAILED
    return failures.DONE


def _check(question: str | None, settings: Settings) -> None:
    """Refuse a bad question before anything slow happens."""
    from tutor.turn import valid_question

    if question is not None:
        valid_question(question, settings.max_question_chars)


def _print_passages(run: Run, found: Json) -> None:
    passages: Sequence[Json] = found["passages"]
    for passage in passages:
        run.say(f"{passage['rank']}. {passage['title']} › {passage['heading']}  ({passage['document']})")
        run.say(f"   {' '.join(passage['text'].split())}")
    if not passages:
        run.say("Nothing is indexed yet. Add material with: study-tutor ingest PATH")
    elif not found["covered"]:
        run.say("\nThe material does not seem to answer this question; these pages come nearest.")


def _print_turn(run: Run, events: Iterator[Event]) -> TurnResult:
    """Print checked sentences as they come (a terminal) or the whole answer, then the numbered sources."""
    from tutor.events import PassagesFound, SentenceChecked, TurnLogged

    live = sys.stdout.isatty()
    waiting = sys.stderr.isatty()
    result: TurnResult | None = None
    for event in events:
        if isinstance(event, PassagesFound) and waiting:
            note(f"({len(event.passages)} passages found; writing and checking the answer)")
        elif isinstance(event, SentenceChecked) and event.sentence.supported and live:
            run.say(event.sentence.text + "".join(f" [{n}]" for n in event.sentence.citations))
        elif isinstance(event, TurnLogged):
            result = event.result
    assert result is not None, "a turn ends with TurnLogged"
    streamed = live and any(sentence.supported for sentence in result.sentences)
    if not streamed and result.answer:
        run.say(result.answer)
    if result.error and result.status != "failed":
        note(f"(the model could not write: {result.error})")
    if result.answer and not any(sentence.supported for sentence in result.sentences):
        note("(not checked against the material)")
    if result.citations:
        run.say("\nSources")
    for citation in result.citations:
        run.say(f"[{citation.n}] {citation.title} › {citation.heading}  ({citation.document})")
        run.say(f"    “{' '.join(citation.quote.split())}”")
    if result.follow_ups and live:
        run.say("\nYou could ask next")
        for follow_up in result.follow_ups:
            run.say(f"- {follow_up}")
    if waiting:
        note(f"(conversation {result.conversation_id}: go on with --conversation {result.conversation_id})")
    return result
