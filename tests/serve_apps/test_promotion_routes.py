"""Promotion and reversion over HTTP, of models from a real sweep."""

import shutil
from datetime import UTC, datetime

import pytest
from serve_cases import service
from served import decided, evaluated_sweep

from pmx_ray.backtest.report_types import write_json
from pmx_ray.governance.decision import DECISION, Outcome
from pmx_ray.ledger.aliases import Alias, Aliases
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import NewEntry
from serve_apps.tokens import Scope

READ, TRADE, ADMIN = Scope


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return evaluated_sweep(tmp_path_factory.mktemp("swept"))


class Fixture:
    """A service whose folder holds the sweep, with a decision certified about a forecaster."""

    def __init__(self, served, sweep):
        self.served, self.sweep = served, sweep
        self.name = sweep.folder.name
        self.folder = served.desk.home / self.name
        shutil.copytree(sweep.folder.parent, served.desk.home, dirs_exist_ok=True)
        served.clock.now = datetime.now(UTC)

    def certify(self, label, **changes):
        """Log a decision and write it where a promotion looks for it."""
        decision = decided(self.sweep, label, **changes)
        document = decision.as_document()
        AuditLog(self.served.ledger).append(
            NewEntry("certify", "pmx certify", document, self.served.clock())
        )
        write_json(self.folder / DECISION, document)
        return decision

    def promote(self, key, *, as_=ADMIN, sweep=None, **body):
        body = {"sweep": sweep or self.name, **body}
        headers = {"Idempotency-Key": key}
        return self.served.ask("POST", "/v1/promotions", as_=as_, json=body, headers=headers)

    def revert(self, key, reason="it lost", *, as_=ADMIN):
        headers = {"Idempotency-Key": key}
        body = {"reason": reason}
        return self.served.ask("POST", "/v1/reversions", as_=as_, json=body, headers=headers)

    @property
    def champion(self):
        return Aliases(self.served.ledger).current()[Alias.CHAMPION].model

    @property
    def n_entries(self):
        return AuditLog(self.served.ledger).head().n


@pytest.fixture
def case(tmp_path, sweep):
    with service(tmp_path) as started:
        yield Fixture(started, sweep)


def detail(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["detail"]


def test_promotion_when_certified_then_served_and_replays_change_nothing(case):
    case.certify("drift")
    first = case.promote("k-1")
    assert first.status_code == 201
    assert case.champion == first.json()["champion"]
    n = case.n_entries
    # The same again, also after something else was promoted: the same answer, and nothing moves.
    assert case.promote("k-1").json() == first.json()
    case.certify("ewma_variance")
    second = case.promote("k-2")
    assert second.json()["champion"] == case.champion != first.json()["champion"]
    assert case.promote("k-2").json() == second.json()
    assert case.n_entries == n + 2  # a certificate and a promotion
    # The key of one promotion is none of another, nor of a reversion.
    assert "key 'k-1' belongs to entry" in detail(case.promote("k-1"), 409)
    assert "key 'k-2' belongs to entry" in detail(case.promote("k-2", approved_by=["eve"]), 409)
    assert "key 'k-2' belongs to entry" in detail(case.revert("k-2"), 409)
    assert case.n_entries == n + 2
    row = case.served.ask("GET", "/v1/registry").json()["aliases"]["champion"]
    assert (row["model"], row["label"], row["certified"]) == (case.champion, "ewma_variance", True)


def test_reversion_when_asked_then_the_last_good_serves_and_replays_change_nothing(case):
    case.certify("drift")
    good = case.promote("k-1").json()["champion"]
    case.certify("ewma_variance")
    case.promote("k-2")
    first = case.revert("r-1")
    assert first.status_code == 201
    assert first.json()["champion"] == case.champion == good
    n = case.n_entries
    assert case.revert("r-1").json() == first.json()
    assert "differs in reason" in detail(case.revert("r-1", "another reason"), 409)
    assert case.n_entries == n
    case.certify("ewma_variance", step=1)
    case.promote("k-3")
    assert case.revert("r-1").json() == first.json()  # of then, though another serves now
    assert case.champion != good


def test_promotion_when_not_certified_then_refused_unless_someone_answers_for_it(case):
    case.certify("drift", outcome=Outcome.HOLD)
    before = case.champion
    assert "only promote puts a model in service" in detail(case.promote("k-1"), 422)
    assert "no one by name answers" in detail(case.promote("k-2", override="we want it"), 422)
    assert case.champion == before
    answer = case.promote("k-3", override="we want it", approved_by=["ann"])
    assert answer.status_code == 201
    row = case.served.ask("GET", "/v1/registry").json()["aliases"]["champion"]
    assert (row["model"], row["certified"]) == (case.champion, False)
    assert "we want it" in row["standing"]


def test_promotion_when_the_decision_was_written_by_hand_then_refused(case):
    decision = decided(case.sweep, "drift")
    write_json(case.folder / DECISION, decision.as_document())
    assert "is not in the audit log" in detail(case.promote("k-1"), 422)
    (case.folder / DECISION).write_text("{" * 5000)
    assert "is not JSON" in detail(case.promote("k-1"), 422)
    (case.folder / DECISION).unlink()
    assert "is missing" in detail(case.promote("k-1"), 422)


@pytest.mark.parametrize(
    "name",
    [
        "..", ".", "../x", "/etc", "a/b", "%2e%2e", "..%2f", "a\\b", "a\x00b", "", "-x", "x" * 200,
        "~root", "$HOME", "a b", "C:", "\u0661", "linked", "nothing", "api_tokens", "ledger.db",
    ],
)  # fmt: skip
def test_promotion_when_the_sweep_is_named_oddly_then_422_and_nothing_is_read(case, name):
    outside = case.served.desk.home.parent / f"{case.served.desk.home.name}-outside"
    shutil.copytree(case.folder, outside)
    (case.served.desk.home / "linked").symlink_to(outside)
    n = case.n_entries
    answer = case.served.ask(
        "POST",
        "/v1/promotions",
        as_=ADMIN,
        json={"sweep": name},
        headers={"Idempotency-Key": "k"},
    )
    assert detail(answer, 422)
    assert case.n_entries == n
    assert "missing" not in answer.json()["detail"]


def test_registry_when_a_model_was_altered_then_shown_with_its_trouble(case):
    case.certify("drift")
    model = case.promote("k-1").json()["champion"]
    (manifest,) = case.served.desk.home.rglob(f"*{model}*/*manifest*")
    manifest.write_bytes(manifest.read_bytes().replace(b"drift", b"draft"))
    row = case.served.ask("GET", "/v1/registry").json()["aliases"]["champion"]
    assert row["trouble"]
    assert "label" not in row


def test_routes_when_asked_without_the_right_token_then_nothing_moves(case):
    case.certify("drift")
    n = case.n_entries
    for scope, status in ((None, 401), (READ, 403), (TRADE, 403)):
        assert detail(case.promote("k-1", as_=scope), status)
        assert detail(case.revert("r-1", as_=scope), status)
    assert case.n_entries == n
