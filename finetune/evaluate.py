"""A candidate adapter against what is served now and against quoting alone, on questions it was not trained on.

Start reading at `compare`. Every answer comes through `tutor.turn` itself, on an index that is a copy of the learner's:
nothing measured is ever mixed up with what a learner did. A question is searched once for all systems, and the
candidate and what is served answer it one after the other, so that a busy minute slows both. What is counted is
`measures.py`'s, the judgement `gate.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db import conversations
from finetune import measures
from finetune.measures import Asked, Case, Json, spread
from finetune.notes import read_prompt
from finetune.retention import retention
from retrieval.evaluate import Gold, same_document
from retrieval.retriever import Retriever
from tutor.answer import finished_sentences
from tutor.evaluation.answers import Answered, QuoteOnly, says
from tutor.evaluation.questions import Question, own_index
from tutor.prompt import build_messages
from tutor.services import builtin_course
from tutor.standalone import standalone_question
from tutor.turn import Tutor

if TYPE_CHECKING:
    from db.registry import ServedAdapter
    from db.session import Database
    from finetune.dataset import Example
    from finetune.exemplars import Exemplar
    from finetune.report import Origin
    from retrieval.evidence import Evidence
    from retrieval.records import Passage
    from tutor.generators.protocol import Generator
    from tutor.services import Services
    from tutor.settings import Settings

SHOWN = 40  # questions whose answers stand side by side in the report
CLOSED_BOOK = 60  # questions of the training pages that are asked without any material
CLOSED_BOOK_HELD_OUT = 20  # and of the held-out pages, to compare with
CLOSED_BOOK_TOKENS = 40  # a fact that is known is said by then; the untrained model would ramble on
LEARNER = "evaluation"

Tick = Callable[[int, int], None]
"""Told (done, of) before every question: waits while an answer is written elsewhere, and raises to stop."""


@dataclass(frozen=True, slots=True)
class Cases:
    """What is asked. `trained` and `held_out` are answerable questions for the closed book: of pages that were trained
    on, and of pages that were not."""

    asked: tuple[Case, ...]
    trained: tuple[Case, ...] = ()
    held_out: tuple[Case, ...] = ()


def evaluate_adapter(
    settings: Settings,
    database: Database,
    candidate: ServedAdapter,
    origin: Origin,
    held_out: Sequence[Example],
    tick: Tick,
    *,
    began: float,
) -> Json:
    """The report on an adapter beside what is served now, with the gate's verdict. `began` is a monotonic time.

    Raises AdapterError for a folder that can't be used, and what `compare` raises.
    """
    from db.registry import served_adapter
    from finetune.adapters import check_adapter
    from finetune.exemplars import load_exemplars
    from finetune.gate import judge
    from finetune.report import build_report
    from tutor.models import base_names, load_generator, model_folder, weights_sha256
    from tutor.services import build_services

    base = model_folder(settings)
    folder = Path(candidate.path)
    check_adapter(folder, None, base_names(settings), weights_sha256(base, settings.models_dir), base=base)
    with closing(build_services(settings, with_generator=False)) as services:
        with database.session(readonly=True) as session:
            served = served_adapter(session)
        evaluation = compare(
            services,
            cases_of(load_exemplars(), held_out),
            candidate=candidate,
            served=served,
            base=base,
            load=partial(load_generator, settings),
            tick=tick,
        )
    verdict = judge(evaluation)
    name = served.name if served else None
    return build_report(origin, name, evaluation, verdict.as_json(), time.monotonic() - began)


def cases_of(exemplars: Iterable[Exemplar], feedback: Iterable[Example] = ()) -> Cases:
    """The held-out exemplars and the learners' held-out turns; of the others, some for the closed book.

    A question across topics that belongs to a page is left out: another page of the course may well answer it.
    """
    sides: dict[bool, list[Case]] = {True: [], False: []}
    for exemplar in exemplars:
        if exemplar.kind != "cross_topic" or not exemplar.page:
            sides[exemplar.held_out].append(exemplar_case(exemplar))
    turns = [case for example in feedback if (case := feedback_case(example))]
    return Cases(
        tuple(sides[True] + turns),
        spread([c for c in sides[False] if c.question.answerable], CLOSED_BOOK),
        spread([c for c in sides[True] if c.question.answerable], CLOSED_BOOK_HELD_OUT),
    )


def exemplar_case(exemplar: Exemplar) -> Case:
    """An exemplar as a labelled question."""
    question = Question(
        id=exemplar.id,
        question=exemplar.question,
        answerable=bool(exemplar.gold),
        gold=tuple(Gold(exemplar.page, sentence) for sentence in exemplar.gold),
        must_say=tuple(exemplar.must_say),
        must_not_say=(),
        kind=exemplar.kind,
        split="held_out",
    )
    return Case(question, exemplar.answer)


def feedback_case(example: Example) -> Case | None:
    """A turn that a learner rated, None for an example of another origin. Nobody labelled its sentences, so only the
    words of its answer are compared, and whether there is one."""
    sent = read_prompt(example.prompt)
    if example.feedback_id is None or sent is None:
        return None
    answerable = example.kind == "answer"
    question = Question(example.id, sent.question, answerable, (), (), (), "feedback", "held_out")
    return Case(question, example.completion if answerable else "")


def compare(
    services: Services,
    cases: Cases,
    *,
    candidate: ServedAdapter,
    served: ServedAdapter | None,
    base: Path,
    load: Callable[[ServedAdapter | None], Generator],
    tick: Tick = lambda done, of: None,
) -> Json:
    """Everything the gate judges and the report shows. `load` gives the generator with an adapter, None for none.

    Raises what `load` and `tick` raise, and DatabaseError, EmbedderError.
    """
    shown = spread(cases.asked, SHOWN)
    bare = [] if served is None else shown
    total = len([*cases.asked, *cases.trained, *cases.held_out, *bare])
    steps = _Steps(tick, total)
    with _index(services, cases.asked) as database, _loaded(load, candidate) as new:
        ask = _Asking(services, database)
        with _loaded(load, served) as now:
            runs = ask.all(cases.asked, {"candidate": new, "served": now, "quotes": QuoteOnly()}, steps)
            fingerprints = {"candidate": new.identity.weights_sha256, "served": now.identity.weights_sha256}
            if served is None:
                known = ask.closed_book(cases, {"candidate": new, "base": now}, steps)
                by_base = {a.case.question.id: a for a in runs["served"]}
                fingerprints["base"] = fingerprints["served"]
        if served is not None:
            with _loaded(load, None) as plain:
                known = ask.closed_book(cases, {"candidate": new, "base": plain}, steps)
                by_base = {a.case.question.id: a for a in ask.all(bare, {"base": plain}, steps)["base"]}
                fingerprints["base"] = plain.identity.weights_sha256
    return {
        "questions": len(cases.asked),
        "fingerprints": fingerprints,
        "systems": {name: measures.system_measures(run) for name, run in runs.items()},
        "paired": measures.differences(runs, ("served", "quotes")),
        "ratios": measures.ratios(runs["candidate"], runs["served"]),
        "unsupported_shown": measures.unsupported_shown(runs["candidate"]),
        "drafts": {name: measures.draft_measures(runs[name]) for name in ("candidate", "served")},
        "closed_book": known | {"served": known["base"] if served is None else None},
        "retention": retention(base, Path(candidate.path), steps.outside, services.settings.threads),
        "answers": [_side_by_side(case, runs, by_base) for case in shown],
    }


class _Asking:
    """Asks questions of several systems on one index; what was searched once is remembered."""

    def __init__(self, services: Services, database: Database) -> None:
        from db.study import learner

        searching = services.retriever
        self._retriever = Retriever(
            database, searching.embedder, reader=searching.reader, reranker=searching.reranker
        )
        self._services = services
        self._database = database
        self._found: dict[str, tuple[tuple[Passage, ...], Evidence]] = {}
        with database.session() as session:
            self._learner_id = learner(session, LEARNER).id

    def all(
        self, cases: Sequence[Case], systems: Mapping[str, Generator], steps: _Steps
    ) -> dict[str, list[Asked]]:
        """Every case by every system, in the same order; who goes first alternates."""
        found: dict[str, list[Asked]] = {name: [] for name in systems}
        tutors = {name: self._tutor(generator) for name, generator in systems.items()}
        for number, case in enumerate(cases):
            steps.next()
            began = time.perf_counter()
            query = standalone_question(case.question.question, ())
            _, evidence = next(iter(tutors.values())).search(query)
            searched_ms = 1000 * (time.perf_counter() - began)
            for name in list(systems)[:: -1 if number % 2 else 1]:
                turn = tutors[name].ask(case.question.question, learner_id=self._learner_id)
                with self._database.session(readonly=True) as session:
                    logged = conversations.get_turn(session, turn.turn_id)
                draft = logged.draft if logged else ""
                if (
                    not evidence.covered
                ):  # the turn didn't ask the model; whether it would have abstained is asked here
                    draft = _opening(systems[name], query, evidence)
                answered = Answered(case.question, turn, evidence.confidence)
                total_ms = searched_ms + (turn.timings_ms.get("total") or 0.0)
                found[name].append(Asked(case, answered, draft or "", total_ms))
        return found

    def closed_book(self, cases: Cases, systems: Mapping[str, Generator], steps: _Steps) -> Json:
        """How much of the facts each says without any material, and what training added to that.

        A trained model answers in fewer words, known or not; so what counts is whether the facts are said at all.
        `gain` is on pages that were trained on: what it says beyond `gain_held_out` came from their text.
        """
        sides = {"trained": cases.trained, "held_out": cases.held_out}
        said: dict[tuple[str, str], list[float | None]] = {}
        for side, asked in sides.items():
            for name in systems:
                said[name, side] = []
            for case in asked:
                steps.next()
                for name, generator in systems.items():
                    tutor = self._tutor(generator, max_new_tokens=CLOSED_BOOK_TOKENS)
                    turn = tutor.ask(case.question.question, learner_id=self._learner_id, closed_book=True)
                    wanted = case.question.must_say
                    known = [says(turn.answer, words) for words in wanted]
                    said[name, side].append(sum(known) / len(wanted) if wanted else None)
        found: Json = {}
        for name in systems:
            estimate = measures.mean([v for v in said[name, "trained"] if v is not None])
            found[name] = estimate and estimate["value"]
        for side, key in (("trained", "gain"), ("held_out", "gain_held_out")):
            found[key] = measures.difference(said["candidate", side], said["base", side])
        return found

    def _tutor(self, generator: Generator, **changes: Any) -> _RememberingTutor:
        settings = self._services.settings.model_copy(update=changes)
        tutor = _RememberingTutor(
            self._database, self._retriever, lambda name: generator, settings, self._services.tutor.judge
        )
        tutor.found = self._found
        return tutor


class _RememberingTutor(Tutor):
    """The tutor, which searches each question once however many systems answer it."""

    found: dict[str, tuple[tuple[Passage, ...], Evidence]]

    def search(self, query: str, k: int | None = None) -> tuple[tuple[Passage, ...], Evidence]:
        if query not in self.found:
            self.found[query] = super().search(query, k)
        return self.found[query]


class _Steps:
    """Counts the questions of the whole evaluation for whoever watches."""

    def __init__(self, tick: Tick, total: int) -> None:
        self._tick = tick
        self._total = total
        self._done = 0

    def next(self) -> None:
        self._tick(self._done, self._total)
        self._done += 1

    def outside(self, done: int, of: int) -> None:
        """A step of a part that counts for itself."""
        self._tick(self._total, self._total)


def _opening(generator: Generator, query: str, evidence: Evidence) -> str:
    """The first sentence that a model writes to the messages of this question."""
    messages = build_messages(query, evidence.sentences)
    draft = generator.stream(messages, max_new_tokens=CLOSED_BOOK_TOKENS)
    text = ""
    try:
        for piece in draft:
            text += piece
            if sentences := finished_sentences(text)[0]:
                return sentences[0]
    finally:
        draft.cancel()
    return text.strip()


@contextmanager
def _loaded(
    load: Callable[[ServedAdapter | None], Generator], adapter: ServedAdapter | None
) -> Iterator[Generator]:
    generator = load(adapter)
    close = getattr(generator, "close", None)
    try:
        yield generator
    finally:
        if close is not None:
            close()


@contextmanager
def _index(services: Services, cases: Sequence[Case]) -> Iterator[Database]:
    """A copy of what is indexed; with the built-in course where it lacks a page that questions are about."""
    from db.documents import list_documents
    from retrieval.ingest import ingest_folder

    embedder = services.retriever.embedder
    with own_index(embedder, [], copied=services.database) as database:
        with database.session(readonly=True) as session:
            indexed = [document.path for document in list_documents(session)]
        named = {gold.document for case in cases for gold in case.question.gold}
        if not all(any(same_document(path, name) for path in indexed) for name in named):
            ingest_folder(database, embedder, builtin_course(), source="course")
        yield database


def _side_by_side(case: Case, runs: Mapping[str, Sequence[Asked]], by_base: Mapping[str, Asked]) -> Json:
    by_name = {
        name: next(a for a in run if a.case.question.id == case.question.id) for name, run in runs.items()
    }
    by_name["base"] = by_base[case.question.id]
    return {
        "question": case.question.question,
        "answerable": case.question.answerable,
        "kind": case.question.kind,
        "reference": case.reference,
        **{
            name: {"status": a.answered.turn.status, "text": a.answered.turn.answer, "draft": a.draft}
            for name, a in by_name.items()
        },
    }
