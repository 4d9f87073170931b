"""What the signal service keeps: flags, books, signals, assessments, requests, older records.

Revision ID: 0004
Revises: 0003

A version of the flags and a book are never changed: an answer is explained by replaying them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ACTIONS = "action IN ('buy', 'sell', 'hold')"
_RISK_LEVELS = "risk_level IN ('low', 'medium', 'high', 'extreme')"

_FIXED = {
    "flag_versions": "a version of the flags is never changed or removed",
    "signal_books": "a signal book is never changed",
}
"""Tables whose rows stay as they were written, with what a change is told."""


def upgrade() -> None:
    """Create the seven tables, and the triggers on those whose rows stay."""
    _create_flag_versions()
    _create_flag_arrivals()
    _create_signal_books()
    _create_signals()
    _create_llm_assessments()
    _create_requests()
    _create_legacy_records()
    _create_triggers()


def downgrade() -> None:
    """Drop what ``upgrade`` made."""
    for table in ("legacy_records", "requests", "llm_assessments", "signals", "flag_arrivals"):
        op.drop_table(table)
    for table in _FIXED:
        op.drop_table(table)  # and with it its triggers
        if _is_postgresql():
            op.execute(f"DROP FUNCTION {table}_refuse()")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _create_triggers() -> None:
    for table, refused in _FIXED.items():
        if _is_postgresql():
            op.execute(
                f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION '{refused}'; END $$"
            )
            op.execute(
                f"CREATE TRIGGER {table}_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
            )
            continue
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{refused}'); END"
            )


def _create_flag_versions() -> None:
    op.create_table(
        "flag_versions",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_flag_versions_version")),
        sa.ForeignKeyConstraint(["seq"], ["audit.seq"], name=op.f("fk_flag_versions_seq")),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_flag_versions")),
        sa.UniqueConstraint("seq", name=op.f("uq_flag_versions_seq")),
    )


def _create_flag_arrivals() -> None:
    op.create_table(
        "flag_arrivals",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("replica", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version", "replica", name=op.f("pk_flag_arrivals")),
    )


def _create_signal_books() -> None:
    op.create_table(
        "signal_books",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("book_id", sa.String(), nullable=False),
        sa.Column("cutoff", sa.Date(), nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_signal_books")),
        sa.UniqueConstraint("book_id", name=op.f("uq_signal_books_book_id")),
    )
    op.create_index(op.f("ix_signal_books_cutoff"), "signal_books", ["cutoff"])


def _create_signals() -> None:
    op.create_table(
        "signals",
        sa.Column("book_id", sa.String(), nullable=False),
        sa.Column("ticker", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("risk_level", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("expected_return", sa.Double(), nullable=False),
        sa.Column("volatility", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("position_frac", sa.Double(), nullable=False),
        sa.Column("cutoff", sa.Date(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("close", sa.Double(), nullable=True),
        sa.Column("valid", sa.Boolean(), nullable=True),
        sa.Column("layers", sa.JSON(), nullable=True),
        sa.Column("why", sa.String(), nullable=False),
        sa.CheckConstraint(_ACTIONS, name=op.f("ck_signals_action")),
        sa.CheckConstraint(_RISK_LEVELS, name=op.f("ck_signals_risk_level")),
        sa.CheckConstraint(
            "confidence >= 0 AND confidence <= 1", name=op.f("ck_signals_confidence")
        ),
        sa.CheckConstraint("step >= 1", name=op.f("ck_signals_step")),
        sa.PrimaryKeyConstraint("book_id", "ticker", "source", name=op.f("pk_signals")),
    )
    op.create_index(op.f("ix_signals_cutoff"), "signals", ["cutoff"])


def _create_llm_assessments() -> None:
    op.create_table(
        "llm_assessments",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("ticker", sa.String(), nullable=False),
        sa.Column("cutoff", sa.Date(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("risk_level", sa.String(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("expected_return", sa.Double(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(_ACTIONS, name=op.f("ck_llm_assessments_action")),
        sa.CheckConstraint(_RISK_LEVELS, name=op.f("ck_llm_assessments_risk_level")),
        sa.CheckConstraint(
            "status IN ('answered', 'failed')", name=op.f("ck_llm_assessments_status")
        ),
        sa.CheckConstraint(
            "status = 'failed' OR (risk_level IS NOT NULL AND confidence IS NOT NULL "
            "AND expected_return IS NOT NULL)",
            name=op.f("ck_llm_assessments_answer"),
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_llm_assessments")),
        sa.UniqueConstraint("key", "at", name=op.f("uq_llm_assessments_key_at")),
    )
    op.create_index(op.f("ix_llm_assessments_cutoff"), "llm_assessments", ["cutoff"])
    op.create_index(op.f("ix_llm_assessments_at"), "llm_assessments", ["at"])


def _create_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("latency_s", sa.Double(), nullable=False),
        sa.Column("signal_id", sa.String(), nullable=False),
        sa.Column("replica", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_requests")),
        sa.UniqueConstraint("id", name=op.f("uq_requests_id")),
    )
    op.create_index(op.f("ix_requests_at"), "requests", ["at"])


def _create_legacy_records() -> None:
    op.create_table(
        "legacy_records",
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("ticker", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("action", sa.String(), nullable=True),
        sa.Column("risk_level", sa.String(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("original", sa.JSON(), nullable=False),
        sa.CheckConstraint(_ACTIONS, name=op.f("ck_legacy_records_action")),
        sa.CheckConstraint(_RISK_LEVELS, name=op.f("ck_legacy_records_risk_level")),
        sa.CheckConstraint(
            "action IS NOT NULL OR origin = 'llm_risks'",
            name=op.f("ck_legacy_records_action_known"),
        ),
        sa.CheckConstraint(
            "risk_level IS NOT NULL OR origin <> 'llm_risks'",
            name=op.f("ck_legacy_records_risk_known"),
        ),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_legacy_records")),
    )
    op.create_index(op.f("ix_legacy_records_ticker"), "legacy_records", ["ticker"])
