"""Trials and their slices, the audit log with its head, and aliases.

Revision ID: 0002
Revises: 0001

The triggers refuse what nobody does by mistake. Who owns the database can drop them; the chain of
hashes is what shows it afterwards. A later migration that copies one of these tables on SQLite
(Alembic's batch mode) must make the triggers again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REFUSED = "the audit log is append-only and no entry of it is ever changed or removed"

_SQLITE = {
    "audit_no_update": "UPDATE ON audit",
    "audit_no_delete": "DELETE ON audit",
    # INSERT OR REPLACE removes the row in its way without asking the trigger above.
    "audit_no_replace": (
        "INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq OR key = NEW.key)"
    ),
    "audit_head_forward": "UPDATE ON audit_head WHEN NEW.n <> OLD.n + 1",
    "audit_head_no_delete": "DELETE ON audit_head",
    "audit_head_no_replace": "INSERT ON audit_head WHEN EXISTS (SELECT 1 FROM audit_head)",
}
"""Each trigger with what it refuses."""

_POSTGRESQL = (
    f"CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$",
    "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_head_kept BEFORE DELETE OR TRUNCATE ON audit_head "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_head_forward BEFORE UPDATE ON audit_head "
    "FOR EACH ROW WHEN (NEW.n <> OLD.n + 1) EXECUTE FUNCTION audit_refuse()",
)


def upgrade() -> None:
    """Create slices, evaluated_trials, audit, audit_head and aliases, and the triggers."""
    _create_trials()
    _create_audit()
    _create_aliases()
    _create_triggers()


def downgrade() -> None:
    """Drop what ``upgrade`` made."""
    for table in ("aliases", "audit_head", "audit", "evaluated_trials", "slices"):
        op.drop_table(table)  # and with it its triggers
    if _is_postgresql():
        op.execute("DROP FUNCTION audit_refuse()")


def _create_triggers() -> None:
    if _is_postgresql():
        for statement in _POSTGRESQL:
            op.execute(statement)
        return
    refuse = f"SELECT RAISE(ABORT, '{_REFUSED}')"
    for name, what in _SQLITE.items():
        op.execute(f"CREATE TRIGGER {name} BEFORE {what} BEGIN {refuse}; END")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _create_trials() -> None:
    op.create_table(
        "slices",
        sa.Column("slice_id", sa.String(), nullable=False),
        sa.Column("first", sa.Date(), nullable=False),
        sa.Column("last", sa.Date(), nullable=False),
        sa.Column("n_cutoffs", sa.Integer(), nullable=False),
        sa.Column("tickers", sa.JSON(), nullable=False),
        sa.Column("cutoffs", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("n_cutoffs > 0", name=op.f("ck_slices_n_cutoffs")),
        sa.PrimaryKeyConstraint("slice_id", name=op.f("pk_slices")),
    )
    op.create_index(op.f("ix_slices_first"), "slices", ["first"])
    create_evaluated_trials()


def create_evaluated_trials() -> None:
    """Create what `trials` was called until revision 0003: Optuna has a table of that name."""
    op.create_table(
        "evaluated_trials",
        sa.Column("config_id", sa.String(), nullable=False),
        sa.Column("slice_id", sa.String(), nullable=False),
        sa.Column("spec_id", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("returns", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("step >= 1", name=op.f("ck_evaluated_trials_step")),
        sa.CheckConstraint(
            "source IN ('sweep', 'tune', 'ci')", name=op.f("ck_evaluated_trials_source")
        ),
        sa.ForeignKeyConstraint(
            ["slice_id"], ["slices.slice_id"], name=op.f("fk_evaluated_trials_slice_id")
        ),
        sa.PrimaryKeyConstraint("config_id", "slice_id", name=op.f("pk_evaluated_trials")),
    )
    op.create_index(op.f("ix_evaluated_trials_slice_id"), "evaluated_trials", ["slice_id"])


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=True),
        sa.Column("payload", sa.String(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.CheckConstraint("seq >= 1", name=op.f("ck_audit_seq")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
        sa.UniqueConstraint("key", name=op.f("uq_audit_key")),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.bulk_insert(head, [{"id": 1, "n": 0, "hash": "0" * 64}])


def _create_aliases() -> None:
    op.create_table(
        "aliases",
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "alias IN ('champion', 'challenger', 'fallback', 'last_good')",
            name=op.f("ck_aliases_alias"),
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_aliases_version")),
        sa.ForeignKeyConstraint(["seq"], ["audit.seq"], name=op.f("fk_aliases_seq")),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_aliases")),
    )
