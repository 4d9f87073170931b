"""The service on a real cluster, while parts of it are killed, locked, lied to and taken away."""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml
from peer_llm import PeerLlm
from pmx_command import long_form
from waiting import until

from benchmarks.service.stage import free_port, pmx, serve_config

pytestmark = pytest.mark.drill

FIRST, MORE = 260, 20
STAGE = {
    "name": "stage",
    "panel": {"source": "file"},
    "folds": {"input_size": 120, "step_size": 6, "steps": [1, 5], "refit_every": 2},
    "forecasters": [{"name": "random_walk"}, {"name": "drift"}, {"name": "ewma_variance"}],
    "evaluation": {"n_resamples": 100, "min_edge_bps": 0.1},
}


@dataclass
class Service:
    """A running service with its folder, tokens and the price file it reads."""

    home: Path
    tokens: dict[str, str]
    peer: PeerLlm
    running: ExitStack = field(default_factory=ExitStack)
    url: str = ""

    @property
    def prices(self) -> Path:
        return self.home / "prices.parquet"

    def write_prices(self, n_sessions: int) -> None:
        long_form("ABC", n_sessions).to_parquet(self.home / "next.parquet")
        (self.home / "next.parquet").replace(self.prices)

    def start(self, **args: object) -> None:
        from serve_apps.launch import Launch  # noqa: PLC0415 - imports Ray, so after the token

        document = serve_config(
            free_port(),
            root=str(self.home),
            **{
                "prices": {"source": "file", "path": str(self.prices)},
                "bars_every_s": 0.5,
                "llm": {"host": self.peer.url, "timeout_s": 2.0, "attempts": 1,
                        "breaker": {"n_failures": 50}},
                **args,
            },
        )  # fmt: skip
        launch = Launch(document, port=None, where="drill")
        self.url = self.running.enter_context(launch.running(None, say=lambda _: None))

    def stop(self) -> None:
        self.running.close()

    def ask(self, method: str, path: str, token: str = "reader", **more: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[token]}"} | dict(more.pop("headers", {}))
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=90.0, **more)

    def signal(self, ticker: str = "A") -> dict:
        answer = self.ask("GET", f"/v1/signals/{ticker}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def answers(self, ticker: str = "A") -> dict | None:
        """Return a bundle, or None while the service is not back."""
        try:
            found = self.ask("GET", f"/v1/signals/{ticker}")
        except httpx.HTTPError:
            return None
        return found.json() if found.status_code == 200 else None

    def keeper(self) -> dict:
        return self.ask("GET", "/v1/status").json()["keeper"]

    def flags(self, **changes: object) -> dict:
        body = {"changes": changes, "reason": "a drill"}
        answer = self.ask("PUT", "/v1/flags", "admin", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def shows(self, **wanted: object) -> Callable[[], bool]:
        """Return whether both replicas answer with these fields, as a condition to wait for."""

        def holds() -> bool:
            found = [self.answers() for _ in range(8)]
            return all(
                one is not None and all(one[name] == value for name, value in wanted.items())
                for one in found
            )

        return holds


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a service whose champion is `drift`, put there by override."""
    home = tmp_path_factory.mktemp("served")
    peer = PeerLlm()
    found = Service(home, {}, peer)
    found.write_prices(FIRST)
    stage = {**STAGE, "panel": {"source": "file", "path": str(found.prices)}}
    (home / "stage.yaml").write_text(yaml.safe_dump(stage))
    pmx(home, "sweep", str(home / "stage.yaml"), "--address", "in-process", accept=(0, 3))
    certified(found, "drift")
    for name, scope in (("reader", "read"), ("admin", "admin")):
        found.tokens[name] = pmx(home, "token", name, "--scope", scope).strip()
    pmx(home, "promote", str(decision(found)), "--approved-by", "ann", "--override", "a drill")
    try:
        found.start()
        until(lambda: found.answers() is not None)
        yield found
    finally:
        found.stop()
        peer.stop()


def decision(service: Service) -> Path:
    (folder,) = service.home.glob("stage-*")
    return folder / "decision.json"


def certified(service: Service, label: str) -> None:
    folder = decision(service).parent if list(service.home.glob("stage-*")) else None
    assert folder is not None
    pmx(service.home, "certify", str(folder), "--challenger", label, "--step", "5", accept=(0, 1))


def processes(title: str) -> list[int]:
    """Return the ids of Ray's processes whose title starts so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")[0].decode(errors="replace")
        except OSError:
            continue
        if words.startswith(title):
            found.append(int(path.parent.name))
    return sorted(found)


class Callers:
    """Ask for signals all the time, and keep every answer."""

    def __init__(self, service: Service) -> None:
        self._service, self._done = service, threading.Event()
        self.bundles: list[dict] = []
        self.failed: list[int] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                answer = self._service.ask("GET", "/v1/signals/B")
            except httpx.HTTPError:
                self.failed.append(0)
                continue
            if answer.status_code == 200:
                self.bundles.append(answer.json())
            else:
                self.failed.append(answer.status_code)


def all_replay(service: Service, bundles: list[dict]) -> bool:
    """Return whether every distinct answer, made again from the ledger, is the one that was given.

    A replay names the model that the book of that moment names, so no other was named.
    """
    distinct = {bundle["id"]: bundle for bundle in bundles}
    assert all(distinct[bundle["id"]] == bundle for bundle in bundles)  # one id, one answer
    replays = {
        name: service.ask("GET", f"/v1/signals/{name}/explain").json().get("bundle")
        for name in distinct
    }
    return replays == distinct


def test_signal_when_served_then_it_names_model_cutoff_flags_and_reason(service: Service) -> None:
    bundle = service.signal()
    assert bundle["model"]["label"] == "drift"
    assert not bundle["model"]["certified"]
    assert "overridden by ann: a drill" in bundle["model"]["standing"]
    assert bundle["route"] == "champion"
    assert bundle["flags_version"] == 0
    assert bundle["cutoff"] in bundle["reason"]
    explained = service.ask("GET", f"/v1/signals/{bundle['id']}/explain").json()
    assert explained["bundle"] == bundle


def test_replica_when_killed_then_the_other_answers_and_it_comes_back(service: Service) -> None:
    before = processes("ray::ServeReplica:signals:Signals")
    assert len(before) == 2
    with Callers(service) as callers:
        until(lambda: len(callers.bundles) > 20)
        os.kill(before[0], signal.SIGKILL)
        n = len(callers.bundles)
        until(lambda: len(callers.bundles) > n + 50)
        until(lambda: len(processes("ray::ServeReplica:signals:Signals")) == 2)
    assert all_replay(service, callers.bundles)
    assert set(callers.failed) <= {500, 503}  # Serve's own, for what was under way
    assert len(callers.failed) <= 6


def test_controller_when_killed_then_no_request_fails_and_flags_still_travel(
    service: Service,
) -> None:
    (controller,) = processes("ray::ServeController")
    with Callers(service) as callers:
        until(lambda: len(callers.bundles) > 10)
        os.kill(controller, signal.SIGKILL)
        version = service.flags(kill_switch=True)["version"]
        until(service.shows(flags_version=version, route="killed"))
        until(lambda: processes("ray::ServeController") not in ([], [controller]))
    assert callers.failed == []
    assert all_replay(service, callers.bundles)
    killed = [b for b in callers.bundles if b["flags_version"] == version]
    assert killed
    assert all(b["signal"]["action"] == "hold" for b in killed)
    version = service.flags(kill_switch=False)["version"]
    until(service.shows(flags_version=version, route="champion"))


def test_proxy_when_killed_then_it_comes_back_with_the_same_champion(service: Service) -> None:
    before = service.signal()["model"]
    (proxy,) = processes("ray::ProxyActor")
    os.kill(proxy, signal.SIGKILL)
    until(lambda: processes("ray::ProxyActor") not in ([], [proxy]))
    until(lambda: service.answers() is not None)
    assert service.signal()["model"] == before


def test_llm_when_good_then_alone_it_answers_and_stakes_nothing(service: Service) -> None:
    version = service.flags(llm_only=True)["version"]
    until(service.shows(flags_version=version, route="llm_only", fallback_used=False))
    bundle = service.signal()
    assert bundle["model"]["label"] == "llm smollm2:135m"
    assert bundle["signal"]["position_frac"] == 0.0


@pytest.mark.parametrize("mode", ["garbage", "rude", "slow"])
def test_llm_when_it_misbehaves_then_the_fallback_answers_and_says_why(
    service: Service, mode: str
) -> None:
    service.peer.released.clear()
    service.peer.mode, asked = mode, service.peer.n_asked
    version = service.flags(llm_only=True)["version"]
    n = FIRST + 1 + ["garbage", "rude", "slow"].index(mode)
    service.write_prices(n)
    cutoff = str(long_form("A", n)["date"].iloc[-1])[:10]
    try:
        until(lambda: service.peer.n_asked > asked)
        until(service.shows(cutoff=cutoff, route="fallback", fallback_used=True))
        bundle = service.signal()
        assert bundle["flags_version"] == version
        assert bundle["model"]["label"] == "random_walk"
        assert "language model" in bundle["reason"]
        assert bundle["signal"]["action"] == "hold"
    finally:
        service.peer.mode = "good"
        service.peer.released.set()
    version = service.flags(llm_only=False)["version"]
    until(service.shows(cutoff=cutoff, flags_version=version, route="champion"))


def test_database_when_locked_then_signals_go_on_and_changes_say_so(service: Service) -> None:
    (path,) = service.home.glob("ledger.db")
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        body = {"changes": {"kill_switch": True}, "reason": "while locked"}
        refused = service.ask("PUT", "/v1/flags", "admin", json=body)
        assert refused.status_code == 503
        assert "locked" in refused.json()["detail"]
        assert refused.headers["Retry-After"]
        assert service.signal()["flags_status"] == "live"
    finally:
        lock.rollback()
        lock.close()
    assert service.flags(kill_switch=False)["values"]["kill_switch"] is False


def test_registry_when_gone_then_the_last_book_stays_and_a_new_one_follows(
    service: Service,
) -> None:
    before = service.signal()
    models, hidden = service.home / "models", service.home / "hidden"
    models.rename(hidden)
    try:
        n = FIRST + 10
        service.write_prices(n)
        until(
            lambda: (
                "no model speaks" in service.ask("GET", "/v1/status").json()["keeper"]["trouble"]
            )
        )
        assert service.signal()["cutoff"] == before["cutoff"]
        shown = service.ask("GET", "/v1/registry").json()["aliases"]["champion"]
        assert "label" not in shown
        assert shown["trouble"]
    finally:
        hidden.rename(models)
    cutoff = str(long_form("A", n)["date"].iloc[-1])[:10]
    until(service.shows(cutoff=cutoff, route="champion"))


def test_champion_when_moved_over_http_then_its_signals_end_at_once(service: Service) -> None:
    certified(service, "ewma_variance")
    body = {"sweep": decision(service).parent.name, "approved_by": ["ann"], "override": "a drill"}
    headers = {"Idempotency-Key": "second"}
    with Callers(service) as callers:
        promoted = service.ask("POST", "/v1/promotions", "admin", json=body, headers=headers)
        assert promoted.status_code == 201, promoted.text
        until(lambda: service.answers()["model"]["label"] == "ewma_variance")
        again = service.ask("POST", "/v1/promotions", "admin", json=body, headers=headers)
        assert again.json()["entry"] == promoted.json()["entry"]
        asked = {"json": {"reason": "a drill"}, "headers": {"Idempotency-Key": "back"}}
        reverted = service.ask("POST", "/v1/reversions", "admin", **asked)
        assert reverted.status_code == 201, reverted.text
        until(service.shows(route="champion"))
        until(lambda: service.answers()["model"]["label"] == "drift")
    assert callers.failed == []
    assert all_replay(service, callers.bundles)


def test_service_when_started_anew_then_champion_flags_and_counters_are_there(
    service: Service,
) -> None:
    version = service.flags(time_series_pct=100, merge_llm=True)["version"]
    until(service.shows(flags_version=version))
    before, counts = service.signal(), service.ask("GET", "/v1/status").json()
    service.stop()
    service.start()
    after, now = service.signal(), service.ask("GET", "/v1/status").json()
    assert after["model"] == before["model"]
    assert after["flags_version"] == version
    assert now["signals"]["n"] >= counts["signals"]["n"] > 0
    assert sum(now["requests"].values()) >= sum(counts["requests"].values()) > 0


def test_prices_when_stale_then_no_signal_trades_and_the_answer_says_so(service: Service) -> None:
    service.stop()
    service.start(clock="live")
    until(service.shows(stale=True))
    bundle = service.signal()
    assert bundle["signal"]["action"] == "hold"
    assert "the newest price is of" in bundle["reason"]
