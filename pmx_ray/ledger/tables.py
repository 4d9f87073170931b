"""The tables as they are now. A change here needs a migration: a test compares the two."""

from datetime import UTC, date, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Connection,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of constraints: a migration can only drop what has a name."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time with its zone on every backend: SQLite keeps UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return ``value`` in UTC, without its zone where the backend has none."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime | None:
        """Return ``value`` in UTC with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Seq = BigInteger().with_variant(Integer, "sqlite")
"""A number the database gives out; SQLite does so for INTEGER alone."""

_ACTIONS = "action IN ('buy', 'sell', 'hold')"
_RISK_LEVELS = "risk_level IN ('low', 'medium', 'high', 'extreme')"


class Base(DeclarativeBase):
    """Root of the ledger's tables."""

    metadata = MetaData(naming_convention=NAMING)


class RunRow(Base):
    """One evaluated sweep."""

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint("n_failed >= 0 AND n_failed <= n_cells", name="counts"),
        CheckConstraint("status IN ('done', 'partial')", name="status"),
    )

    sweep_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    panel_sha256: Mapped[str]
    forecast_sha256: Mapped[str]
    engine_version: Mapped[str]
    settings: Mapped[dict[str, object]] = mapped_column(JSON)
    n_cells: Mapped[int] = mapped_column(BigInteger)
    n_failed: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str]


class SpecRow(Base):
    """One forecaster spec, in as many runs as it likes."""

    __tablename__ = "specs"

    spec_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    params: Mapped[dict[str, object]] = mapped_column(JSON)


class MetricRow(Base):
    """One figure of one spec at one step of one run; null where it is not defined."""

    __tablename__ = "metrics"
    __table_args__ = (CheckConstraint("step >= 0", name="step"),)

    sweep_id: Mapped[str] = mapped_column(
        ForeignKey("runs.sweep_id", ondelete="CASCADE"), primary_key=True
    )
    spec_id: Mapped[str] = mapped_column(ForeignKey("specs.spec_id"), primary_key=True, index=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    measure: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None] = mapped_column(Double)


class SliceRow(Base):
    """A data slice that trials were evaluated on: tickers and cutoffs, kept once."""

    __tablename__ = "slices"
    __table_args__ = (CheckConstraint("n_cutoffs > 0", name="n_cutoffs"),)

    slice_id: Mapped[str] = mapped_column(primary_key=True)
    first: Mapped[date] = mapped_column(index=True)
    last: Mapped[date]
    n_cutoffs: Mapped[int]
    tickers: Mapped[list[str]] = mapped_column(JSON)
    cutoffs: Mapped[bytes] = mapped_column(LargeBinary)


class TrialRow(Base):
    """One configuration that was evaluated on one slice, with its return at each cutoff."""

    __tablename__ = "evaluated_trials"
    __table_args__ = (
        CheckConstraint("step >= 1", name="step"),
        CheckConstraint("source IN ('sweep', 'tune', 'ci')", name="source"),
    )

    config_id: Mapped[str] = mapped_column(primary_key=True)
    slice_id: Mapped[str] = mapped_column(
        ForeignKey("slices.slice_id"), primary_key=True, index=True
    )
    spec_id: Mapped[str]
    label: Mapped[str]
    step: Mapped[int]
    source: Mapped[str]
    returns: Mapped[bytes] = mapped_column(LargeBinary)


class AuditRow(Base):
    """One entry of the audit log; its hash covers the other columns just as they stand here."""

    __tablename__ = "audit"
    __table_args__ = (CheckConstraint("seq >= 1", name="seq"),)

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[str]
    kind: Mapped[str]
    actor: Mapped[str]
    key: Mapped[str | None] = mapped_column(unique=True)
    payload: Mapped[str]
    previous: Mapped[str]
    hash: Mapped[str]


class AuditHeadRow(Base):
    """Where the audit log ends; the one row that moves with every entry."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str]


class AliasRow(Base):
    """A name in service: the model it points to, how often it moved, and the entry that did it."""

    __tablename__ = "aliases"
    __table_args__ = (
        CheckConstraint(
            "alias IN ('champion', 'challenger', 'fallback', 'last_good')", name="alias"
        ),
        CheckConstraint("version >= 1", name="version"),
    )

    alias: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    version: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger, ForeignKey("audit.seq"))


class FlagVersionRow(Base):
    """One version of the flags: the entry of the audit log that says what they are."""

    __tablename__ = "flag_versions"
    __table_args__ = (CheckConstraint("version >= 1", name="version"),)

    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger, ForeignKey("audit.seq"), unique=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class FlagArrivalRow(Base):
    """When a version of the flags took effect at a replica."""

    __tablename__ = "flag_arrivals"

    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    replica: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class BookRow(Base):
    """One signal book: every candidate of every ticker at a cutoff, as JSON."""

    __tablename__ = "signal_books"

    seq: Mapped[int] = mapped_column(Seq, primary_key=True, autoincrement=True)
    book_id: Mapped[str] = mapped_column(unique=True)
    cutoff: Mapped[date] = mapped_column(index=True)
    computed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    document: Mapped[str]


class SignalRow(Base):
    """One signal of one model in one book; ``valid`` is null until the validator has judged it."""

    __tablename__ = "signals"
    __table_args__ = (
        CheckConstraint(_ACTIONS, name="action"),
        CheckConstraint(_RISK_LEVELS, name="risk_level"),
        CheckConstraint("confidence >= 0 AND confidence <= 1", name="confidence"),
        CheckConstraint("step >= 1", name="step"),
    )

    book_id: Mapped[str] = mapped_column(primary_key=True)
    ticker: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    action: Mapped[str]
    risk_level: Mapped[str]
    step: Mapped[int]
    expected_return: Mapped[float] = mapped_column(Double)
    volatility: Mapped[float] = mapped_column(Double)
    confidence: Mapped[float] = mapped_column(Double)
    position_frac: Mapped[float] = mapped_column(Double)
    cutoff: Mapped[date] = mapped_column(index=True)
    model_id: Mapped[str]
    label: Mapped[str]
    close: Mapped[float | None] = mapped_column(Double)
    valid: Mapped[bool | None]
    layers: Mapped[dict[str, bool] | None] = mapped_column(JSON(none_as_null=True))
    why: Mapped[str]


class AssessmentRow(Base):
    """One call of the language model, answered or not; a call without an answer says hold."""

    __tablename__ = "llm_assessments"
    __table_args__ = (
        CheckConstraint(_ACTIONS, name="action"),
        CheckConstraint(_RISK_LEVELS, name="risk_level"),
        CheckConstraint("status IN ('answered', 'failed')", name="status"),
        CheckConstraint(
            "status = 'failed' OR (risk_level IS NOT NULL AND confidence IS NOT NULL "
            "AND expected_return IS NOT NULL)",
            name="answer",
        ),
        UniqueConstraint("key", "at"),
    )

    seq: Mapped[int] = mapped_column(Seq, primary_key=True, autoincrement=True)
    key: Mapped[str]
    model: Mapped[str]
    digest: Mapped[str]
    ticker: Mapped[str]
    cutoff: Mapped[date] = mapped_column(index=True)
    action: Mapped[str]
    risk_level: Mapped[str | None]
    confidence: Mapped[float | None] = mapped_column(Double)
    expected_return: Mapped[float | None] = mapped_column(Double)
    prompt_tokens: Mapped[int]
    output_tokens: Mapped[int]
    seconds: Mapped[float] = mapped_column(Double)
    cached: Mapped[bool]
    status: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class RequestRow(Base):
    """One request that the endpoint answered, with the name of the token and never the token."""

    __tablename__ = "requests"

    seq: Mapped[int] = mapped_column(Seq, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    token: Mapped[str]
    method: Mapped[str]
    path: Mapped[str]
    status: Mapped[int]
    latency_s: Mapped[float] = mapped_column(Double)
    signal_id: Mapped[str]
    replica: Mapped[str]


class LegacyRow(Base):
    """One row of an older program's database, with the words of today beside the row itself."""

    __tablename__ = "legacy_records"
    __table_args__ = (
        CheckConstraint(_ACTIONS, name="action"),
        CheckConstraint(_RISK_LEVELS, name="risk_level"),
        CheckConstraint("action IS NOT NULL OR origin = 'llm_risks'", name="action_known"),
        CheckConstraint("risk_level IS NOT NULL OR origin <> 'llm_risks'", name="risk_known"),
    )

    record_id: Mapped[str] = mapped_column(primary_key=True)
    origin: Mapped[str]
    ticker: Mapped[str] = mapped_column(index=True)
    day: Mapped[date]
    action: Mapped[str | None]
    risk_level: Mapped[str | None]
    confidence: Mapped[float | None] = mapped_column(Double)
    model: Mapped[str]
    original: Mapped[dict[str, object]] = mapped_column(JSON)


def insert(connection: Connection, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """Return an insert of the connection's own kind, which can say what a taken key means."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def insert_new(connection: Connection, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """Return an insert that leaves a row alone whose key is taken."""
    return insert(connection, table).on_conflict_do_nothing()
