"""The verbs of the signal service: serve, token, flags."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pmx_ray.cli import options
from pmx_ray.cli.options import Address, Json
from pmx_ray.clock import utc_now
from pmx_ray.errors import SettingsError
from pmx_ray.place import default_root, ledger_url
from pmx_ray.remote.token import use_token

if TYPE_CHECKING:
    from pmx_ray.ledger.flags import FlagRecord

flags = typer.Typer(help="See and change the feature flags.", no_args_is_help=True)


def mount(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.command(name="serve")(serve)
    app.command(name="token")(token)
    app.add_typer(flags, name="flags")


def serve(
    settings: Annotated[Path, typer.Argument(help="Serve config, e.g. configs/serve.yaml.")],
    *,
    address: Address = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", min=1, max=65535)] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Allow a host beyond this machine.")
    ] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Start Ray's dashboard with a cluster of its own.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read the config, and start nothing.")
    ] = False,
) -> None:
    """Serve signals over HTTP until stopped; what changed flags or champion goes on from there."""
    where = options.checked_address(address)
    use_token(where)
    from serve_apps.launch import Launch  # noqa: PLC0415 - imports Ray, so after the token
    from serve_apps.lint import read_serve_config  # noqa: PLC0415

    document = read_serve_config(settings, public=public)
    if check:
        options.console().print(f"serve: {settings} is in order")
        return
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    launch = Launch(document, port=port, where=str(settings))
    with launch.running(where, say=options.console().print, dashboard=dashboard, stopped=stopped):
        stopped.wait()
    options.console().print("serve: stopped; champion, flags and books are kept")


def token(
    name: Annotated[str, typer.Argument(help="Whom it is for.")],
    *,
    scope: Annotated[str, typer.Option(help="read, trade or admin.")] = "read",
) -> None:
    """Make a token for the signal service and print it, this once; its hash is kept."""
    from serve_apps.tokens import Scope, add_token, tokens_path  # noqa: PLC0415

    if scope not in set(Scope):
        raise SettingsError(f"--scope was {scope}; it must be one of {', '.join(Scope)}")
    typer.echo(add_token(tokens_path(default_root()), name, Scope(scope)))


@flags.command(name="show")
def show(*, as_json: Json = False) -> None:
    """Print the flags as the ledger has them."""
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415
    from pmx_ray.ledger.flags import FlagLog  # noqa: PLC0415
    from pmx_ray.signals.flag_source import state_of  # noqa: PLC0415
    from pmx_ray.signals.flags import FlagState  # noqa: PLC0415

    with open_ledger(ledger_url(default_root())) as ledger:
        record = FlagLog(ledger).current()
    known = FlagState() if record is None else state_of(record)
    version, values = known.version, known.values
    if as_json:
        options.console().print_json(data={"version": version, "values": values.model_dump()})
        return
    table = Table("flag", "value", title=f"Flags, version {version}", title_justify="left")
    for flag, value in values.model_dump().items():
        table.add_row(flag, str(value).lower())
    options.console().print(table)
    if record is not None:
        options.console().print(_told(record))


@flags.command(name="set")
def set_flags(
    assignments: Annotated[list[str], typer.Argument(help="flag=value; repeatable.")],
    *,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
    actor: Annotated[
        str | None, typer.Option(help="Who does it. [default: the account's name]")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key.")] = None,
) -> None:
    """Change flags; every replica of the service follows within moments."""
    from pmx_ray.cli.service import acting  # noqa: PLC0415
    from pmx_ray.config import override  # noqa: PLC0415
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415
    from pmx_ray.ledger.flags import FlagLog  # noqa: PLC0415
    from pmx_ray.signals.flag_source import changing  # noqa: PLC0415

    changes = override({}, assignments)
    with open_ledger(ledger_url(default_root())) as ledger:
        record = FlagLog(ledger).change(
            changing(changes),
            actor=acting(actor),
            reason=reason,
            expected_version=None,
            key=key,
            clock=utc_now,
        )
    options.console().print(_told(record))


@flags.command(name="history")
def history(*, n: Annotated[int, typer.Option(help="Versions.", min=1)] = 20) -> None:
    """Print the latest versions of the flags, newest first, and how fast they travelled."""
    from pmx_ray.ledger import open_ledger  # noqa: PLC0415
    from pmx_ray.ledger.flag_arrivals import FlagArrivals  # noqa: PLC0415
    from pmx_ray.ledger.flags import FlagLog  # noqa: PLC0415

    with open_ledger(ledger_url(default_root())) as ledger:
        records = FlagLog(ledger).history(n)
        speed = {row.version: row for row in FlagArrivals(ledger).propagation(limit=n)}
    table = Table("version", "at", "who", "why", "arrived", box=None, header_style="bold")
    for record in records:
        row = speed.get(record.version)
        seen = "" if row is None else f"{row.n_replicas} replicas in {row.slowest_s:.2f} s"
        at = f"{record.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(record.version), at, escape(record.actor), escape(record.reason), seen)
    options.console().print(table)


def _told(record: "FlagRecord") -> str:
    return escape(
        f"flags: version {record.version}, set by {record.actor} at "
        f"{record.at:%Y-%m-%d %H:%M:%S} UTC: {record.reason}"
    )
