"""The verbs `pmx audit verify` and `pmx audit log`: read what governance did, and check it."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pmx_ray.cli.options import EXIT_OTHER, Json, Out
from pmx_ray.cli.service import root_of, shown_time, voice_of
from pmx_ray.errors import SettingsError
from pmx_ray.place import ledger_url

if TYPE_CHECKING:
    from pmx_ray.cli.steps import Voice
    from pmx_ray.ledger.chain import AuditEntry, AuditHead

audit = typer.Typer(help="Read and verify the audit log.", no_args_is_help=True)


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
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415
    from pmx_ray.ledger.aliases import Aliases  # noqa: PLC0415
    from pmx_ray.ledger.audit import AuditLog  # noqa: PLC0415

    expected = _parsed_head(expect) if expect else None
    with open_ledger(ledger_url(root_of(out))) as ledger:
        verdict = AuditLog(ledger).verify(expected=expected)
        strays = Aliases(ledger).disagreements() if verdict.ok else ()
        head = AuditLog(ledger).head() if verdict.ok else None
        url = ledger.shown_url
    voice = voice_of(as_json)
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

    with open_ledger(ledger_url(root_of(out))) as ledger:
        entries = AuditLog(ledger).entries()[-last:]
    _show_log(voice_of(as_json), entries)


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
        table.add_row(str(entry.seq), shown_time(entry.at), *map(escape, words))
    voice.console.print(table)


def _parsed_head(written: str) -> "AuditHead":
    """Return the head that was noted as ``N:HASH``.

    Raises
    ------
    SettingsError
        If it is none.
    """
    from pmx_ray.ledger.chain import AuditHead  # noqa: PLC0415

    n, _, digest = written.partition(":")
    if not n.isdecimal() or len(digest) != 64:
        raise SettingsError(
            f"--expect was '{written}'; write it as `pmx audit verify` printed it, "
            "a number, a colon and 64 digits"
        )
    return AuditHead(int(n), digest)
