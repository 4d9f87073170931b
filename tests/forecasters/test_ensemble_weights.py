import numpy as np
import pytest
from arch.unitroot import VarianceRatio
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.forecasters.ensemble_weights import (
    Evidence,
    adaptive_weights,
    equal_weights,
    inverse_loss_weights,
    walk_shrinkage,
)


def losses_of(*rows: list[float]) -> np.ndarray:
    """Return losses (K, 1, S) of one series."""
    return np.array(rows)[:, None, :]


def evidence(
    age: list[float], *, density: float = 0.0, shrinkage: float = 0.0, anchor: list[float] = (0, 1)
) -> Evidence:
    return Evidence(np.array(age), density, shrinkage, np.array(anchor, float))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (losses_of([1, 3], [1, 3]), [0.75, 0.25]),
        (losses_of([1, 2], [3, 6]), [2 / 3, 1 / 3]),
        (losses_of([1, 1, 2], [1, 1, 2]), [0.4, 0.4, 0.2]),
        (losses_of([0, 0], [0, 0]), [0.5, 0.5]),  # nothing to tell them apart
        (losses_of([1, 9], [np.nan, 1], [1, 9]), [0.9, 0.1]),  # compared on common folds
    ],
)
def test_inverse_loss_when_losses_are_known_then_by_hand(losses, expected) -> None:
    assert inverse_loss_weights(losses, min_losses=2) == pytest.approx(expected)


def test_inverse_loss_when_one_ticker_moves_more_then_it_does_not_outvote() -> None:
    calm, wild = losses_of([1, 3], [1, 3]), 1e4 * losses_of([3, 1], [3, 1])
    assert inverse_loss_weights(np.hstack([calm, wild]), min_losses=2) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("n_known", [0, 1])
def test_weights_when_a_member_hardly_forecasts_then_it_has_none_and_the_others_learn(
    n_known: int,
) -> None:
    absent = losses_of([1, 3, np.nan], [1, 3, np.nan], [1, 3, np.nan])
    absent[:n_known, :, 2] = 1.0
    assert inverse_loss_weights(absent, min_losses=2) == pytest.approx([0.75, 0.25, 0.0])
    # Relative losses 0.5 and 1.5 over three folds; then half to the anchor of those that are left.
    first = 1 / (1 + np.exp(-3))
    for share, anchor in ((0.0, [0.0, 1.0, 0.0]), (0.5, [0.0, 0.1, 0.9])):
        told = evidence([0] * 3, shrinkage=share, anchor=anchor)
        found = adaptive_weights(absent, told, min_losses=2)
        expected = [(1 - share) * first, (1 - share) * (1 - first) + share, 0.0]
        assert found == pytest.approx(expected)
    told = evidence([0] * 3, shrinkage=0.5, anchor=[0.0, 0.0, 1.0])
    found = adaptive_weights(absent, told, min_losses=2)
    assert found == pytest.approx([first, 1 - first, 0.0])


def test_weights_when_half_of_the_losses_are_known_then_the_member_is_compared() -> None:
    losses = losses_of([1, 3], [1, np.nan], [1, 3], [1, np.nan])
    assert inverse_loss_weights(losses, min_losses=2) == pytest.approx([0.75, 0.25])


def test_weights_when_every_member_hardly_forecasts_then_equal() -> None:
    losses = np.full((9, 1, 3), np.nan)
    for member in range(3):
        losses[3 * member : 3 * member + 3, 0, member] = 1.0 + member
    even = pytest.approx([1 / 3] * 3)
    assert inverse_loss_weights(losses, min_losses=1) == even
    told = evidence([0] * 9, shrinkage=0.5, anchor=[1, 0, 0])
    assert adaptive_weights(losses, told, min_losses=1) == even


@pytest.mark.parametrize(
    "losses",
    [
        losses_of([1, 3]),
        losses_of([1, 3], [1, np.nan]),
        losses_of([np.nan, 3], [1, np.nan]),
        np.full((5, 2, 3), np.nan),
    ],
)
def test_weights_when_fewer_losses_than_needed_then_equal(losses) -> None:
    even = equal_weights(losses.shape[2])
    assert inverse_loss_weights(losses, min_losses=2) == pytest.approx(even)
    told = evidence([0.0] * len(losses), shrinkage=0.9, anchor=[1.0] + [0.0] * (len(even) - 1))
    assert adaptive_weights(losses, told, min_losses=2) == pytest.approx(even)


def test_adaptive_when_nothing_changed_and_walk_is_rejected_then_by_the_cumulative_loss() -> None:
    # Relative losses 0.5 and 1.5 over two folds: weights as exp(-1) and exp(-3).
    losses = losses_of([1, 3], [1, 3])
    first = 1 / (1 + np.exp(-2))
    found = adaptive_weights(losses, evidence([5, 0]), min_losses=2)
    assert found == pytest.approx([first, 1 - first])
    twice = adaptive_weights(np.vstack([losses] * 2), evidence([5, 0] * 2), min_losses=2)
    assert twice[1] / twice[0] == pytest.approx(np.exp(-4))  # more folds say it louder


def test_adaptive_when_changes_are_dense_then_by_the_recent_losses() -> None:
    # Relevance exp(-0.1 x 10) = 1/e of the older fold: sums 3/e + 1 and 1/e + 3, by hand, over a
    # mean of 2/e + 2, and 1 + 1/e folds: the exponents differ by (2 - 2/e) / 2.
    losses = losses_of([3, 1], [1, 3])
    found = adaptive_weights(losses, evidence([10, 0], density=0.1), min_losses=1)
    assert found[0] / found[1] == pytest.approx(np.exp(1 - 1 / np.e))
    assert adaptive_weights(losses, evidence([10, 0]), min_losses=1) == pytest.approx([0.5, 0.5])


def test_adaptive_when_all_is_forgotten_then_equal() -> None:
    # Two folds of which one counts 1 and one exp(-20): one fold in effect, and two are needed.
    losses = losses_of([3, 1], [1, 3])
    told = evidence([20, 0], density=1.0, shrinkage=0.5)
    assert adaptive_weights(losses, told, min_losses=2) == pytest.approx([0.5, 0.5])


def test_adaptive_when_walk_stands_then_shrunk_to_the_anchor() -> None:
    losses = losses_of([1, 3], [1, 3])
    found = adaptive_weights(losses, evidence([5, 0], shrinkage=0.4), min_losses=2)
    first = 0.6 / (1 + np.exp(-2))
    assert found == pytest.approx([first, 1 - first])


@given(
    st.lists(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), min_size=1, max_size=8),
    st.floats(0, 2),
    st.floats(0, 1),
)
@settings(max_examples=30, deadline=None)
def test_adaptive_when_losses_are_any_then_weights_sum_to_one(rows, density, shrinkage) -> None:
    told = evidence(
        [5.0 * k for k in range(len(rows))],
        density=density,
        shrinkage=shrinkage,
        anchor=[1, 0, 0],
    )
    weights = adaptive_weights(losses_of(*rows), told, min_losses=2)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()


def test_shrinkage_when_returns_are_noise_then_the_p_value_of_the_reference() -> None:
    path = np.cumsum(np.random.default_rng(4).normal(0, 0.01, (2, 500)), axis=1)
    expected = [VarianceRatio(row, lags=5, robust=True).pvalue for row in path]
    assert min(expected) > 0.05
    assert walk_shrinkage(path, lags=5, level=0.05) == pytest.approx(np.mean(expected))


def test_shrinkage_when_returns_persist_then_none() -> None:
    shocks, returns = np.random.default_rng(1).normal(0, 0.01, 500), np.zeros(500)
    for t in range(1, 500):
        returns[t] = 0.4 * returns[t - 1] + shocks[t]
    assert walk_shrinkage(np.cumsum(returns)[None], lags=5, level=0.05) == 0.0


@pytest.mark.parametrize(
    "row", [np.zeros(300), np.arange(300.0), np.full(300, np.nan), np.r_[1, 2]]
)
def test_shrinkage_when_a_price_cannot_be_tested_then_full(row) -> None:
    assert walk_shrinkage(row[None].astype(float), lags=5, level=0.05) == 1.0
