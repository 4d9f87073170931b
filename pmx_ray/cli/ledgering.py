"""The verbs of the ledger itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pmx_ray.cli.options import Json, Out
from pmx_ray.cli.service import root_of, voice_of
from pmx_ray.place import ledger_url

if TYPE_CHECKING:
    from pmx_ray.cli.steps import Voice
    from pmx_ray.ledger.legacy import TableImport

MAX_TOLD = 20
"""Sentences about a table that people are shown; machines get all."""

ledger = typer.Typer(help="Look after the ledger.", no_args_is_help=True)


def mount(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.add_typer(ledger, name="ledger")


@ledger.callback()
def _top() -> None:
    """Look after the ledger."""


@ledger.command(name="import-legacy")
def import_legacy(
    file: Annotated[Path, typer.Argument(help="SQLite database of version 4.5; it is only read.")],
    *,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Bring signals and risk levels of an older database over, in the words of today.

    A second import changes nothing. Rows that cannot be read are named and left behind.
    """
    from pmx_ray.ledger import legacy, open_ledger  # noqa: PLC0415

    voice = voice_of(as_json)
    with open_ledger(ledger_url(root_of(out))) as opened:
        for table in legacy.import_legacy(file, opened):
            _tell(voice, table)


def _tell(voice: "Voice", table: "TableImport") -> None:
    text = (
        f"{table.table}: {table.n_read} rows read, {table.n_new} brought over, "
        f"{table.n_known} known already, {len(table.refused)} refused"
    )
    voice.say(
        "import",
        text,
        table=table.table,
        n_read=table.n_read,
        n_new=table.n_new,
        n_known=table.n_known,
        n_repeated=table.n_repeated,
        rewritten=dict(table.rewritten),
        refused=list(table.refused),
    )
    if voice.as_json:
        return
    told = [f"{what}: {n} times" for what, n in table.rewritten.items()]
    if table.n_repeated:
        told.insert(0, f"{table.n_repeated} rows are like one before them in every column; kept")
    told += [f"refused {sentence}" for sentence in table.refused]
    for sentence in told[:MAX_TOLD]:
        voice.say("import", f"  {sentence}")
    if len(told) > MAX_TOLD:
        voice.say("import", f"  and {len(told) - MAX_TOLD} more; see all with --json")
