"""What the API's routes do: read the board and the ledger, change flags, move the champion."""

from typing import Any

from pmx_ray import tracing
from pmx_ray.errors import DataError, PmxError, SettingsError
from pmx_ray.governance.opening import open_registry
from pmx_ray.governance.promotion import revert as revert_champion
from pmx_ray.governance.registry import Registry
from pmx_ray.governance.standing import standing
from pmx_ray.ledger.aliases import Alias, Aliases, placements
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import AuditEntry
from pmx_ray.ledger.flags import FlagLog
from pmx_ray.ledger.request_log import RequestLog
from pmx_ray.ledger.signal_log import SignalLog
from pmx_ray.signals.flag_source import FlagView, changing
from pmx_ray.signals.types import FlagStatus
from serve_apps.board import Board
from serve_apps.bodies import FlagChange, PromotionRequest, ReversionRequest
from serve_apps.desk import Desk


class UnreadyError(PmxError):
    """Nothing can be served yet."""


def board(desk: Desk) -> Board:
    """Return what the replica answers with.

    Raises
    ------
    UnreadyError
        If there is no book yet.
    """
    found = desk.watch.board
    if found is None:
        raise UnreadyError(desk.unready() or "there is no book of signals yet")
    return found


def view(desk: Desk) -> FlagView:
    """Return the flags as the replica knows them.

    Raises
    ------
    UnreadyError
        Before the first look.
    """
    found = desk.watch.view
    if found is None:
        raise UnreadyError("the flags are not known yet")
    return found


def gauge(desk: Desk) -> None:
    """Set the gauges to what is so now."""
    numbers, known = desk.numbers, desk.watch.view
    if known is not None:
        numbers.set("flags_version", known.version)
        numbers.set("flags_live", float(known.status is FlagStatus.LIVE))
    up = desk.watch.board
    if up is not None:
        age = desk.clock() - up.book.computed_at
        numbers.set("book_age_seconds", age.total_seconds())
        numbers.set("prices_stale", float(bool(up.stale_reason)))
    numbers.set("trail_lost", desk.trail.n_lost)


def flags(desk: Desk) -> dict[str, Any]:
    """Return the flags with their meaning."""
    known = view(desk)
    return {
        "version": known.version,
        "status": known.status.value,
        "values": known.values.model_dump(),
        "age_s": known.age_s,
        "why": known.why,
        "replica": desk.replica,
    }


def change_flags(desk: Desk, change: FlagChange, *, actor: str, key: str | None) -> dict[str, Any]:
    """Change flags in the ledger; return the new version.

    Raises
    ------
    SettingsError
        If a flag is unknown or retired, or a value is wrong.
    StaleVersionError
        If the flags moved since ``expected_version``.
    LedgerError
        If the ledger cannot be written.
    """
    record = FlagLog(desk.ledger).change(
        changing(change.changes),
        actor=actor,
        reason=change.reason,
        expected_version=change.expected_version,
        key=key,
        clock=desk.clock,
    )
    return {
        "version": record.version,
        "values": dict(record.values),
        "changed_at": record.at.isoformat(),
        "changed_by": record.actor,
        "reason": record.reason,
    }


def registry(desk: Desk) -> dict[str, Any]:
    """Return what each alias points to; a model that does not verify is shown without a label."""
    placed, log = Aliases(desk.ledger).current(), AuditLog(desk.ledger).entries()
    kept = _models(desk) if placed else None
    rows: dict[str, Any] = {}
    for alias, placement in placed.items():
        assert kept is not None  # noqa: S101 - there is a placement
        row: dict[str, Any] = {
            "model": placement.model,
            "version": placement.version,
            "since": placement.entry.at.isoformat(),
            "entry": placement.entry.seq,
        }
        try:
            model = kept.load(placement.model)
        except PmxError as error:
            row["trouble"] = str(error)
        else:
            certified, sentence = standing(placement, model, log=log)
            row |= {"label": model.version.label, "certified": certified, "standing": sentence}
        rows[alias.value] = row
    return {"aliases": rows}


def promote(desk: Desk, asked: PromotionRequest, *, actor: str, key: str) -> dict[str, Any]:
    """Put the model of a certified sweep in service.

    Raises
    ------
    DataError, SettingsError
        If there is no such sweep or decision, or it may not be promoted.
    StaleVersionError, TakenKeyError, RegistryError, LedgerError
        As in ``promotion.promote``.
    """
    from pmx_ray.governance.admission import (  # noqa: PLC0415 - seconds to import
        promote_sweep,
        read_application,
    )

    folder = desk.home / asked.sweep
    if folder.resolve().parent != desk.home.resolve() or not folder.is_dir():
        raise DataError(f"sweep {asked.sweep} is not in the service's folder")
    with tracing.span("read_sweep", {"pmx.sweep": folder.name}):
        application = read_application(folder / "decision.json")
    with tracing.span("promote"):
        entry, _ = promote_sweep(
            application,
            desk.settings.policy_in_force(),
            registry=open_registry(desk.home),
            ledger=desk.ledger,
            key=key,
            actor=actor,
            approved_by=list(asked.approved_by),
            clock=desk.clock,
            override=asked.override,
        )
    return _moved(entry)


def revert(desk: Desk, asked: ReversionRequest, *, actor: str, key: str) -> dict[str, Any]:
    """Put the last good model back in service.

    Raises
    ------
    RegistryError
        If there is nothing to revert to.
    StaleVersionError, TakenKeyError, LedgerError
        As in ``promotion.revert``.
    """
    entry = revert_champion(
        _models(desk),
        desk.ledger,
        reason=asked.reason,
        actor=actor,
        key=key,
        clock=desk.clock,
    )
    return _moved(entry)


def status(desk: Desk) -> dict[str, Any]:
    """Return what serves, how fresh it is, and counts since the ledger began."""
    up = desk.watch.board
    document: dict[str, Any] = {
        "replica": desk.replica,
        "ready": not desk.unready(),
        "trouble": desk.watch.trouble,
        "flags": flags(desk),
        "signals": dict(SignalLog(desk.ledger).counts()),
        "requests": dict(RequestLog(desk.ledger).counts()),
    }
    if up is not None:
        document["book"] = {
            "id": up.book_id,
            "cutoff": up.book.cutoff.isoformat(),
            "computed_at": up.book.computed_at.isoformat(),
            "stale": up.stale_reason,
            "models": {s.value: m.model_dump(mode="json") for s, m in up.book.models.items()},
            "failures": {source.value: why for source, why in up.book.failures.items()},
        }
    try:
        document["keeper"] = desk.keeper()
    except Exception as error:  # noqa: BLE001 - whatever Ray raises, the status says it
        document["keeper"] = {"trouble": f"the keeper does not answer: {type(error).__name__}"}
    return document


def _moved(entry: AuditEntry) -> dict[str, Any]:
    """Return what an entry put in service, which asked again later may be so no longer."""
    champion = placements([entry])[Alias.CHAMPION]
    return {"entry": entry.seq, "at": entry.at.isoformat(), "champion": champion.model}


def _models(desk: Desk) -> Registry:
    """Return the registry to serve from.

    Raises
    ------
    UnreadyError
        If the service lacks what verifies models; the caller cannot help it.
    """
    try:
        return open_registry(desk.home, make_key=False)
    except SettingsError as error:
        raise UnreadyError(str(error)) from None
