"""The tables, and nothing else: no behaviour, no queries.

Rows of these classes never leave `db`. Every id is AUTOINCREMENT on SQLite, so an id is never given to a second
row and a cached index or an open page can't point at something else. The full-text index belongs to one
engine each and is therefore written in the migrations only (`chunks_fts`, `chunks.search_vector`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from db.base import ROWID, Base, learner_key, one_of

TURN_STATUSES = ("answered", "quoted", "not_covered", "interrupted", "failed")
RATINGS = ("up", "down")
REASONS = ("wrong", "unsupported", "off_topic", "too_long", "should_abstain")
FATES = ("queued", "rejected", "in_dataset", "in_adapter", "withdrawn")
VERDICTS = ("correct", "partial", "incorrect")
QUIZ_KINDS = ("page", "concept", "due")
CARD_ORIGINS = ("question", "takeaway", "answer")
JOB_STATES = ("queued", "running", "cancelled", "failed", "done")
ADAPTER_STATES = ("registered", "refused", "withdrawn")


class LearnerRow(Base):
    __tablename__ = "learners"
    __table_args__ = (CheckConstraint("length(name) > 0", name="name"), UniqueConstraint("name"), ROWID)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime]
    training_opt_out: Mapped[bool] = mapped_column(server_default=false())


class DocumentRow(Base):
    __tablename__ = "documents"
    __table_args__ = (
        UniqueConstraint("source", "path"),
        CheckConstraint("dimension > 0", name="dimension"),
        Index(None, "embedder"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    path: Mapped[str]
    title: Mapped[str]
    media_type: Mapped[str]
    content_hash: Mapped[str]
    text: Mapped[str]
    meta: Mapped[dict[str, Any]]
    embedder: Mapped[str]
    dimension: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ChunkRow(Base):
    """`start_at`/`end_at` are character offsets into the document's text."""

    __tablename__ = "chunks"
    __table_args__ = (
        UniqueConstraint("document_id", "ordinal"),
        CheckConstraint("ordinal >= 0", name="ordinal"),
        CheckConstraint("start_at >= 0 AND end_at >= start_at", name="span"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    ordinal: Mapped[int]
    heading_path: Mapped[list[Any]]
    start_at: Mapped[int]
    end_at: Mapped[int]
    text: Mapped[str]
    search_text: Mapped[str]
    sentences: Mapped[list[Any]]
    vector: Mapped[bytes]
    sentence_vectors: Mapped[bytes]


class IndexStateRow(Base):
    """One row. `version` grows with every change to documents, so that cached vectors know they are old."""

    __tablename__ = "index_state"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int]


class ConversationRow(Base):
    __tablename__ = "conversations"
    __table_args__ = (Index(None, "learner_id", "updated_at"), ROWID)

    id: Mapped[int] = mapped_column(primary_key=True)
    learner_id: Mapped[int] = learner_key()
    title: Mapped[str]
    page: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class TurnRow(Base):
    """Written when the question arrives (`interrupted`), filled in when the answer ended."""

    __tablename__ = "turns"
    __table_args__ = (
        UniqueConstraint("conversation_id", "ordinal"),
        UniqueConstraint("request_id"),
        one_of("status", TURN_STATUSES),
        CheckConstraint("completed_at IS NOT NULL OR status = 'interrupted'", name="completed"),
        Index(None, "learner_id", "created_at"),
        Index(None, "replaces"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    learner_id: Mapped[int] = learner_key()
    request_id: Mapped[str | None]
    ordinal: Mapped[int]
    replaces: Mapped[int | None] = mapped_column(ForeignKey("turns.id", ondelete="SET NULL"))
    hidden: Mapped[bool] = mapped_column(server_default=false())
    status: Mapped[str]
    question: Mapped[str]
    query: Mapped[str]
    messages: Mapped[list[Any]]
    draft: Mapped[str]
    answer: Mapped[str]
    sentences: Mapped[list[Any]]
    citations: Mapped[list[Any]]
    passages: Mapped[list[Any]]
    follow_ups: Mapped[list[Any]]
    timings_ms: Mapped[dict[str, Any]]
    tokens: Mapped[dict[str, Any]]
    model: Mapped[dict[str, Any]]
    error: Mapped[str | None]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    socratic: Mapped[dict[str, Any] | None]


class FeedbackRow(Base):
    """`request_id` is the latest request that wrote it; feedback_requests has all."""

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("learner_id", "turn_id"),
        one_of("rating", RATINGS),
        one_of("fate", FATES),
        Index(None, "learner_id", "updated_at"),
        Index(None, "turn_id"),
        Index(None, "fate"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    learner_id: Mapped[int] = learner_key()
    turn_id: Mapped[int | None] = mapped_column(ForeignKey("turns.id", ondelete="SET NULL"))
    question: Mapped[str]
    answer: Mapped[str]
    messages: Mapped[list[Any]]
    rating: Mapped[str]
    reason: Mapped[str | None]
    correction: Mapped[str | None]
    comment: Mapped[str | None]
    fate: Mapped[str] = mapped_column(server_default="queued")
    fate_reason: Mapped[str | None]
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"))
    adapter_id: Mapped[int | None] = mapped_column(ForeignKey("adapters.id", ondelete="SET NULL"))
    request_id: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class FeedbackRequestRow(Base):
    """Every request that wrote feedback, because one row of feedback may answer to several of them."""

    __tablename__ = "feedback_requests"
    __table_args__ = (Index(None, "feedback_id"),)

    request_id: Mapped[str] = mapped_column(primary_key=True)
    feedback_id: Mapped[int] = mapped_column(ForeignKey("feedback.id", ondelete="CASCADE"))


class ReadingProgressRow(Base):
    __tablename__ = "reading_progress"
    __table_args__ = (
        UniqueConstraint("learner_id", "page", "section"),
        CheckConstraint("seconds >= 0", name="seconds"),
        Index(None, "learner_id", "last_at"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    learner_id: Mapped[int] = learner_key()
    page: Mapped[str]
    section: Mapped[str]
    seconds: Mapped[float]
    read: Mapped[bool]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class QuizRow(Base):
    """A round of tasks, fixed when it starts; the answers are the attempts that name it."""

    __tablename__ = "quizzes"
    __table_args__ = (
        UniqueConstraint("request_id"),
        one_of("kind", QUIZ_KINDS),
        Index(None, "learner_id", "created_at"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    learner_id: Mapped[int] = learner_key()
    kind: Mapped[str]
    page: Mapped[str | None]
    title: Mapped[str]
    items: Mapped[list[Any]]
    request_id: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class QuizAttemptRow(Base):
    """One graded answer. `answer` NULL means "I don't know yet"; an override never erases the verdict."""

    __tablename__ = "quiz_attempts"
    __table_args__ = (
        UniqueConstraint("request_id"),
        one_of("verdict", VERDICTS),
        one_of("override_verdict", VERDICTS),
        CheckConstraint("score >= 0 AND score <= 1", name="score"),
        CheckConstraint("seconds >= 0", name="seconds"),
        CheckConstraint("(override_verdict IS NULL) = (overridden_at IS NULL)", name="override"),
        Index(None, "learner_id", "created_at"),
        Index(None, "learner_id", "page", "question_key"),
        Index(None, "quiz_id"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    learner_id: Mapped[int] = learner_key()
    request_id: Mapped[str | None]
    page: Mapped[str]
    question_key: Mapped[str]
    question: Mapped[str]
    answer: Mapped[str | None]
    verdict: Mapped[str]
    score: Mapped[float]
    key_points: Mapped[list[Any]]
    concepts: Mapped[list[Any]]
    grader: Mapped[str]
    hints: Mapped[int] = mapped_column(server_default="0")
    seconds: Mapped[float] = mapped_column(server_default="0")
    override_verdict: Mapped[str | None]
    override_reason: Mapped[str | None]
    overridden_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    quiz_id: Mapped[int | None] = mapped_column(ForeignKey("quizzes.id", ondelete="SET NULL"))
    reference: Mapped[str] = mapped_column(server_default="")


class ReviewCardRow(Base):
    """A card with its FSRS memory state (state 1 learning, 2 review, 3 relearning; stability in days)."""

    __tablename__ = "review_cards"
    __table_args__ = (
        UniqueConstraint("learner_id", "card_key"),
        one_of("origin", CARD_ORIGINS),
        CheckConstraint("state IN (1, 2, 3)", name="state"),
        CheckConstraint("stability > 0", name="stability"),
        CheckConstraint("difficulty >= 1 AND difficulty <= 10", name="difficulty"),
        CheckConstraint("lapses >= 0", name="lapses"),
        Index(None, "learner_id", "suspended", "due"),
        Index(None, "turn_id"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    learner_id: Mapped[int] = learner_key()
    card_key: Mapped[str]
    origin: Mapped[str]
    page: Mapped[str | None]
    turn_id: Mapped[int | None] = mapped_column(ForeignKey("turns.id", ondelete="SET NULL"))
    concepts: Mapped[list[Any]]
    front: Mapped[str]
    back: Mapped[str]
    state: Mapped[int]
    step: Mapped[int | None]
    stability: Mapped[float | None]
    difficulty: Mapped[float | None]
    due: Mapped[datetime]
    last_review: Mapped[datetime | None]
    lapses: Mapped[int] = mapped_column(server_default="0")
    suspended: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ReviewLogRow(Base):
    """One rating of one card (1 again .. 4 easy), with the memory state before it, so that it can be undone."""

    __tablename__ = "review_logs"
    __table_args__ = (
        UniqueConstraint("request_id"),
        CheckConstraint("rating IN (1, 2, 3, 4)", name="rating"),
        CheckConstraint("seconds >= 0", name="seconds"),
        Index(None, "card_id", "reviewed_at"),
        Index(None, "learner_id", "reviewed_at"),
        Index(None, "attempt_id"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    card_id: Mapped[int] = mapped_column(ForeignKey("review_cards.id", ondelete="CASCADE"))
    learner_id: Mapped[int] = learner_key()
    attempt_id: Mapped[int | None] = mapped_column(ForeignKey("quiz_attempts.id", ondelete="SET NULL"))
    request_id: Mapped[str | None]
    rating: Mapped[int]
    seconds: Mapped[float] = mapped_column(server_default="0")
    before: Mapped[dict[str, Any]]
    reviewed_at: Mapped[datetime]


class StudyEventRow(Base):
    __tablename__ = "study_events"
    __table_args__ = (
        CheckConstraint("seconds >= 0", name="seconds"),
        CheckConstraint("length(kind) > 0", name="kind"),
        Index(None, "learner_id", "at"),
        Index(None, "learner_id", "kind", "ref"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    learner_id: Mapped[int] = learner_key()
    kind: Mapped[str]
    page: Mapped[str | None]
    ref: Mapped[str | None]
    seconds: Mapped[float]
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class JobRow(Base):
    """One run of the offline trainer, a process of its own; `heartbeat_at` tells whether it still lives."""

    __tablename__ = "jobs"
    __table_args__ = (
        one_of("state", JOB_STATES),
        CheckConstraint("progress >= 0 AND progress <= 1", name="progress"),
        Index(None, "state"),
        Index(None, "dataset_id"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    state: Mapped[str]
    config: Mapped[dict[str, Any]]
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"))
    folder: Mapped[str | None]
    stage: Mapped[str] = mapped_column(server_default="")
    progress: Mapped[float] = mapped_column(server_default="0")
    metrics: Mapped[list[Any]]
    cancel_requested: Mapped[bool] = mapped_column(server_default=false())
    pid: Mapped[int | None]
    exit_code: Mapped[int | None]
    error: Mapped[str | None]
    heartbeat_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class DatasetRow(Base):
    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("sha256"), ROWID)

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    path: Mapped[str]
    counts: Mapped[dict[str, Any]]
    seed: Mapped[int]
    created_at: Mapped[datetime]


class DatasetItemRow(Base):
    """Which feedback a data set was made from. It outlives the feedback, so that a withdrawal still shows."""

    __tablename__ = "dataset_items"
    __table_args__ = (Index(None, "feedback_id"),)

    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    feedback_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    withdrawn_at: Mapped[datetime | None]


class AdapterRow(Base):
    __tablename__ = "adapters"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint("length(name) > 0", name="name"),
        one_of("state", ADAPTER_STATES),
        Index(None, "job_id"),
        Index(None, "dataset_id"),
        ROWID,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    path: Mapped[str]
    base_model: Mapped[str]
    sha256: Mapped[str]
    state: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any]]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"))
    created_at: Mapped[datetime]


class PromotionRow(Base):
    """Append-only: the newest row names what is served; `adapter_id` NULL is the base model alone.

    `rollback` rows take back the newest promotion that still stood.
    """

    __tablename__ = "promotions"
    __table_args__ = (Index(None, "adapter_id"), ROWID)

    id: Mapped[int] = mapped_column(primary_key=True)
    adapter_id: Mapped[int | None] = mapped_column(ForeignKey("adapters.id", ondelete="RESTRICT"))
    reason: Mapped[str]
    created_at: Mapped[datetime]
    rollback: Mapped[bool] = mapped_column(server_default=false())
