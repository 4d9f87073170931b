"""A fleet in simulated time: by hand where nothing fails, by accounts where much does."""

import json
from heapq import heappop

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.simulation import fewest_drivers, main, simulate, smallest_blocks
from cluster.simulation_fleet import DriverCosts, Fleet, Replay
from pmx_ray.errors import ClusterError

CALM = {
    "node_failures_per_h": 0.0, "worker_deaths_per_h": 0.0, "spot_frac": 0.0, "slow_frac": 0.0,
    "spread": 0.0,
}  # fmt: skip
NOTHING = dict.fromkeys(DriverCosts.model_fields, 0.0)
FREE = DriverCosts(**NOTHING)


def fleet(**changed: object) -> Fleet:
    return Fleet.model_validate({"nodes": 10, "slots": 4, "n_blocks": 4000, **changed})


def test_fleet_when_nothing_fails_and_the_driver_is_free_then_the_wall_is_as_by_hand():
    done = Replay(fleet(**CALM, driver=FREE, worker_start_s=5.0, round_trip_s=0.0)).run()
    # 4000 blocks of 1 s on 40 workers, which start in 5 s
    assert done.wall_s == pytest.approx(105.0)
    assert done.useful_s == pytest.approx(4000.0)
    assert (done.n_done, done.wasted_s, done.recomputed, done.driver_s) == (4000, 0.0, 0, 0.0)


def test_fleet_when_the_driver_is_the_limit_then_it_goes_at_the_drivers_pace():
    costs = DriverCosts(
        **{**NOTHING, "receive_us": 20_000, "submit_us": 20_000, "other_us": 10_000}
    )
    row = simulate(fleet(**CALM, driver=costs))
    # 50 ms a block: 20 blocks a second, and so 20 of 40 workers with blocks of a second
    assert row.busy_steady == pytest.approx(0.5, rel=0.02)
    assert row.blocks_per_s == pytest.approx(20.0, rel=0.05)
    assert 0.95 < row.driver_busy <= 1.0


def test_look_when_many_are_pending_then_it_slows_a_driver_that_has_no_time_left():
    costs = {**NOTHING, "receive_us": 20_000, "submit_us": 20_000}
    more = ({}, {"look_ns": 5e6}, {"look_us": 400_000})  # 400 ms a look with 80 pending
    quick, *slow = (simulate(fleet(**CALM, driver=DriverCosts(**{**costs, **m}))) for m in more)
    # a look costs 400 ms and finds 40 to 80 answers, 40 ms of work each
    for row in slow:
        assert 0.78 < row.blocks_per_s / quick.blocks_per_s < 0.91


def test_drivers_when_two_share_a_fleet_then_twice_the_pace():
    costs = DriverCosts(**{**NOTHING, "receive_us": 40_000, "submit_us": 40_000})
    one, two = (simulate(fleet(**CALM, driver=costs), drivers=n) for n in (1, 2))
    assert two.busy_steady == pytest.approx(2 * one.busy_steady, rel=0.03)


def test_searches_when_the_driver_is_slow_then_what_they_find_is_just_enough():
    costs = DriverCosts(**{**NOTHING, "receive_us": 40_000, "submit_us": 40_000})
    of = fleet(**CALM, driver=costs)
    drivers, blocks = fewest_drivers(of), smallest_blocks(of)
    assert drivers is not None
    assert blocks is not None
    # 80 ms x 36 of 40 workers: 2.9 s of a driver for each second
    assert drivers.drivers == 3
    assert simulate(of, drivers=2).busy_steady < 0.9 <= drivers.busy_steady
    assert blocks.block_s == pytest.approx(2.88, rel=0.1)
    assert blocks.busy_steady >= 0.9


def test_fleet_when_too_much_fails_then_no_number_of_drivers_is_named():
    hard = {**CALM, "worker_deaths_per_h": 60.0, "notice_worker_s": 60.0, "max_attempts": 1000}
    assert fewest_drivers(fleet(**hard)) is None


def test_fleet_when_a_worker_dies_alone_then_one_block_at_most_is_computed_again():
    done = Replay(fleet(**{**CALM, "worker_deaths_per_h": 40.0}, driver=FREE)).run()
    assert done.workers_lost > 20
    assert 0 < done.recomputed <= done.workers_lost
    assert done.n_done == 4000
    assert done.wasted_s > 0.0


def test_fleet_when_machines_go_then_all_their_workers_go_and_come_back():
    done = Replay(fleet(**{**CALM, "node_failures_per_h": 20.0}, node_back_s=30.0)).run()
    assert done.nodes_lost >= 3
    assert done.workers_lost > 3 * done.nodes_lost
    assert done.retired == 0
    assert done.n_done == 4000


def test_fleet_when_all_machines_are_slow_then_blocks_take_as_much_longer():
    of = fleet(**{**CALM, "slow_frac": 1.0}, slow_factor=3.0, driver=FREE, round_trip_s=0.0)
    assert Replay(of).run().wall_s == pytest.approx(305.0)


def until(replay: Replay, when_s: float) -> None:
    """Let simulated time pass."""
    while replay._heap[0][0] <= when_s:
        replay._now, _, action = heappop(replay._heap)
        action()
    replay._now = when_s


def test_worker_when_its_machine_goes_as_it_restarts_then_it_is_back_with_the_machine():
    replay = Replay(fleet(**CALM, driver=FREE))
    replay._start()
    until(replay, 10.2)
    worker = replay._workers[0]
    replay._die(worker, 0.5, 5.0)
    until(replay, 12.0)
    replay._die(worker, 3.0, 60.0)
    until(replay, 74.0)
    assert not worker.up
    until(replay, 76.0)
    assert worker.up


def test_worker_when_it_dies_with_an_answer_on_the_way_then_the_answer_counts():
    of = fleet(**CALM, nodes=1, slots=1, n_blocks=10, in_flight=1, driver=FREE, round_trip_s=2.0)
    replay = Replay(of)
    replay._start()
    until(replay, 9.5)  # ready at 7 s, sent a block, which came at 8 s and ended at 9 s
    replay._die(replay._workers[0], 5.0, 5.0)
    until(replay, 10.5)
    assert (replay._tally["n_done"], replay._tally["recomputed"]) == (1, 0)


def test_fleet_when_every_worker_is_given_up_then_an_error_and_not_for_ever():
    with pytest.raises(ClusterError, match="every worker was given up"):
        Replay(fleet(block_s=50.0, worker_deaths_per_h=3600.0, max_attempts=10_000)).run()


@settings(max_examples=25, deadline=None)
@given(
    n_blocks=st.integers(10, 600),
    nodes=st.integers(1, 6),
    slots=st.integers(1, 4),
    in_flight=st.integers(1, 4),
    deaths=st.floats(0.0, 200.0),
    losses=st.floats(0.0, 40.0),
    receive_us=st.floats(0.0, 50_000.0),
    seed=st.integers(0, 5),
)
def test_fleet_whatever_fails_then_every_block_is_accounted_for_and_the_seed_says_all(
    n_blocks, nodes, slots, in_flight, deaths, losses, receive_us, seed
):
    made = fleet(
        n_blocks=n_blocks,
        nodes=nodes,
        slots=slots,
        in_flight=in_flight,
        worker_deaths_per_h=deaths,
        node_failures_per_h=losses,
        node_back_s=20.0,
        max_deaths=10_000,
        driver=DriverCosts(receive_us=receive_us),
        seed=seed,
    )
    replay = Replay(made)
    done = replay.run()
    assert done.n_done + done.n_quarantined == n_blocks
    assert done.useful_s <= done.wall_s * nodes * slots * (1 + 1e-9)
    assert done.useful_s + done.wasted_s >= done.useful_s >= 0.0
    assert replay._pending == sum(len(worker.refs) for worker in replay._workers)
    assert Replay(made).run() == done


def test_command_when_run_then_tables_and_the_same_figures_again(tmp_path, capsys):
    words = ["--set", "nodes=6", "--set", "n_blocks=600", "--set", "seed=3"]
    for name in ("a", "b"):
        assert main([*words, "--json", str(tmp_path / name)]) == 0
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    figures = json.loads((tmp_path / "a").read_text())
    assert [row["block_s"] for row in figures["sizes"]] == [1, 2, 4, 8, 16, 32, 64]
    assert figures["fewest_drivers"]["drivers"] == 1
    assert "fewest drivers: 1 driver" in capsys.readouterr().out


def test_command_when_a_setting_is_wrong_then_one_line_and_two(capsys):
    assert main(["--set", "nods=6"]) == 2
    assert "did you mean 'nodes'" in capsys.readouterr().err
