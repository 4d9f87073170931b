"""`pmx promote`, `revert`, `registry` and `audit` as a person uses them."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pmx_command import Pmx
from sqlalchemy import text

from pmx_ray.backtest.outcome import evaluated
from pmx_ray.backtest.sweep import load
from pmx_ray.governance.decision import Check, GovernanceDecision, Outcome
from pmx_ray.governance.policy import GovernancePolicy
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import NewEntry


@pytest.fixture
def run(pmx: Pmx, monkeypatch: pytest.MonkeyPatch) -> Pmx:
    """Return the command where a sweep has been evaluated."""
    for name in ("PMX_SIGNING_KEY", "PMX_LEDGER_URL", "PMX_MODELS_URL", "PMX_HOME"):
        monkeypatch.delenv(name, raising=False)
    pmx("sweep", "sweep.yaml", "--address", "in-process")
    return pmx


def ledger_of(pmx: Pmx) -> Ledger:
    return open_ledger(f"sqlite:///{pmx.folder}/runs/ledger.db")


def certified(
    pmx: Pmx,
    label: str,
    *,
    outcome: Outcome = Outcome.PROMOTE,
    logged: bool = True,
    policy: str = GovernancePolicy().sha256,
    days_ago: float = 0.0,
) -> str:
    """Write a decision about a spec of the sweep, as `pmx certify` does, and return its path."""
    sweep = load(pmx.sweep)
    ids = {spec.label: spec.id for spec in sweep.specs}
    passed = outcome is Outcome.PROMOTE
    check = Check("sharpe", 1.5, ">=", 1.0 if passed else 2.0, "ratio", passed, "It was found.")
    key = str(evaluated(sweep)[1]["key"])
    walk = "random_walk"
    decision = GovernanceDecision(
        outcome, ids[label], label, ids[walk], walk, ids[walk], walk, 1, (check,), key, policy
    )
    path = pmx.sweep / "decision.json"
    path.write_text(json.dumps(decision.as_document()))
    if logged:
        at = datetime.now(UTC) - timedelta(days=days_ago)
        with ledger_of(pmx) as ledger:
            AuditLog(ledger).append(NewEntry("certify", "x", decision.as_document(), at))
    return str(path)


def lines(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def in_service(pmx: Pmx, *words: str, code: int = 0) -> dict[object, object]:
    return {
        row["alias"]: row["label"] for row in lines(pmx("registry", "--json", *words, code=code))
    }


# proves G1
def test_promote_when_certified_then_in_service_with_who_and_why(run: Pmx) -> None:
    path = certified(run, "drift")
    out = run("promote", path, "--approved-by", "ben", "--approved-by", "cem", "--actor", "ann")
    assert "drift, model" in out
    assert "is champion (entry 2)" in out
    table = run("registry")
    for words in ("champion", "drift", "ann", "ben,", "verified", "fallback of drift"):
        assert words in table
    assert in_service(run) == {"champion": "drift", "fallback": "random_walk"}
    assert str(lines(run("registry", "--json"))[0]["why"]).endswith("approved by ben, cem")
    assert "entry 2 at" in run("promote", path, "--approved-by", "ben", "--approved-by", "cem")
    assert run("audit", "log", "--json").count("\n") == 2


def test_revert_when_asked_then_the_last_good_one_and_as_of_knows_both(run: Pmx) -> None:
    run("promote", certified(run, "drift"))
    run("promote", certified(run, "samossa"))
    between = str(lines(run("audit", "log", "--json"))[-1]["at"])
    assert in_service(run)["champion"] == "samossa"
    assert in_service(run)["last_good"] == "drift"
    assert "drift, model" in run("revert", "--reason", "accuracy fell [bold]to 41 %")
    assert in_service(run)["champion"] == "drift"
    assert "[bold]to 41 %" in " ".join(run("audit", "log").split())
    assert in_service(run, "--as-of", between)["champion"] == "samossa"
    assert in_service(run, "--as-of", "2025-01-01") == {}
    assert "nothing in service" in run("registry", "--as-of", "2025-01-01")


def test_promote_when_the_decision_holds_then_refused_with_the_checks(run: Pmx) -> None:
    run("promote", certified(run, "drift", outcome=Outcome.HOLD), code=2)
    assert "says hold of drift" in run.err
    assert "sharpe" in run.err
    assert in_service(run) == {}


def test_promote_when_overridden_then_in_service_and_every_table_says_so(run: Pmx) -> None:
    path = certified(run, "drift", outcome=Outcome.HOLD)
    run("promote", path, "--override", "paper only", code=2)
    assert "add --approved-by NAME" in run.err
    assert in_service(run) == {}
    words = ("--override", "paper only", "--approved-by", "cem")
    assert "is champion (entry 2), although it failed sharpe" in run("promote", path, *words)
    row = lines(run("registry", "--json"))[0]
    assert str(row["why"]).endswith("overridden by cem: paper only")
    assert "although it failed sharpe" in run("audit", "log")
    entry = lines(run("promote", path, *words, "--json"))[0]
    assert entry["overridden"] == ["sharpe"]
    assert "2 entries" in run("audit", "verify")


def test_challenger_when_judged_then_in_shadow_beside_the_champion(run: Pmx) -> None:
    run("promote", certified(run, "drift"))
    path = certified(run, "samossa", outcome=Outcome.HOLD)
    assert "runs in shadow (entry 4)" in run("challenger", path, "--actor", "ann")
    assert in_service(run) == {
        "champion": "drift", "challenger": "samossa", "fallback": "random_walk",
    }  # fmt: skip
    assert "shadow" in run("registry")
    assert "shadow" in run("audit", "log")
    run("challenger", certified(run, "samossa", logged=False), code=2)


def test_promote_when_refused_before_the_ledger_then_nothing_is_made(run: Pmx) -> None:
    before = {path.name for path in (run.folder / "runs").iterdir()}
    run("promote", str(run.folder / "runs" / "decision.json"), code=2)
    run("promote", str(run.sweep / "decision.json"), code=2)
    assert {path.name for path in (run.folder / "runs").iterdir()} == before
    assert "pmx certify" in run.err


def test_promote_when_the_decision_was_altered_then_refused(run: Pmx) -> None:
    path = Path(certified(run, "drift"))
    path.write_text(path.read_text().replace('"value": 1.5', '"value": 9.5'))
    run("promote", str(path), code=2)
    assert "it was altered" in run.err


def test_promote_when_the_decision_was_never_certified_then_refused(run: Pmx) -> None:
    run("promote", certified(run, "drift", logged=False), code=2)
    assert "is not in the audit log" in run.err
    assert in_service(run) == {}


def test_promote_when_a_later_decision_holds_then_the_older_one_is_refused(run: Pmx) -> None:
    path = Path(certified(run, "drift"))
    older = path.read_text()
    certified(run, "samossa", outcome=Outcome.HOLD)  # about another: it overrules nothing
    certified(run, "drift", outcome=Outcome.HOLD)
    path.write_text(older)
    run("promote", str(path), code=2)
    assert "is entry 1, and entry 3 is a later one about drift at step 1: hold" in run.err
    assert in_service(run) == {}


def test_promote_when_the_decision_is_old_then_refused(run: Pmx) -> None:
    run("promote", certified(run, "drift", days_ago=30.01), code=2)
    assert "is older than max_decision_age_days allows" in run.err
    run("promote", certified(run, "samossa", days_ago=29.9))
    assert in_service(run)["champion"] == "samossa"


def test_promote_when_another_policy_is_in_force_then_refused_with_both(run: Pmx) -> None:
    lax = GovernancePolicy(alpha=0.5).sha256
    path = certified(run, "drift", policy=lax)
    run("promote", path, code=2)
    assert lax in "".join(run.err.split())
    assert GovernancePolicy().sha256 in "".join(run.err.split())
    assert in_service(run) == {}
    (run.folder / "policy.yaml").write_text("alpha: 0.5\n")
    run("promote", path, "--policy", "policy.yaml")
    (entry,) = [row for row in lines(run("audit", "log", "--json")) if row["kind"] == "promote"]
    assert lax in json.dumps(entry["payload"])


def test_promote_when_the_sweep_was_evaluated_anew_then_refused(run: Pmx) -> None:
    path = Path(certified(run, "drift", logged=False))
    old = GovernanceDecision.from_document(json.loads(path.read_text()))
    stale = replace(old, report_key="another").as_document()
    path.write_text(json.dumps(stale))
    with ledger_of(run) as ledger:
        AuditLog(ledger).append(NewEntry("certify", "x", stale, datetime.now(UTC)))
    run("promote", str(path), code=2)
    assert "was evaluated again since" in run.err


def test_registry_when_a_pickle_lies_in_the_folder_then_exit_1_with_the_reason(run: Pmx) -> None:
    run("promote", certified(run, "drift"))
    model = lines(run("registry", "--json"))[0]["model"]
    (run.folder / "runs" / "models" / str(model) / "evil.pkl").write_bytes(b"\x80")
    out = run("registry", code=1)
    assert "refused" in out
    assert "champion: evil.pkl has an ending that is not allowed" in out
    assert run("revert", "--reason", "a pickle").startswith("revert: random_walk")


def test_registry_when_the_key_is_another_then_exit_1(
    run: Pmx, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("promote", certified(run, "drift"))
    monkeypatch.setenv("PMX_SIGNING_KEY", "o" * 32)
    assert "was signed with key" in run("registry", code=1)
    monkeypatch.delenv("PMX_SIGNING_KEY")
    (run.folder / "runs" / "signing.key").unlink()
    assert "there is no signing key" in run("registry", code=1)
    assert not (run.folder / "runs" / "signing.key").exists()


def test_audit_verify_when_sound_then_its_head_can_be_noted_and_expected(run: Pmx) -> None:
    run("promote", certified(run, "drift"))
    out = run("audit", "verify")
    assert "2 entries" in out
    head = out.split()[-1]
    run("revert", "--reason", "enough")
    run("audit", "verify", "--expect", head)
    run("audit", "verify", "--expect", f"2:{'0' * 64}", code=1)
    run("audit", "verify", "--expect", "nonsense", code=2)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE seq = 1", "entry 1: the content does not match"),
        ("DELETE FROM audit_head", "the log: the head record is gone"),
        ("UPDATE aliases SET version = 9", "alias: champion points to"),
    ],
)
def test_audit_verify_when_tampered_then_exit_1_and_says_what(
    run: Pmx, statement: str, said: str
) -> None:
    run("promote", certified(run, "drift"))
    with ledger_of(run) as ledger, ledger.engine.begin() as connection:
        found = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
        for (name,) in found.all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text(statement))
    assert said in run("audit", "verify", code=1)
    assert lines(run("audit", "verify", "--json", code=1))[-1]["problems"]


def test_registry_when_time_is_none_then_exit_2(run: Pmx) -> None:
    run("registry", "--as-of", "yesterday", code=2)
    assert "2026-03-01T14:00" in run.err
