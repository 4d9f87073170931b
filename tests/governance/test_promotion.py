"""Promotion and reversion: a certificate, a verified model, one transaction, one row a key."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pmx_ray.errors import DataError, LedgerError, RegistryError, StaleVersionError
from pmx_ray.governance.challenge import challenge
from pmx_ray.governance.decision import Check, GovernanceDecision, Outcome
from pmx_ray.governance.manifest import ModelVersion
from pmx_ray.governance.promotion import promote, revert
from pmx_ray.governance.registry import Registry
from pmx_ray.governance.signing import SigningKey
from pmx_ray.governance.standing import standing, told
from pmx_ray.lake import FolderStore
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.aliases import Alias, Aliases
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import AuditEntry, NewEntry

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Desk:
    """A registry and a ledger in one folder, and a clock that moves on an hour a reading."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder, self.ledger = folder, ledger
        self.registry = Registry(FolderStore(folder), key=SigningKey(b"k" * 32))
        self.log, self.aliases = AuditLog(ledger), Aliases(ledger)
        self._hours = 0

    def clock(self) -> datetime:
        self._hours += 1
        return NOON + timedelta(hours=self._hours)

    def register(self, spec: str, decision_id: str = "") -> str:
        version = ModelVersion(
            spec, spec, spec, {}, "a" * 64, "1", {}, {"sharpe": 1.5}, decision_id, {}
        )
        return self.registry.register(version, {"state.json": spec.encode()}).id

    def register_judged(self, verdict: GovernanceDecision) -> str:
        spec = verdict.challenger
        version = ModelVersion(
            spec, spec, spec, {}, "a" * 64, "1", {}, {"sharpe": 1.5}, verdict.id, {}
        )
        document = json.dumps(verdict.as_document()).encode()
        return self.registry.register(version, {"decision.json": document}).id

    def promote(
        self, spec: str, *, outcome: Outcome = Outcome.PROMOTE, **changes: Any
    ) -> AuditEntry:
        verdict = decision(spec, outcome)
        arguments = {
            "actor": "ann",
            "approved_by": ("ben", "cem", "ben"),
            "key": verdict.id,
            "clock": self.clock,
            **changes,
        }
        model = self.register_judged(verdict)
        return promote(self.registry, self.ledger, verdict, model, **arguments)

    def challenge(
        self, spec: str, *, outcome: Outcome = Outcome.PROMOTE, **changes: Any
    ) -> AuditEntry:
        verdict = decision(spec, outcome)
        arguments = {"actor": "ann", "key": f"c {verdict.id}", "clock": self.clock, **changes}
        model = self.register_judged(verdict)
        return challenge(self.registry, self.ledger, verdict, model, **arguments)

    def revert(self, reason: str = "accuracy fell", **changes: Any) -> AuditEntry:
        arguments = {"actor": "ann", "clock": self.clock, **changes}
        return revert(self.registry, self.ledger, reason=reason, **arguments)

    def where(self) -> dict[str, str]:
        models = {alias: row.model for alias, row in self.aliases.current().items()}
        return {str(a): self.registry.load(m).version.name for a, m in models.items()}


def decision(spec: str = "garch", outcome: Outcome = Outcome.PROMOTE) -> GovernanceDecision:
    passed = outcome is Outcome.PROMOTE
    check = Check("sharpe", 1.5 if passed else 0.1, ">=", 1.0, "ratio", passed, "It was found.")
    return GovernanceDecision(
        outcome, spec, spec, "rw", "rw", "ewma", "ewma", 5, (check,), "key", "p" * 64
    )


def standing_of(desk: Desk, alias: Alias = Alias.CHAMPION) -> tuple[bool, str]:
    placement = desk.aliases.current()[alias]
    return standing(placement, desk.registry.load(placement.model), log=desk.log.entries())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        yield Desk(tmp_path, ledger)
        assert AuditLog(ledger).verify().ok
        assert Aliases(ledger).disagreements() == ()


def test_promote_when_first_then_champion_and_the_decision_in_the_log(desk: Desk) -> None:
    entry = desk.promote("garch")
    assert desk.where() == {"champion": "garch"}
    assert (entry.seq, entry.kind, entry.actor) == (1, "promote", "ann")
    assert entry.payload["approved_by"] == ["ben", "cem"]
    assert GovernanceDecision.from_document(entry.payload["decision"]) == decision("garch")


def test_promote_when_there_is_a_champion_then_it_becomes_the_last_good_in_one_entry(
    desk: Desk,
) -> None:
    desk.promote("garch")
    entry = desk.promote("samossa", fallback=desk.register("ewma"))
    assert desk.where() == {"champion": "samossa", "last_good": "garch", "fallback": "ewma"}
    assert {row["alias"] for row in entry.payload["moves"]} == set(desk.where())
    assert desk.log.head().n == 2


def test_promote_when_replayed_then_one_row_whatever_was_promoted_since(desk: Desk) -> None:
    first = desk.promote("garch")
    desk.promote("samossa")
    assert desk.promote("garch") == first
    assert desk.where() == {"champion": "samossa", "last_good": "garch"}
    assert desk.log.head().n == 2
    desk.promote("garch", key="again")
    assert desk.where() == {"champion": "garch", "last_good": "samossa"}


def test_promote_when_the_key_belongs_to_another_promotion_then_refused(desk: Desk) -> None:
    desk.promote("garch", key="k")
    with pytest.raises(LedgerError, match="key 'k' belongs to entry 1"):
        desk.promote("samossa", key="k")
    assert desk.where() == {"champion": "garch"}


@pytest.mark.parametrize("outcome", [Outcome.HOLD, Outcome.REVERT])
def test_promote_when_the_decision_is_another_then_refused_with_the_failed_checks(
    desk: Desk, outcome: Outcome
) -> None:
    verdict = decision(outcome=outcome)
    model = desk.register("garch", verdict.id)
    with pytest.raises(DataError, match=f"says {outcome} of garch.* failed checks: sharpe"):
        promote(
            desk.registry, desk.ledger, verdict, model,
            actor="ann", approved_by=(), key="k", clock=desk.clock,
        )  # fmt: skip
    assert desk.log.head().n == 0


# proves G1
def test_promote_when_overridden_by_name_then_champion_with_reason_and_failed_checks_logged(
    desk: Desk,
) -> None:
    entry = desk.promote("garch", outcome=Outcome.HOLD, override=" paper account only ")
    assert desk.where() == {"champion": "garch"}
    assert entry.payload["override"] == {"reason": "paper account only", "failed": ["sharpe"]}
    assert entry.payload["decision"]["outcome"] == "hold"
    certified, words = standing_of(desk)
    assert not certified
    assert words.startswith("Not certified: it failed sharpe; decision ")
    assert words.endswith("overridden by ben, cem: paper account only, entry 1.")
    assert told(entry).endswith("although it failed sharpe: paper account only")


@pytest.mark.parametrize(
    ("outcome", "changes", "said"),
    [
        (Outcome.HOLD, {"override": "  "}, "gave no reason"),
        (Outcome.HOLD, {"override": "why", "approved_by": ()}, "no one by name answers"),
        (Outcome.HOLD, {"override": "why", "approved_by": (" ",)}, "no one by name answers"),
        (Outcome.HOLD, {"override": "why", "actor": ""}, "actor of an audit entry"),
        (Outcome.PROMOTE, {"override": "why"}, "says promote of garch, which cannot be overridden"),
        (Outcome.REVERT, {"override": "why"}, "says revert of garch, which cannot be overridden"),
    ],
)
def test_promote_when_the_override_is_not_whole_then_refused_and_nothing_logged(
    desk: Desk, outcome: Outcome, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises((DataError, LedgerError), match=said):
        desk.promote("garch", outcome=outcome, **changes)
    assert desk.log.head().n == 0
    assert desk.where() == {}


@pytest.mark.parametrize("name", ["leak_audit", "fallback"])
def test_promote_when_the_override_would_waive_what_none_may_then_refused_by_name(
    desk: Desk, name: str
) -> None:
    failed = Check(name, 0.0, ">=", 1.0, "fraction", passed=False, sentence="It served 0 %.")
    verdict = replace(decision(outcome=Outcome.HOLD), checks=(failed,))
    with pytest.raises(DataError, match=f"no override waives {name}; It served 0 %"):
        promote(
            desk.registry, desk.ledger, verdict, desk.register_judged(verdict),
            actor="ann", approved_by=("ben",), key="k", clock=desk.clock, override="paper",
        )  # fmt: skip
    assert desk.log.head().n == 0


def test_promote_when_an_override_is_replayed_then_one_row_and_another_reason_is_refused(
    desk: Desk,
) -> None:
    first = desk.promote("garch", outcome=Outcome.HOLD, override="paper")
    assert desk.promote("garch", outcome=Outcome.HOLD, override="paper") == first
    with pytest.raises(LedgerError, match="differs in override"):
        desk.promote("garch", outcome=Outcome.HOLD, override="live")
    assert desk.log.head().n == 1


def test_standing_when_certified_then_by_whose_approval(desk: Desk) -> None:
    desk.promote("garch", fallback=desk.register("ewma"))
    certified, words = standing_of(desk)
    assert certified
    assert words.startswith("Certified: all 1 checks passed; decision ")
    assert words.endswith("; approved by ben, cem, entry 1.")
    assert standing_of(desk, Alias.FALLBACK) == (
        False, "Not judged itself; fallback of garch, entry 1.",
    )  # fmt: skip


def test_standing_when_reverted_to_then_by_its_own_certificate(desk: Desk) -> None:
    desk.promote("garch", outcome=Outcome.HOLD, override="paper")
    desk.promote("samossa")
    assert standing_of(desk)[0]
    desk.revert("accuracy fell")
    certified, words = standing_of(desk)
    assert not certified
    assert words == "Not certified: it failed sharpe; reverted: accuracy fell, entry 3."


def log_certificate(desk: Desk, verdict: GovernanceDecision) -> AuditEntry:
    return desk.log.append(NewEntry("certify", "pmx", verdict.as_document(), desk.clock()))


@pytest.mark.parametrize("how", ["certificate", "monitor"])
def test_standing_when_a_later_decision_said_otherwise_then_overruled_by_that_entry(
    desk: Desk, how: str
) -> None:
    first, held = decision("garch"), decision("garch", Outcome.HOLD)
    log_certificate(desk, replace(held, report_key="before"))  # what came before overrules nothing
    log_certificate(desk, first)
    desk.promote("garch", fallback=desk.register("ewma"))
    log_certificate(desk, replace(held, step=1))  # another step is another matter
    log_certificate(desk, decision("drift", Outcome.HOLD))
    assert standing_of(desk)[0]
    if how == "certificate":
        entry = log_certificate(desk, held)
        desk.promote("samossa")
        desk.revert()
    else:
        desk.promote("samossa")
        desk.promote("garch", key="again")
        gone = replace(first, outcome=Outcome.REVERT, previous=first.id)
        entry = desk.revert("accuracy fell", decision=gone)
        desk.revert("a person wants it back")
    assert desk.where()["champion"] == ("garch" if how == "certificate" else "ewma")
    if how == "monitor":
        desk.promote("garch", key="third")
    certified, words = standing_of(desk)
    assert not certified
    assert words.startswith(
        f"Certified: all 1 checks passed, later overruled by entry {entry.seq}; "
    )
    log_certificate(desk, replace(first, report_key="afterwards"))
    assert standing_of(desk)[0]


# proves D3
def test_challenge_when_it_failed_checks_then_in_shadow_and_the_champion_stays(
    desk: Desk,
) -> None:
    desk.promote("garch")
    entry = desk.challenge("samossa", outcome=Outcome.HOLD)
    assert desk.where() == {"champion": "garch", "challenger": "samossa"}
    assert (entry.kind, entry.payload["decision"]["outcome"]) == ("challenge", "hold")
    assert desk.challenge("samossa", outcome=Outcome.HOLD) == entry
    assert "runs in shadow" in standing_of(desk, Alias.CHALLENGER)[1]
    assert told(entry).endswith("runs in shadow")
    with pytest.raises(StaleVersionError):
        desk.challenge("drift", expected_version=0)
    with pytest.raises(DataError, match="takes drift out of service"):
        desk.challenge("drift", outcome=Outcome.REVERT)
    assert desk.log.head().n == 2


def test_challenge_when_the_model_is_not_the_one_judged_then_refused(desk: Desk) -> None:
    with pytest.raises(DataError, match="register the model that was judged"):
        challenge(
            desk.registry, desk.ledger, decision("drift"), desk.register("drift"),
            actor="ann", key="k", clock=desk.clock,
        )  # fmt: skip
    assert desk.log.head().n == 0


@pytest.mark.parametrize("other", ["decision", "spec"])
def test_promote_when_the_model_is_not_the_one_judged_then_refused(desk: Desk, other: str) -> None:
    verdict = decision()
    altered = replace(verdict, checks=(replace(verdict.checks[0], limit=0.0),))
    model = desk.register(
        "garch" if other == "decision" else "drift",
        altered.id if other == "decision" else verdict.id,
    )
    with pytest.raises(DataError, match="register the model that was judged"):
        promote(
            desk.registry, desk.ledger, verdict, model,
            actor="ann", approved_by=(), key="k", clock=desk.clock,
        )  # fmt: skip


def test_promote_when_the_fallback_is_not_the_decisions_then_refused(desk: Desk) -> None:
    with pytest.raises(DataError, match="the decision's fallback is ewma"):
        desk.promote("garch", fallback=desk.register("drift"))
    assert desk.log.head().n == 0


def test_promote_when_the_model_was_tampered_with_then_refused_and_the_old_one_stays(
    desk: Desk,
) -> None:
    desk.promote("garch")
    model = desk.register("samossa", decision("samossa").id)
    (desk.folder / "models" / model / "state.json").write_bytes(b"evil")
    with pytest.raises(RegistryError, match="does not match its hash"):
        promote(
            desk.registry, desk.ledger, decision("samossa"), model,
            actor="ann", approved_by=(), key="k", clock=desk.clock,
        )  # fmt: skip
    assert desk.where() == {"champion": "garch"}


def test_promote_when_the_version_seen_is_stale_then_refused(desk: Desk) -> None:
    desk.promote("garch", expected_version=0)
    with pytest.raises(StaleVersionError):
        desk.promote("samossa", expected_version=0)
    desk.promote("samossa", expected_version=1)
    with pytest.raises(StaleVersionError):
        desk.revert(expected_version=1)


def test_promote_when_the_key_is_replayed_with_a_stale_version_then_its_entry(desk: Desk) -> None:
    first = desk.promote("garch", expected_version=0)
    assert desk.promote("garch", expected_version=0) == first


def test_revert_when_there_is_a_last_good_then_it_serves_and_the_reason_is_logged(
    desk: Desk,
) -> None:
    desk.promote("garch")
    desk.promote("samossa")
    entry = desk.revert("accuracy fell to 41 %")
    assert desk.where() == {"champion": "garch", "last_good": "garch"}
    assert (entry.kind, entry.payload["reason"]) == ("revert", "accuracy fell to 41 %")


def test_revert_when_the_last_good_cannot_serve_then_the_fallback(desk: Desk) -> None:
    desk.promote("garch", fallback=desk.register("ewma"))
    desk.promote("samossa")
    model = desk.aliases.current()[Alias.LAST_GOOD].model
    (desk.folder / "models" / model / "evil.pkl").write_bytes(b"\x80")
    desk.revert()
    champion = desk.aliases.current()[Alias.CHAMPION].model
    assert desk.registry.load(champion).version.name == "ewma"


def test_revert_when_the_last_good_serves_already_then_the_fallback(desk: Desk) -> None:
    desk.promote("garch", fallback=desk.register("ewma"))
    desk.promote("samossa")
    desk.revert()
    desk.revert()
    assert desk.where()["champion"] == "ewma"


def test_revert_when_last_good_and_fallback_serve_already_then_refused(desk: Desk) -> None:
    ewma = desk.register_judged(decision("ewma"))
    desk.promote("ewma", fallback=ewma)
    said = "nothing to revert to: last_good is not set; fallback is the champion itself"
    with pytest.raises(RegistryError, match=said):
        desk.revert()


def test_revert_when_nothing_else_ever_served_then_refused(desk: Desk) -> None:
    desk.promote("garch")
    with pytest.raises(RegistryError, match="last_good is not set; fallback is not set"):
        desk.revert()
    with pytest.raises(DataError, match="reason was empty"):
        desk.revert(" ")


def test_revert_when_replayed_then_one_row(desk: Desk) -> None:
    desk.promote("garch", fallback=desk.register("ewma"))
    desk.promote("samossa")
    first = desk.revert(key="r")
    assert desk.revert(key="r") == first
    assert desk.where()["champion"] == "garch"


def test_as_of_when_asked_then_what_was_in_service_and_why(desk: Desk) -> None:
    desk.promote("garch")  # at 13:00
    desk.promote("samossa")  # at 14:00
    desk.revert("drawdown")  # at 15:00
    served = []
    for hours in (1, 2, 3):
        row = desk.aliases.as_of(NOON + timedelta(hours=hours))[Alias.CHAMPION]
        served.append((desk.registry.load(row.model).version.name, row.entry.kind))
    assert served == [("garch", "promote"), ("samossa", "promote"), ("garch", "revert")]


def test_promote_when_many_at_once_then_each_version_has_one_winner(desk: Desk) -> None:
    specs = [f"m{n % 10}" for n in range(40)]
    for spec in set(specs):
        desk.register(spec, decision(spec).id)

    def attempt(spec: str) -> str:
        try:
            desk.promote(spec)
        except StaleVersionError:
            return "stale"
        return "done"

    with ThreadPoolExecutor(40) as pool:
        outcomes = Counter(pool.map(attempt, specs))
    entries = desk.log.entries()
    champion = [
        row["version"] for e in entries for row in e.payload["moves"] if row["alias"] == "champion"
    ]
    assert champion == list(range(1, len(entries) + 1))
    assert len({e.key for e in entries}) == len(entries) <= 10
    assert outcomes["done"] >= len(entries)
