"""One chat turn, start to finish: question -> passages -> evidence -> checked draft -> what it left unsaid -> log.

Start reading at `Tutor._turn`. The browser, the command line, the API and the evaluation of a candidate adapter all
come through here. The question is committed before anything else happens and the answer once it is known; no
transaction stays open while a model works. Decisions are made elsewhere, by pure functions: `retrieval.evidence`
selects, `retrieval.grounding` checks, `tutor.answer` composes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Generator as Stepwise
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from db import conversations
from db.errors import NotFound
from retrieval.evidence import Evidence, EvidenceSentence, select_evidence
from retrieval.grounding import already_said, check_sentence, hopeless, pairs_to_judge
from tutor.answer import AnswerBuilder, finished_sentences, follow_ups, not_covered, tidy_draft_sentence
from tutor.busy import answering
from tutor.clock import StageClock
from tutor.events import (
    QUOTED_ALREADY,
    QUOTED_INSTEAD,
    DraftDelta,
    Event,
    PassagesFound,
    SentenceChecked,
    Status,
    TurnLogged,
    TurnResult,
    TurnStarted,
)
from tutor.generators.protocol import Generator, GeneratorError, Message, ModelIdentity, Usage
from tutor.prompt import build_closed_book, build_messages
from tutor.standalone import compared_things, standalone_question
from tutor.turnlog import result_of, save_result

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.session import Database
    from retrieval.entailment import Judge
    from retrieval.records import Passage, Vectors
    from retrieval.retriever import Retriever
    from tutor.settings import Settings

# A draft that strays twice will not come back: stop it, and quote instead.
MAX_REFUSED = 2
PASSAGES_PER_SIDE = 2
MAX_DRAFT_SENTENCES = 4
SAME_SENTENCE = 0.97  # cosine from which a draft repeats itself
UNCHECKED = "closed book: not checked against the material"


class QuestionError(ValueError):
    """The question can't be asked as it stands. `str()` is one line for the learner."""


class Tutor:
    """Answers questions from the indexed material. Safe to share between threads."""

    def __init__(
        self,
        database: Database,
        retriever: Retriever,
        generator_for: Callable[[str | None], Generator],
        settings: Settings,
        judge: Judge | None = None,
    ) -> None:
        """`generator_for(name)` gives the generator with that adapter: None for what is served now, "base" for none.

        Without a `judge` of entailment the strict word rules alone decide which draft sentences are shown.
        """
        self.database = database
        self.retriever = retriever
        self.generator_for = generator_for
        self.settings = settings
        self.judge = judge

    def answer(
        self,
        question: str,
        *,
        learner_id: int,
        conversation_id: int | None = None,
        history: Sequence[Message] | None = None,
        page: str | None = None,
        request_id: str | None = None,
        replaces: int | None = None,
        closed_book: bool = False,
        adapter: str | None = None,
    ) -> Iterator[Event]:
        """One turn as a stream of events, `TurnLogged` last. Closing the iterator stops the turn.

        `history` stands in for the conversation's own turns where there are none (API, batch). A known `request_id`
        gives the first result again. `replaces` is the turn that a retry or an edit takes the place of.
        Raises QuestionError before anything is saved, and db.errors.NotFound for an unknown conversation.
        """
        question = valid_question(question, self.settings.max_question_chars)
        with self.database.session() as session:
            if conversation_id is None:
                conversation_id = self._conversation(session, learner_id, question, page, request_id)
            else:
                _check_owner(session, conversation_id, learner_id)
            earlier = [t for t in conversations.turns_of(session, conversation_id) if t.id != replaces]
            turn = conversations.start_turn(
                session, conversation_id, question, request_id=request_id, replaces=replaces
            )
        if turn.completed_at is not None:
            return iter([TurnLogged(result_of(turn))])
        if history is None:
            queries = [t.query or t.question for t in earlier if t.ordinal < turn.ordinal]
        else:
            queries = [m["content"] for m in history if m["role"] == "user"]
        run = _Run(self, turn.id, conversation_id, question, standalone_question(question, queries))
        return run.closed_book(adapter) if closed_book else run.open_book(adapter, asked=queries)

    @staticmethod
    def _conversation(
        session: Session, learner_id: int, question: str, page: str | None, request_id: str | None
    ) -> int:
        """A new conversation, or for a repeated request the one it began the first time."""
        known = conversations.find_turn_by_request(session, request_id) if request_id else None
        if known:
            return known.conversation_id
        return conversations.create_conversation(session, learner_id, title=question[:80], page=page).id

    def search(self, query: str, k: int | None = None) -> tuple[tuple[Passage, ...], Evidence]:
        """The passages for a query, at least `k`, and the evidence in them; comparisons side by side."""
        query = self.retriever.rewrite(query)
        sides = [f"What is {thing}?" for thing in compared_things(query)]
        vector, *side_vectors = self.retriever.embedder.encode([query, *sides])
        pairs = list(zip(sides, side_vectors, strict=True))
        found = [*self.retriever.retrieve(query, max(k or 0, self.settings.passages), vector=vector)]
        for side, side_vector in pairs:
            found += self.retriever.retrieve(side, PASSAGES_PER_SIDE, vector=side_vector, read=False)
        distinct: dict[int, Passage] = {}
        for passage in found:
            distinct.setdefault(passage.chunk_id, passage)
        passages = tuple(
            replace(passage, rank=rank)
            for rank, passage in enumerate(self.retriever.read(query, [*distinct.values()]), start=1)
        )
        return passages, select_evidence(query, vector, passages, sides=pairs)

    def ask(self, question: str, *, learner_id: int, **options: object) -> TurnResult:
        """The same turn, waited for."""
        *_, last = self.answer(question, learner_id=learner_id, **options)  # type: ignore[arg-type]
        assert isinstance(last, TurnLogged)
        return last.result


class _Run:
    """The state of one turn while it happens, and its steps."""

    def __init__(self, tutor: Tutor, turn_id: int, conversation_id: int, question: str, query: str) -> None:
        self.tutor = tutor
        self.turn_id = turn_id
        self.conversation_id = conversation_id
        self.question = question
        self.query = query
        self.status: Status = "interrupted"
        self.error: str | None = None
        self.checked = True
        self.confidence: float | None = None
        self.builder = AnswerBuilder()
        self.passages: tuple[Passage, ...] = ()
        self.messages: list[Message] = []
        self.draft = ""
        self.follow_ups: tuple[str, ...] = ()
        self.usage = Usage(0, 0)
        self.identity = ModelIdentity("", None, "")
        self.clock = StageClock()

    def open_book(self, adapter: str | None, asked: Sequence[str]) -> Iterator[Event]:
        """Answer from the material."""
        with self._logged() as logged:
            yield TurnStarted(self.turn_id, self.conversation_id)
            with self.clock.stage("retrieve"):
                self.passages, evidence = self.tutor.search(self.query)
            self.confidence = evidence.confidence
            yield PassagesFound(self.query, self.passages)  # sources are on screen before the first word
            if not evidence.covered:
                yield from self._decline()
            else:
                said: list[tuple[str, Vectors]] = []
                yield from self._checked_draft(evidence, adapter, said)
                yield from self._left_unsaid(evidence, said)
                self.follow_ups = follow_ups(self.question, self.passages, asked)
        yield TurnLogged(logged())

    def closed_book(self, adapter: str | None) -> Iterator[Event]:
        """Answer from the weights alone, for comparison: nothing is checked, so nothing is marked supported."""
        self.checked = False
        with self._logged() as logged:
            yield TurnStarted(self.turn_id, self.conversation_id)
            self.messages = build_closed_book(self.query)
            with closing(self._draft_sentences(adapter)) as drafted:
                for item in drafted:
                    yield self.builder.add_refused(item, (UNCHECKED,)) if isinstance(item, str) else item
            self.status = "answered"
        yield TurnLogged(logged())

    def _decline(self) -> Iterator[Event]:
        self.status = "not_covered"
        for line in not_covered(self.passages):
            yield self._shown(self.builder.add_plain(line))

    def _checked_draft(
        self, evidence: Evidence, adapter: str | None, said: list[tuple[str, Vectors]]
    ) -> Iterator[Event]:
        """The model's sentences that the evidence supports, as they come. Adds what was shown to `said`.

        A model that can't write at all costs the learner nothing but fluency: the material answers then.
        """
        self.messages = build_messages(self.query, evidence.sentences)
        refused = 0
        try:

            def give_up(beginning: str) -> bool:
                return not said and hopeless(beginning, evidence.sentences)

            with closing(self._draft_sentences(adapter, give_up)) as drafted:
                for item in drafted:
                    if isinstance(item, DraftDelta):
                        yield item
                        continue
                    for event in self._check(item, evidence, said):
                        yield event
                        refused += not event.sentence.passed
                    if (
                        refused >= MAX_REFUSED
                        or len(said) >= MAX_DRAFT_SENTENCES
                        or _all_said(evidence, said)
                    ):
                        break
        except GeneratorError as error:
            self.error = str(error)

    def _check(
        self, sentence: str, evidence: Evidence, said: list[tuple[str, Vectors]]
    ) -> Iterator[SentenceChecked]:
        """What becomes of a draft sentence: shown, not shown, or its source quoted whole because it says too little of
        it, so that no answer says the same thing twice. Adds what is shown to `said`."""
        with self.clock.stage("verify"):
            vector = self.tutor.retriever.embedder.encode([sentence])[0]
            judge = self.tutor.judge
            judged = judge.judge(pairs_to_judge(sentence, evidence.sentences)) if judge else None
            check = check_sentence(sentence, vector, evidence.sentences, self.query, judged)
        cited = [evidence.sentences[i] for i in check.cites]
        with_it = [*said, (sentence, vector)]
        if check.supported and all(self.builder.quotes(item) for item in cited):
            yield self.builder.add_refused(sentence, (QUOTED_ALREADY,))
        elif any(float(vector @ v) >= SAME_SENTENCE for _, v in said):
            yield self.builder.add_refused(sentence, ("repeats itself",))
        elif not check.supported:
            yield self.builder.add_refused(sentence, check.reasons)
        elif any(already_said(item, with_it, cited=True) for item in cited):
            said.append((sentence, vector))
            yield self._shown(self.builder.add_draft(sentence, cited))
        else:
            yield self.builder.add_refused(sentence, (QUOTED_INSTEAD,))
            for item in cited:
                if not self.builder.quotes(item):
                    yield self._quoted(item, said)

    def _quoted(self, item: EvidenceSentence, said: list[tuple[str, Vectors]]) -> SentenceChecked:
        said.append((item.sentence.text, item.vector))
        return self._shown(self.builder.add_quote(item))

    def _left_unsaid(self, evidence: Evidence, said: list[tuple[str, Vectors]]) -> Iterator[Event]:
        """What the draft missed, in the material's own words."""
        for item in evidence.sentences:
            if not already_said(item, said, cited=self.builder.cites(item)):
                yield self._quoted(item, said)
        self.status = "answered" if self.builder.in_own_words else "quoted"

    def _draft_sentences(
        self, adapter: str | None, give_up: Callable[[str], bool] = lambda _: False
    ) -> Stepwise[str | DraftDelta, None, None]:
        """The draft's raw pieces, and each sentence as soon as it is whole. Closing this stops the model.

        `give_up` looks at the sentence being written: once it says so, that sentence is the draft's last.
        """
        with self.clock.stage("load"):
            generator = self.tutor.generator_for(adapter)
        self.identity = generator.identity
        draft = generator.stream(self.messages, max_new_tokens=self.tutor.settings.max_new_tokens)
        pending = ""
        try:
            for piece in self.clock.timed("generate", draft):
                self.draft += piece
                yield DraftDelta(piece)
                finished, pending = finished_sentences(pending + piece)
                yield from finished
                if give_up(pending):
                    break
            if rest := tidy_draft_sentence(pending):
                yield rest
        finally:
            draft.cancel()
            self.usage = draft.usage

    def _shown(self, event: SentenceChecked) -> SentenceChecked:
        self.clock.mark("first_text")
        return event

    @contextmanager
    def _logged(self) -> Iterator[Callable[[], TurnResult]]:
        """Whatever happens inside, the turn is completed once with what is known; then the result is there."""
        result: list[TurnResult] = []
        try:
            with answering(self.tutor.settings.home):  # a training that runs beside stands still meanwhile
                yield lambda: result[0]
        except GeneratorError as error:  # closed book: there is no material to fall back on
            self.status, self.error = "failed", str(error)
        except (GeneratorExit, KeyboardInterrupt):
            self.status = "interrupted"
            raise
        except BaseException:
            self.status, self.error = (
                "failed",
                "Something went wrong on our side; the question is saved. Try again.",
            )
            raise
        finally:
            result.append(self._complete())

    def _complete(self) -> TurnResult:
        result = TurnResult(
            turn_id=self.turn_id,
            conversation_id=self.conversation_id,
            status=self.status,
            question=self.question,
            query=self.query,
            answer=self.builder.text if self.checked else self.draft.strip(),
            sentences=tuple(self.builder.sentences),
            citations=tuple(self.builder.citations),
            passages=self.passages,
            follow_ups=self.follow_ups,
            timings_ms=self.clock.timings(),
            usage=self.usage,
            model=self.identity,
            error=self.error,
            confidence=self.confidence,
        )
        with self.tutor.database.session() as session:
            save_result(session, result, self.messages, self.draft)
        return result


def _check_owner(session: Session, conversation_id: int, learner_id: int) -> None:
    conversation = conversations.get_conversation(session, conversation_id)
    if conversation is None or conversation.learner_id != learner_id:
        raise NotFound(f"There is no conversation {conversation_id}; start a new one, or see: history --json")


def valid_question(question: str, limit: int) -> str:
    """The question without outer whitespace and NUL characters. Raises QuestionError where nothing can be asked."""
    question = question.replace("\x00", "").strip()
    if not question:
        raise QuestionError("The question is empty. Type what you want to know about the material.")
    if len(question) > limit:
        raise QuestionError(
            f"The question has {len(question):,} characters, and the limit is {limit:,}. Shorten it, or ask in parts."
        )
    return question


def _all_said(evidence: Evidence, said: Sequence[tuple[str, Vectors]]) -> bool:
    return all(already_said(item, said) for item in evidence.sentences)
