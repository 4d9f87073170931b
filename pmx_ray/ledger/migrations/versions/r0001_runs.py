"""Runs, specs and metrics.

Revision ID: 0001
Revises: none
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create runs, specs and metrics."""
    op.create_table(
        "runs",
        sa.Column("sweep_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("panel_sha256", sa.String(), nullable=False),
        sa.Column("forecast_sha256", sa.String(), nullable=False),
        sa.Column("engine_version", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("n_cells", sa.BigInteger(), nullable=False),
        sa.Column("n_failed", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.CheckConstraint("n_failed >= 0 AND n_failed <= n_cells", name=op.f("ck_runs_counts")),
        sa.CheckConstraint("status IN ('done', 'partial')", name=op.f("ck_runs_status")),
        sa.PrimaryKeyConstraint("sweep_id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_recorded_at"), "runs", ["recorded_at"])
    op.create_table(
        "specs",
        sa.Column("spec_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("spec_id", name=op.f("pk_specs")),
    )
    op.create_index(op.f("ix_specs_name"), "specs", ["name"])
    op.create_table(
        "metrics",
        sa.Column("sweep_id", sa.String(), nullable=False),
        sa.Column("spec_id", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("measure", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.CheckConstraint("step >= 0", name=op.f("ck_metrics_step")),
        sa.ForeignKeyConstraint(
            ["sweep_id"],
            ["runs.sweep_id"],
            name=op.f("fk_metrics_sweep_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["spec_id"], ["specs.spec_id"], name=op.f("fk_metrics_spec_id")),
        sa.PrimaryKeyConstraint("sweep_id", "spec_id", "step", "measure", name=op.f("pk_metrics")),
    )
    op.create_index(op.f("ix_metrics_spec_id"), "metrics", ["spec_id"])


def downgrade() -> None:
    """Drop what ``upgrade`` made."""
    op.drop_table("metrics")
    op.drop_table("specs")
    op.drop_table("runs")
