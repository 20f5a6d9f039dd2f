"""The Lab page's runs that make a model write: one question in four ways, and the note asked about again.

A run sends its results as parts with names, again and again; the script puts each in its place, so that nothing but
the part that changed is drawn again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from tutor import failures, wire
from tutor.events import DraftDelta, PassagesFound, TurnLogged, TurnStarted
from tutor.generators.protocol import GeneratorError
from tutor.lab import PANES, Lab, Pane, WeightsRead
from tutor.services import BASE
from tutor.ui import lab_runs_view as view
from tutor.ui.calls import OUR_FAULT, UNREADABLE, number_of, text_of, value

if TYPE_CHECKING:
    from db.session import Database
    from tutor.events import Event, TurnResult
    from tutor.ui.library import Library
    from tutor.ui.live import LiveTurn, LiveTurns

Rows = list[tuple[str, WeightsRead | None, WeightsRead | None]]


class LabRuns:
    """The handlers of both experiments."""

    def __init__(self, lab: Lab, database: Database, library: Library, live: LiveTurns) -> None:
        self._lab = lab
        self._database = database
        self._library = library
        self._live = live

    def run(self, context: str, request: gr.Request) -> Iterator[str]:
        """{run: "panes" or "note", question, note, before, id} -> the run's parts so far, again and again."""
        try:
            sent = json.loads(context)
        except (TypeError, ValueError):
            sent = None
        run = _Run(text_of(sent, "id", 64))
        session = request.session_hash or ""
        try:
            if value(sent, "run") == "panes":
                yield from self._panes(run, text_of(sent, "question"), session)
            elif value(sent, "run") == "note":
                yield from self._note(run, sent, session)
            else:
                run.error = UNREADABLE
        except Exception as error:  # noqa: BLE001 - told to the learner, or reported as ours
            run.error = _reason(error)
        run.done = True
        yield run.html()

    def stop(self, request: gr.Request) -> None:
        """Stop what this browser page is waiting for."""
        self._live.stop(request.session_hash or "")

    def _panes(self, run: _Run, question: str, session: str) -> Iterator[str]:
        lab, chosen = self._lab, self._lab.chosen()
        name = chosen.name if chosen else None
        panes = [pane for pane in PANES if name or not pane.adapted]
        with lab.experiment(question) as conversation:
            for pane in panes:
                run.parts[pane.key] = view.waiting()
            before = yield from self._fingerprints(run, name, None)
            previous: int | None = None
            for pane in panes:
                turn = self._live.start(session, self._asker(question, conversation, pane, name, previous))
                yield from self._watched(run, pane.key, turn)
                if turn.result is None:
                    run.parts |= {p.key: view.stopped() for p in panes[panes.index(pane) :]}
                    break
                previous = turn.result.turn_id
                run.parts[pane.key] = self._outcome(turn.result, closed_book=pane.closed_book)
                run.told = f"{lab.base if not pane.adapted else name}: done."
            yield from self._fingerprints(run, name, before)

    def _asker(
        self, question: str, conversation: int, pane: Pane, name: str | None, previous: int | None
    ) -> Callable[[], Iterator[Event]]:
        adapter = name if pane.adapted else BASE
        return lambda: self._lab.ask(
            question, conversation, closed_book=pane.closed_book, adapter=adapter, after=previous
        )

    def _fingerprints(self, run: _Run, name: str | None, before: Rows | None) -> Generator[str, None, Rows]:
        """Read the weights before (None) or after the runs, and show them; gives the rows of the table."""
        if not self._lab.has_weights:
            run.parts["weights"] = view.weights_table(
                told="A server answers, and its weights can’t be read here."
            )
            return []
        run.parts["panes-status"] = view.running("Reading the weight files…", 0)
        yield run.html()
        try:
            base, both = self._lab.read_weights(name)
        except GeneratorError as error:  # the panes tell what can be done without it
            run.parts |= {"weights": view.weights_table(told=str(error)), "panes-status": ""}
            return []
        now = [("Base", base), *([(f"Base + {name}", both)] if both else [])]
        rows: Rows = [(title, found, None) for title, found in now]
        if before is not None:
            first = {title: found for title, found, _ in before}
            rows = [(title, first.get(title), found) for title, found in now]
        run.parts["weights"] = view.weights_table(rows)
        run.parts["panes-status"] = ""
        yield run.html()
        return rows

    def _note(self, run: _Run, sent: Any, session: str) -> Iterator[str]:
        lab, question, text = self._lab, text_of(sent, "question"), text_of(sent, "note")
        served = lab.served() if lab.has_weights else None
        with lab.experiment(question) as conversation:
            run.parts["note-now"] = view.running("Saving…", 0)
            yield run.html()
            before = self._on_disk(served)
            seconds = lab.save_note(text)
            run.parts["note-status"] = self._note_status(seconds)
            turn = self._live.start(session, lambda: lab.ask(question, conversation))
            yield from self._watched(run, "note-now", turn)
            result = turn.result
            if result is None:
                run.parts["note-now"] = view.stopped()
                return
            after = self._on_disk(served)
            facts = [("Page said", view.note_said(text))]
            if before and after:
                facts.append(("On the disk", f"{view.sha(before)} → {view.sha(after)}"))
            shown = self._outcome(result, closed_book=False, more=facts)
            run.parts["note-now"] = f'<div data-turn="{result.turn_id}">{shown}</div>'
            earlier = lab.earlier(number_of(sent, "before"))
            same_answer = None if earlier is None else earlier.answer == result.answer
            same_weights = None
            if earlier is not None and earlier.model.get("weights_sha256") and result.model.weights_sha256:
                same_weights = (
                    earlier.model["weights_sha256"] == result.model.weights_sha256 and before == after
                )
            run.parts["note-verdict"] = view.note_verdict(same_answer, same_weights)
            run.told = "Answered from the page as it is now."

    def _watched(self, run: _Run, key: str, turn: LiveTurn) -> Iterator[str]:
        """The run's parts while a turn is under way, with a word about what it does."""
        began, status, shown = time.monotonic(), "Reading the question…", ""
        for event in turn.events():
            if isinstance(event, TurnLogged):
                continue
            status = _status(event, status)
            run.parts[key] = view.running(status, int(time.monotonic() - began))
            if run.parts[key] != shown or event is None:  # a beat finds out who is gone
                shown = run.parts[key]
                yield run.html()

    def _outcome(
        self, result: TurnResult, *, closed_book: bool, more: list[tuple[str, str]] | None = None
    ) -> str:
        with self._database.session(readonly=True) as session:
            ids = dict(self._library.ids(session))
        detailed = {
            "status": result.status,
            "answer": result.answer,
            "error": result.error,
            "sentences": [wire.sentence_json(s, detail=True) for s in result.sentences],
            "citations": [wire.citation_json(c, detail=True) for c in result.citations],
            "timings_ms": result.timings_ms,
            "tokens": {"prompt": result.usage.prompt, "completion": result.usage.completion},
            "model": {"weights_sha256": result.model.weights_sha256},
        }
        return view.outcome(detailed, ids, closed_book=closed_book, more=more or ())

    def _on_disk(self, name: str | None) -> str | None:
        """The fingerprint of what is served, every byte read now; None where a server has the weights."""
        if not self._lab.has_weights:
            return None
        base, both = self._lab.read_weights(name)
        return (both or base).sha256

    def _note_status(self, seconds: float | None = None) -> str:
        note = self._lab.note()
        if note is None:
            return view.note_status(None)
        return view.note_status(note.chunk_count, seconds=seconds, doc=note.id)


class _Run:
    """The parts of a run as they are so far."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.parts: dict[str, str] = {}
        self.told = ""
        self.error = ""
        self.done = False

    def html(self) -> str:
        """The parts, and what the script has to know of the run."""
        return view.run(self.number, self.parts, told=self.told, error=self.error, done=self.done)


def _status(event: Event | None, status: str) -> str:
    if isinstance(event, TurnStarted):
        return "Loading the model…"
    if isinstance(event, PassagesFound):
        return "Reading what was found…"
    return "Writing…" if isinstance(event, DraftDelta) else status


def _reason(error: Exception) -> str:
    if failures.exit_code(error) is None:
        failures.report(error, home=None)
        return OUR_FAULT
    return failures.one_line(error)
