"""What a data set was made from, a learner's refusal, and promotions that take one back.

Columns are added at the end of their tables and no table is rebuilt, so no id is ever given again. The words that
`feedback.reason` may hold are therefore checked where it is written, not by the table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dataset_items",
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("feedback_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_dataset_items_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dataset_id", "feedback_id", name=op.f("pk_dataset_items")),
    )
    op.create_index(op.f("ix_dataset_items_feedback_id"), "dataset_items", ["feedback_id"])
    for table, name in (("learners", "training_opt_out"), ("promotions", "rollback")):
        op.add_column(table, sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))
