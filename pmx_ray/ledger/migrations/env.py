"""Run migrations on the connection that ``pmx_ray.ledger.schema`` hands over; never imported."""

from alembic import context

from pmx_ray.ledger.schema import VERSION_TABLE
from pmx_ray.ledger.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
