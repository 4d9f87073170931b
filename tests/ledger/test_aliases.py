"""Aliases on both databases: one winner a version, one entry a move, and a log that knows all."""

import multiprocessing
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from pmx_ray.errors import LedgerError, PmxError, StaleVersionError
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.aliases import Alias, Aliases, Move, Placements
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import NewEntry

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def entry(hours: float = 0, *, key: str | None = None, **payload: object) -> NewEntry:
    return NewEntry("promote", "ann", payload, NOON + timedelta(hours=hours), key)


def where(aliases: Aliases) -> dict[str, tuple[str, int]]:
    return {str(alias): (row.model, row.version) for alias, row in aliases.current().items()}


def assert_sound(ledger: Ledger) -> None:
    assert AuditLog(ledger).verify().problems == ()
    assert Aliases(ledger).disagreements() == ()


def test_move_when_first_then_version_one_and_its_entry(url: str) -> None:
    with open_ledger(url) as ledger:
        written = Aliases(ledger).move(
            Alias.CHAMPION, "m1", expected_version=0, entry=entry(why="x")
        )
    with open_ledger(url) as ledger:
        (placement,) = Aliases(ledger).current().values()
        assert (placement.alias, placement.model, placement.version) == ("champion", "m1", 1)
        assert placement.entry == written == AuditLog(ledger).entries()[0]
        assert written.payload["moves"] == [
            {"alias": "champion", "from": None, "to": "m1", "version": 1}
        ]
        assert written.payload["why"] == "x"
        assert_sound(ledger)


@pytest.mark.parametrize("expected_version", [0, 1, 3])
def test_move_when_version_is_stale_then_refused_and_nothing_written(
    url: str, expected_version: int
) -> None:
    with open_ledger(url) as ledger:
        aliases = Aliases(ledger)
        aliases.move(Alias.CHAMPION, "m1", expected_version=0, entry=entry())
        aliases.move(Alias.CHAMPION, "m2", expected_version=1, entry=entry())
        with pytest.raises(StaleVersionError, match=f"from version {expected_version} and is at"):
            aliases.move(Alias.CHAMPION, "m3", expected_version=expected_version, entry=entry())
        assert where(aliases) == {"champion": ("m2", 2)}
        assert AuditLog(ledger).head().n == 2


def test_move_when_alias_is_not_set_then_only_version_zero_will_do(url: str) -> None:
    with open_ledger(url) as ledger, pytest.raises(StaleVersionError, match="is not set"):
        Aliases(ledger).move(Alias.FALLBACK, "m1", expected_version=1, entry=entry())


def test_move_when_key_is_replayed_then_nothing_moves_even_after_others(url: str) -> None:
    with open_ledger(url) as ledger:
        aliases = Aliases(ledger)
        first = aliases.move(Alias.CHAMPION, "m1", expected_version=0, entry=entry(key="k"))
        aliases.move(Alias.CHAMPION, "m2", expected_version=1, entry=entry())
        again = entry(9, key="k")
        assert aliases.move(Alias.CHAMPION, "m1", expected_version=0, entry=again) == first
        assert where(aliases) == {"champion": ("m2", 2)}
        with pytest.raises(LedgerError, match="key 'k' belongs to entry 1"):
            aliases.move(Alias.CHAMPION, "m3", expected_version=2, entry=again)
        assert AuditLog(ledger).head().n == 2


def test_move_together_when_the_plan_raises_then_nothing_written(url: str) -> None:
    def plan(standing: Placements) -> Sequence[Move]:
        raise LedgerError("no")

    with open_ledger(url) as ledger:
        with pytest.raises(LedgerError, match="no"):
            Aliases(ledger).move_together(plan, entry())
        assert AuditLog(ledger).head().n == 0


@pytest.mark.parametrize(
    "moves",
    [(), (Move(Alias.CHAMPION, ""),), (Move(Alias.CHAMPION, "a"), Move(Alias.CHAMPION, "b"))],
)
def test_move_together_when_moves_are_none_or_repeat_then_refused(
    url: str, moves: tuple[Move, ...]
) -> None:
    with open_ledger(url) as ledger, pytest.raises(LedgerError, match="at least one alias"):
        Aliases(ledger).move_together(lambda _: moves, entry())


def test_move_when_the_alias_cannot_be_written_then_no_entry_either(url: str) -> None:
    with open_ledger(url) as ledger:
        aliases = Aliases(ledger)
        with ledger.engine.begin() as connection:
            connection.execute(text("DROP TABLE aliases"))
            connection.execute(text("CREATE TABLE aliases (alias TEXT, model TEXT, version INT, "
                                    "seq INT)"))  # fmt: skip
        with pytest.raises(LedgerError, match="cannot be written"):  # it has no key to upsert on
            aliases.move(Alias.CHAMPION, "m1", expected_version=0, entry=entry())
        assert AuditLog(ledger).head().n == 0
        assert AuditLog(ledger).verify().ok


def test_as_of_when_asked_for_any_time_then_what_stood_and_why(url: str) -> None:
    with open_ledger(url) as ledger:
        aliases = Aliases(ledger)
        first = aliases.move(Alias.CHAMPION, "m1", expected_version=0, entry=entry(1))
        AuditLog(ledger).append(NewEntry("note", "ben", {}, NOON + timedelta(hours=2)))
        both = aliases.move_together(
            lambda _: (Move(Alias.CHAMPION, "m2"), Move(Alias.LAST_GOOD, "m1")), entry(3)
        )
        assert aliases.as_of(NOON) == {}
        for hours in (1, 2, 2.99):  # the very moment counts
            (placement,) = aliases.as_of(NOON + timedelta(hours=hours)).values()
            assert (placement.model, placement.entry) == ("m1", first)
        later = aliases.as_of(NOON + timedelta(hours=3))
        assert later == aliases.current()
        assert later[Alias.CHAMPION].entry == later[Alias.LAST_GOOD].entry == both
        with pytest.raises(LedgerError, match="without a time zone"):
            aliases.as_of(datetime(2026, 3, 1))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE aliases SET model = 'evil'",
            "champion points to evil (version 1, entry 1), and the audit log put it at m1 ",
        ),
        ("UPDATE aliases SET version = 7", "version 7"),
        ("DELETE FROM aliases", "points to nothing"),
        ("UPDATE aliases SET alias = 'fallback'", "champion points to nothing"),
    ],
)
def test_disagreements_when_an_alias_is_moved_past_the_log_then_named(
    url: str, statement: str, said: str
) -> None:
    with open_ledger(url) as ledger:
        aliases = Aliases(ledger)
        aliases.move(Alias.CHAMPION, "m1", expected_version=0, entry=entry())
        with ledger.engine.begin() as connection:
            connection.execute(text(statement))
        assert said in aliases.disagreements()[0]
        assert AuditLog(ledger).verify().ok  # the log itself is sound


def _attempt(aliases: Aliases, to: str, version: int, key: str | None) -> str:
    try:
        aliases.move(Alias.CHAMPION, to, expected_version=version, entry=entry(key=key))
    except StaleVersionError:
        return "stale"
    except PmxError as error:
        return f"refused: {error}"
    return "done"


def test_move_when_100_threads_want_one_version_then_exactly_one_wins(url: str) -> None:
    with open_ledger(url) as ledger, ThreadPoolExecutor(100) as pool:
        aliases = Aliases(ledger)
        for version in range(2):
            jobs = [pool.submit(_attempt, aliases, f"m{n}", version, None) for n in range(100)]
            assert Counter(job.result() for job in jobs) == {"done": 1, "stale": 99}
        assert where(aliases)["champion"][1] == 2
        assert AuditLog(ledger).head().n == 2
        assert_sound(ledger)


def test_move_when_100_threads_replay_one_key_then_one_entry_and_no_error(url: str) -> None:
    with open_ledger(url) as ledger, ThreadPoolExecutor(100) as pool:
        aliases = Aliases(ledger)
        jobs = [pool.submit(_attempt, aliases, "m1", 0, "k") for _ in range(100)]
        assert Counter(job.result() for job in jobs) == {"done": 100}
        assert where(aliases) == {"champion": ("m1", 1)}
        assert AuditLog(ledger).head().n == 1


def _promote_many(task: tuple[str, int]) -> Counter[str]:
    """Try 25 promotions: keys of its own, keys that all share, versions that may be stale."""
    url, writer = task
    done: Counter[str] = Counter()
    with open_ledger(url) as ledger:
        aliases = Aliases(ledger)
        for n in range(25):
            standing = aliases.current().get(Alias.CHAMPION)
            version = 0 if standing is None else standing.version
            key = (None, f"own-{writer}-{n}", f"shared-{n}")[n % 3]
            to = f"m{n}" if n % 3 == 2 else f"m{writer}-{n}"
            done[_attempt(aliases, to, version - (n % 7 == 6), key)] += 1
    return done


def test_move_when_processes_promote_100_at_once_then_each_version_has_one_winner(
    url: str,
) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        counts = sum(pool.map(_promote_many, [(url, n) for n in range(4)], chunksize=1), Counter())
    assert sum(counts.values()) == 100
    assert set(counts) <= {"done", "stale"}
    assert counts["stale"] > 0
    with open_ledger(url) as ledger:
        entries = AuditLog(ledger).entries()
        versions = [row.payload["moves"][0]["version"] for row in entries]
        assert versions == list(range(1, len(entries) + 1))
        assert len(entries) <= counts["done"]  # a replayed key is done without an entry
        keys = [row.key for row in entries if row.key]
        assert len(keys) == len(set(keys))
        assert_sound(ledger)


KILLED = """
import sys
from datetime import UTC, datetime
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.aliases import Alias, Aliases
from pmx_ray.ledger.chain import NewEntry
ledger = open_ledger(sys.argv[1])
aliases = Aliases(ledger)
version = max((row.version for row in aliases.current().values()), default=0)
while True:
    entry = NewEntry("promote", "ann", {}, datetime.now(UTC))
    aliases.move(Alias.CHAMPION, f"m{version + 1}", expected_version=version, entry=entry)
    version += 1
    print(version, flush=True)
"""


@pytest.mark.drill
def test_move_when_killed_in_a_loop_of_promotions_then_nothing_half_written(url: str) -> None:
    for n_lines in (1, 7, 30):
        code = [sys.executable, "-c", KILLED, url]
        with subprocess.Popen(code, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(n_lines)]
            process.kill()
            said += [int(line) for line in process.stdout if line.endswith("\n")]
        with open_ledger(url) as ledger:
            last = AuditLog(ledger).entries()[-1]
            placement = Aliases(ledger).current()[Alias.CHAMPION]
            assert placement.entry == last
            assert (placement.model, placement.version) == (f"m{last.seq}", last.seq)
            assert last.seq - said[-1] in (0, 1)  # what was reported is there
            assert_sound(ledger)


KILLED_INSIDE = KILLED.replace(
    "while True:",
    """
import os, signal
from sqlalchemy import event
@event.listens_for(ledger.engine, "before_cursor_execute")
def kill(connection, cursor, statement, *rest):
    if version == 2 and sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)
while True:""",
)


@pytest.mark.drill
@pytest.mark.parametrize("at", ["INTO audit ", "UPDATE audit_head", "INTO aliases"])
def test_move_when_killed_between_its_statements_then_as_before(url: str, at: str) -> None:
    code = [sys.executable, "-c", KILLED_INSIDE, url, at]
    done = subprocess.run(code, check=False, capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    with open_ledger(url) as ledger:
        assert where(Aliases(ledger)) == {"champion": ("m2", 2)}
        assert AuditLog(ledger).head().n == 2
        assert_sound(ledger)
        Aliases(ledger).move(Alias.CHAMPION, "m3", expected_version=2, entry=entry())
