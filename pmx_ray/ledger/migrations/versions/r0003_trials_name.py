"""Leave the name `trials` to Optuna, whose studies lie in the same database.

Revision ID: 0003
Revises: 0002

A ledger that was made before has the table under its first name; a new one never does.
"""

import sqlalchemy as sa
from alembic import op

from pmx_ray.ledger.migrations.versions.r0002_governance import create_evaluated_trials

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = "config_id, slice_id, spec_id, label, step, source, returns"


def upgrade() -> None:
    """Move the rows of `trials` to `evaluated_trials`."""
    if sa.inspect(op.get_bind()).has_table("evaluated_trials"):
        return
    create_evaluated_trials()
    op.execute(
        f"INSERT INTO evaluated_trials ({_COLUMNS}) SELECT {_COLUMNS} FROM trials"  # noqa: S608
    )
    op.drop_table("trials")


def downgrade() -> None:
    """Leave the table where it is: revision 0002 makes it under this name too."""
