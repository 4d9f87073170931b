"""The verbs that move what is in service and say why: promote, revert, registry, audit."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pmx_ray.cli import options
from pmx_ray.cli.options import EXIT_OTHER, Json, Out
from pmx_ray.cli.place import default_root, ledger_url
from pmx_ray.clock import utc_now
from pmx_ray.errors import SettingsError

if TYPE_CHECKING:
    from pmx_ray.cli.steps import Voice
    from pmx_ray.ledger.aliases import Placement
    from pmx_ray.ledger.chain import AuditEntry

Key = Annotated[
    str | None,
    typer.Option(help="Idempotency key: a second call with it changes nothing."),
]
Policy = Annotated[
    Path | None,
    typer.Option(help="YAML file of the policy in force. [default: the built-in policy]"),
]
Actor = Annotated[str | None, typer.Option(help="Who does it. [default: the account's name]")]

audit = typer.Typer(help="Read and verify the audit log.", no_args_is_help=True)


def mount(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.command(name="promote")(promote)
    app.command(name="revert")(revert)
    app.command(name="registry")(registry)
    app.add_typer(audit, name="audit")


def promote(
    decision: Annotated[Path, typer.Argument(help="The decision.json of a sweep folder.")],
    *,
    approved_by: Annotated[
        list[str] | None, typer.Option(help="Who agreed to it; repeatable.")
    ] = None,
    policy: Policy = None,
    actor: Actor = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Put a certified forecaster in service; the one before it becomes the last good one."""
    from pmx_ray.cli import service  # noqa: PLC0415
    from pmx_ray.governance.admission import promote_sweep, read_application  # noqa: PLC0415
    from pmx_ray.governance.opening import open_registry  # noqa: PLC0415
    from pmx_ray.governance.policy import GovernancePolicy, load_policy  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415

    options.see_plugins()
    in_force = load_policy(policy) if policy else GovernancePolicy()
    application = read_application(decision)
    before = utc_now()
    with open_ledger(ledger_url(application.root)) as ledger:
        entry, champion = promote_sweep(
            application,
            in_force,
            registry=open_registry(application.root),
            ledger=ledger,
            key=key,
            actor=service.acting(actor),
            approved_by=approved_by or [],
            clock=utc_now,
        )
    label, model = entry.payload["label"], entry.payload["model"]
    text = f"promote: {label}, model {model[:12]}, is champion (entry {entry.seq})"
    if entry.at < before:
        text = (
            f"promote: nothing changed; this was entry {entry.seq} at {_time(entry.at)}, and the "
            f"champion is model {champion.model[:12]} now; --key makes another promotion of it"
        )
    _voice(as_json).say(
        "promote", text, seq=entry.seq, label=label, model=model, champion=champion.model
    )


def revert(
    *,
    reason: Annotated[str, typer.Option(help="Why the champion is to go.")],
    actor: Actor = None,
    key: Key = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Put the last good forecaster back in service, or the fallback where that cannot serve."""
    from pmx_ray.cli import service  # noqa: PLC0415
    from pmx_ray.governance import promotion  # noqa: PLC0415
    from pmx_ray.governance.opening import open_registry  # noqa: PLC0415
    from pmx_ray.governance.standing import verified_label  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415

    root = _root(out)
    with open_ledger(ledger_url(root)) as ledger:
        entry = promotion.revert(
            open_registry(root, make_key=False),
            ledger,
            reason=reason,
            actor=service.acting(actor),
            key=key,
            clock=utc_now,
        )
    model = entry.payload["moves"][0]["to"]
    label, _ = verified_label(root, model)
    text = f"revert: {label}, model {model[:12]}, is champion (entry {entry.seq})"
    _voice(as_json).say("revert", text, seq=entry.seq, label=label, model=model)


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

    root = _root(out)
    with open_ledger(ledger_url(root)) as ledger:
        aliases = Aliases(ledger)
        standing = aliases.as_of(_parsed(as_of)) if as_of else aliases.current()
        url = ledger.shown_url
    rows = [
        {**_row(placement), **dict(zip(("label", "problem"), found, strict=True))}
        for placement in (standing[alias] for alias in Alias if alias in standing)
        for found in [verified_label(root, placement.model)]
    ]
    _show_registry(_voice(as_json), rows, f"{url}, {as_of or 'now'}")
    if any(row["problem"] for row in rows):
        raise typer.Exit(EXIT_OTHER)


@audit.command(name="verify")
def audit_verify(
    *,
    expect: Annotated[
        str | None,
        typer.Option(metavar="N:HASH", help="A head noted earlier; the log must still contain it."),
    ] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find every altered, removed or reordered entry; exit 1 if there is any."""
    from pmx_ray.cli import service  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415
    from pmx_ray.ledger.aliases import Aliases  # noqa: PLC0415
    from pmx_ray.ledger.audit import AuditLog  # noqa: PLC0415

    expected = service.parsed_head(expect) if expect else None
    with open_ledger(ledger_url(_root(out))) as ledger:
        verdict = AuditLog(ledger).verify(expected=expected)
        strays = Aliases(ledger).disagreements() if verdict.ok else ()
        head = AuditLog(ledger).head() if verdict.ok else None
        url = ledger.shown_url
    voice = _voice(as_json)
    for problem in verdict.problems:
        where = f"entry {problem.seq}" if problem.seq else "the log"
        text = f"{where}: {problem.sentence}"
        voice.say("problem", text, seq=problem.seq, sentence=problem.sentence)
    for sentence in strays:
        voice.say("problem", f"alias: {sentence}", seq=None, sentence=sentence)
    n_bad = len(verdict.problems) + len(strays)
    noted = "" if head is None else f"{head.n}:{head.hash}"
    ending = f"{n_bad} problems" if n_bad else f"whole; head to note elsewhere: {noted}"
    text = f"audit: {verdict.n} entries in {url}, {ending}"
    voice.say("audit", text, n=verdict.n, problems=n_bad, head=noted, ledger=url)
    if n_bad:
        raise typer.Exit(EXIT_OTHER)


@audit.command(name="log")
def audit_log(
    *,
    last: Annotated[int, typer.Option(min=1, help="Entries shown.")] = 20,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Show the last entries of the audit log."""
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415
    from pmx_ray.ledger.audit import AuditLog  # noqa: PLC0415

    with open_ledger(ledger_url(_root(out))) as ledger:
        entries = AuditLog(ledger).entries()[-last:]
    _show_log(_voice(as_json), entries)


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


def _show_log(voice: "Voice", entries: "tuple[AuditEntry, ...]") -> None:
    from dataclasses import asdict  # noqa: PLC0415

    from pmx_ray.governance.standing import told  # noqa: PLC0415

    if voice.as_json:
        for entry in entries:
            voice.say("entry", "", **asdict(entry))
        return
    table = Table("entry", "at (UTC)", "kind", "by", "what", "hash")
    for entry in entries:
        words = (entry.kind, entry.actor, told(entry), entry.hash[:12])
        table.add_row(str(entry.seq), _time(entry.at), *map(escape, words))
    voice.console.print(table)


def _row(placement: "Placement") -> dict[str, Any]:
    from pmx_ray.governance.standing import why  # noqa: PLC0415

    return {
        "alias": placement.alias.value,
        "model": placement.model,
        "version": placement.version,
        "since": _time(placement.entry.at),
        "by": placement.entry.actor,
        "why": why(placement),
        "seq": placement.entry.seq,
    }


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _parsed(written: str) -> datetime:
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        raise SettingsError(
            f"--as-of was '{written}'; write a time as 2026-03-01T14:00, UTC unless it has a zone"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _root(out: Path | None) -> Path:
    return (out or default_root()).resolve()


def _voice(as_json: bool) -> "Voice":
    from pmx_ray.cli.steps import Voice  # noqa: PLC0415

    return Voice(options.console(), as_json)
