"""The verbs that move what is in service and say why."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pmx_ray.cli import options
from pmx_ray.cli.audit_log import audit
from pmx_ray.cli.options import EXIT_OTHER, Json, Out
from pmx_ray.cli.service import acting, root_of, shown_time, voice_of
from pmx_ray.clock import utc_now
from pmx_ray.errors import SettingsError
from pmx_ray.place import ledger_url

if TYPE_CHECKING:
    from pmx_ray.cli.steps import Voice
    from pmx_ray.governance.policy import GovernancePolicy
    from pmx_ray.ledger.aliases import Placement

Key = Annotated[
    str | None,
    typer.Option(help="Idempotency key: a second call with it changes nothing."),
]
Policy = Annotated[
    Path | None,
    typer.Option(help="YAML file of the policy in force. [default: the built-in policy]"),
]
Actor = Annotated[str | None, typer.Option(help="Who does it. [default: the account's name]")]


def mount(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.command(name="promote")(promote)
    app.command(name="challenger")(challenger)
    app.command(name="revert")(revert)
    app.command(name="registry")(registry)
    app.add_typer(audit, name="audit")


def promote(
    decision: Annotated[Path, typer.Argument(help="The decision.json of a sweep folder.")],
    *,
    approved_by: Annotated[
        list[str] | None, typer.Option(help="Who agreed to it; repeatable.")
    ] = None,
    override: Annotated[
        str | None,
        typer.Option(
            metavar="WHY", help="Put it in service although checks failed; needs --approved-by."
        ),
    ] = None,
    policy: Policy = None,
    actor: Actor = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Put a forecaster in service by its certificate, or by a named person's override."""
    from pmx_ray.governance.admission import promote_sweep, read_application  # noqa: PLC0415
    from pmx_ray.governance.opening import open_registry  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415

    options.see_plugins()
    application = read_application(decision)
    before = utc_now()
    with open_ledger(ledger_url(application.root)) as ledger:
        entry, champion = promote_sweep(
            application,
            _in_force(policy),
            registry=open_registry(application.root),
            ledger=ledger,
            key=key,
            actor=acting(actor),
            approved_by=approved_by or [],
            clock=utc_now,
            override=override,
        )
    label, model = entry.payload["label"], entry.payload["model"]
    failed = entry.payload.get("override", {}).get("failed", [])
    text = f"promote: {label}, model {model[:12]}, is champion (entry {entry.seq})"
    if failed:
        text += f", although it failed {', '.join(failed)}"
    if entry.at < before:
        text = (
            f"promote: nothing changed; this was entry {entry.seq} at {shown_time(entry.at)}, and "
            f"the champion is model {champion.model[:12]} now; --key makes another promotion of it"
        )
    voice_of(as_json).say(
        "promote",
        text,
        seq=entry.seq,
        label=label,
        model=model,
        champion=champion.model,
        overridden=failed,
    )


def challenger(
    decision: Annotated[Path, typer.Argument(help="The decision.json of a sweep folder.")],
    *,
    policy: Policy = None,
    actor: Actor = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Let a judged forecaster run in shadow beside the champion; it is never served."""
    from pmx_ray.governance.admission import challenge_sweep, read_application  # noqa: PLC0415
    from pmx_ray.governance.opening import open_registry  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415

    options.see_plugins()
    application = read_application(decision)
    with open_ledger(ledger_url(application.root)) as ledger:
        entry = challenge_sweep(
            application,
            _in_force(policy),
            registry=open_registry(application.root),
            ledger=ledger,
            key=key,
            actor=acting(actor),
            clock=utc_now,
        )
    label, model = entry.payload["label"], entry.payload["model"]
    text = f"challenger: {label}, model {model[:12]}, runs in shadow (entry {entry.seq})"
    voice_of(as_json).say("challenger", text, seq=entry.seq, label=label, model=model)


def revert(
    *,
    reason: Annotated[str, typer.Option(help="Why the champion is to go.")],
    actor: Actor = None,
    key: Key = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Put the last good forecaster back in service, or the fallback where that cannot serve."""
    from pmx_ray.governance import promotion  # noqa: PLC0415
    from pmx_ray.governance.opening import open_registry  # noqa: PLC0415
    from pmx_ray.governance.standing import verified_label  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415

    root = root_of(out)
    with open_ledger(ledger_url(root)) as ledger:
        entry = promotion.revert(
            open_registry(root, make_key=False),
            ledger,
            reason=reason,
            actor=acting(actor),
            key=key,
            clock=utc_now,
        )
    model = entry.payload["moves"][0]["to"]
    label, _ = verified_label(root, model)
    text = f"revert: {label}, model {model[:12]}, is champion (entry {entry.seq})"
    voice_of(as_json).say("revert", text, seq=entry.seq, label=label, model=model)


def registry(
    *,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="What was in service then, e.g. 2026-03-01T14:00 (UTC)."),
    ] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Show what is in service, since when, by whom and why; exit 1 if any of it does not verify."""
    from pmx_ray.governance.standing import verified_label  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415
    from pmx_ray.ledger.aliases import Alias, Aliases  # noqa: PLC0415

    root = root_of(out)
    with open_ledger(ledger_url(root)) as ledger:
        aliases = Aliases(ledger)
        standing = aliases.as_of(_parsed(as_of)) if as_of else aliases.current()
        url = ledger.shown_url
    rows = [
        {**_row(placement), **dict(zip(("label", "problem"), found, strict=True))}
        for placement in (standing[alias] for alias in Alias if alias in standing)
        for found in [verified_label(root, placement.model)]
    ]
    _show_registry(voice_of(as_json), rows, f"{url}, {as_of or 'now'}")
    if any(row["problem"] for row in rows):
        raise typer.Exit(EXIT_OTHER)


def _show_registry(voice: "Voice", rows: list[dict[str, Any]], where: str) -> None:
    if voice.as_json:
        for row in rows:
            voice.say("alias", "", **row)
        return
    if not rows:
        voice.say("registry", f"registry: nothing in service in {where}")
        return
    table = Table("alias", "model", "since (UTC)", "by", "why", "files")
    for row in rows:
        model = f"{row['label']} {row['model'][:12]}".strip()
        files = "[bold red]refused[/]" if row["problem"] else "[green]verified[/]"
        by, why = escape(row["by"]), escape(row["why"])
        table.add_row(row["alias"], escape(model), row["since"], by, why, files)
    voice.console.print(table)
    for row in rows:
        if row["problem"]:
            voice.say("refused", f"{row['alias']}: {row['problem']}")


def _row(placement: "Placement") -> dict[str, Any]:
    from pmx_ray.governance.standing import why  # noqa: PLC0415

    return {
        "alias": placement.alias.value,
        "model": placement.model,
        "version": placement.version,
        "since": shown_time(placement.entry.at),
        "by": placement.entry.actor,
        "why": why(placement),
        "seq": placement.entry.seq,
    }


def _parsed(written: str) -> datetime:
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        raise SettingsError(
            f"--as-of was '{written}'; write a time as 2026-03-01T14:00, UTC unless it has a zone"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _in_force(policy: Path | None) -> "GovernancePolicy":
    from pmx_ray.governance.policy import GovernancePolicy, load_policy  # noqa: PLC0415

    return load_policy(policy) if policy else GovernancePolicy()
