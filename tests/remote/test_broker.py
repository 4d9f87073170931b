"""Sweeps that share a cluster: who gets how many workers, and what nodes are asked for."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import ray
from ray_cases import PANEL, PLAN, PLUGINS, cut, digest, pools
from waiting import until

from pmx_ray.backtest.blocks import BlockSize
from pmx_ray.backtest.dispatch import DispatchPolicy
from pmx_ray.remote import broker, executor
from pmx_ray.remote.broker import LEASE_S, NAME, NAMESPACE, Broker, Register, Wish
from pmx_ray.remote.executor import run_on_ray


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def asked():
    return []


@pytest.fixture
def register(clock, asked):
    return Register(request=lambda *request: asked.append(request), monotonic=clock)


CPU = (("CPU", 1.0),)


def wish(holder, *, priority=5, slots=8, wanted=100, worthwhile=0, kind="cpu"):
    return Wish(holder, kind, priority, slots, wanted, worthwhile, CPU, ())


def test_register_when_one_asks_then_it_may_have_all_it_can_use(register):
    assert register.ask(wish("a")) == 8
    assert register.ask(wish("a", wanted=3)) == 3


def test_register_when_an_urgent_one_comes_then_the_other_keeps_one(register):
    register.ask(wish("a"))
    assert register.ask(wish("b", priority=1)) == 7
    assert register.ask(wish("a")) == 1


def test_register_when_slots_are_of_another_kind_then_they_are_not_shared(register):
    register.ask(wish("a"))
    assert register.ask(wish("g", kind="gpu", slots=2)) == 2
    assert register.ask(wish("a")) == 8


def test_register_when_one_has_left_then_the_other_has_all_again(register):
    register.ask(wish("a"))
    register.ask(wish("b", priority=1))
    assert register.leave("b") is False
    assert register.ask(wish("a")) == 8
    assert register.leave("a") is True


def test_register_when_one_is_silent_for_long_then_its_slots_are_the_others(register, clock):
    register.ask(wish("dead", priority=1))
    clock.now += LEASE_S
    assert register.ask(wish("a")) == 1
    clock.now += 0.1
    assert register.ask(wish("a")) == 8


def test_nodes_when_sweeps_come_and_go_then_asked_for_all_and_given_back(register, asked):
    register.ask(wish("a", worthwhile=2))
    register.ask(wish("a", worthwhile=2))  # nothing new
    register.ask(wish("b", worthwhile=3, wanted=1))  # one block is left
    register.leave("a")
    register.leave("b")
    assert [len(shapes) for shapes, _ in asked] == [2, 3, 1, 0]
    assert asked[0] == ([{"CPU": 1.0}] * 2, [{}] * 2)


def test_nodes_when_a_sweep_dies_then_given_back_though_nobody_asks(register, asked, clock):
    register.ask(wish("a", worthwhile=2))
    clock.now += LEASE_S + 0.1
    register.settle()
    assert asked[-1] == ([], [])


def test_nodes_when_the_broker_is_a_new_one_then_what_another_asked_for_is_given_back(
    register, asked
):
    assert not register.idle
    register.settle()
    register.settle()
    assert asked == [([], [])]
    assert register.idle


def test_broker_when_nobody_asks_for_long_then_it_ends(cluster):
    actor = ray.remote(Broker).options(name="quiet", lifetime="detached", num_cpus=0)
    quiet = actor.remote(lease_s=0.3, quiet_s=0.6)
    assert ray.get(quiet.ask.remote(wish("dead"))) == 8

    def ended():
        try:
            ray.get_actor("quiet")
        except ValueError:
            return True
        return False

    until(ended)


def run(lake, blocks, priority):
    return run_on_ray(
        PANEL, PLAN, blocks, pools=pools(0), policy=DispatchPolicy(max_attempts=2),
        lake_url=str(lake), plugins=PLUGINS, priority=priority,
    )  # fmt: skip


def test_sweeps_when_an_urgent_one_comes_later_then_it_ends_first_and_poison_stays_apart(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(broker, "ASK_S", 0.2)
    slow = cut("slow")
    first = run(tmp_path / "first", (*slow, *cut("deadly", size=BlockSize(folds=99, tickers=1))), 2)
    settled, ended = [next(first)], []

    def finish(name, rows):
        found = list(rows)
        ended.append(name)
        return found

    with ThreadPoolExecutor(2) as threads:
        later = threads.submit(finish, "urgent", run(tmp_path / "later", slow, 1))
        settled += threads.submit(finish, "first", first).result()
        found = later.result()
    assert ended == ["urgent", "first"]
    assert {row.block.tickers for row in settled if row.receipt is None} == {("B",)}
    assert all(row.receipt is not None for row in found)  # the other's poison did it no harm
    alike = {block.id for block in slow}
    of_slow = [row for row in settled if row.block.id in alike]
    assert digest(tmp_path / "first", of_slow) == digest(tmp_path / "later", found)
    with pytest.raises(ValueError, match="Failed to look up actor"):
        ray.get_actor(NAME, namespace=NAMESPACE)


def test_sweep_when_the_broker_is_killed_then_it_goes_on_with_another(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(broker, "ASK_S", 0.2)
    blocks = cut("slow")
    rows = run(tmp_path, blocks, 5)
    settled = [next(rows)]
    ray.kill(ray.get_actor(NAME, namespace=NAMESPACE))
    settled += list(rows)
    assert {row.block.id for row in settled if row.receipt} == {block.id for block in blocks}


def test_sweep_when_others_hold_every_slot_then_it_waits_for_as_long_as_they_do(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(executor, "POLL_S", 0.1)

    @ray.remote(num_cpus=1)
    class Taker:
        def there(self):
            return True

    takers = [Taker.remote() for _ in range(4)]
    ray.get([taker.there.remote() for taker in takers])
    looks = []

    def monotonic():
        looks.append(0)
        if len(looks) == 8:  # hours later
            for taker in takers:
                ray.kill(taker)
        return 1000.0 * len(looks)

    blocks = cut("drift")
    found = run_on_ray(
        PANEL, PLAN, blocks, pools=pools(0), policy=DispatchPolicy(), lake_url=str(tmp_path),
        plugins=PLUGINS, priority=5, monotonic=monotonic,
    )  # fmt: skip
    assert {row.block.id for row in found if row.receipt} == {block.id for block in blocks}
    assert len(looks) > 8


def test_sweep_when_no_node_could_hold_a_worker_then_one_is_asked_for_and_waited_for(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(executor, "POLL_S", 0.1)
    requests, new = [], []

    def ask(self, slots, wanted):
        requests.append((slots, wanted))
        if not new:  # as an autoscaler would
            new.append(cluster.add_node(num_cpus=1, labels={"rack": "new"}))
        asked(self, slots, wanted)

    asked = broker.Share._ask
    monkeypatch.setattr(broker.Share, "_ask", ask)
    blocks = cut("drift")
    later = [replace(pools(0)[0], labels={"rack": "new"})]
    try:
        found = list(
            run_on_ray(
                PANEL, PLAN, blocks, pools=later, policy=DispatchPolicy(), lake_url=str(tmp_path),
                plugins=PLUGINS, priority=5, nodes_within_s=60.0,
            )
        )  # fmt: skip
    finally:
        for node in new:
            cluster.remove_node(node)
    assert {row.block.id for row in found if row.receipt} == {block.id for block in blocks}
    assert requests[0] == (0, len(blocks))
    with pytest.raises(ValueError, match="Failed to look up actor"):
        ray.get_actor(NAME, namespace=NAMESPACE)


def test_wish_when_pools_differ_in_labels_or_gpus_then_of_another_kind():
    (cpu, gpu) = pools(2, gpu=1)
    kinds = {cpu.kind, gpu.kind, replace(gpu, gpus=0.5).kind, replace(cpu, labels={"a": "b"}).kind}
    assert len(kinds) == 4
    assert replace(cpu, n_workers=9).kind == cpu.kind
