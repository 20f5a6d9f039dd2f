"""Quizzes, the reference an attempt was graded against, and the Socratic exchange before a turn's answer.

Columns are added at the end of their tables, in words that both engines know: no table is rebuilt, so no id is
ever given again and nothing that refers to a table is touched.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "quizzes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("learner_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("page", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('page', 'concept', 'due')", name=op.f("ck_quizzes_kind")),
        sa.ForeignKeyConstraint(
            ["learner_id"], ["learners.id"], name=op.f("fk_quizzes_learner_id_learners"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quizzes")),
        sa.UniqueConstraint("request_id", name=op.f("uq_quizzes_request_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_quizzes_learner_id_created_at"), "quizzes", ["learner_id", "created_at"])
    # As text: Alembic adds a foreign key in a statement of its own, which SQLite lacks.
    op.execute(
        "ALTER TABLE quiz_attempts ADD COLUMN quiz_id INTEGER "
        "CONSTRAINT fk_quiz_attempts_quiz_id_quizzes REFERENCES quizzes (id) ON DELETE SET NULL"
    )
    op.execute("ALTER TABLE quiz_attempts ADD COLUMN reference TEXT DEFAULT '' NOT NULL")
    op.create_index(op.f("ix_quiz_attempts_quiz_id"), "quiz_attempts", ["quiz_id"])
    op.execute("ALTER TABLE turns ADD COLUMN socratic JSON")
    op.create_index(
        op.f("ix_study_events_learner_id_kind_ref"), "study_events", ["learner_id", "kind", "ref"]
    )
