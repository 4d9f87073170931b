import numpy as np
import pytest
from scipy import optimize, stats

from pmx_ray.forecasters.batch import ForecastBatch, gather
from pmx_ray.forecasters.mixture import pool
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Failure, Forecast, Status


def batch_of(*outcomes) -> ForecastBatch:
    """Return one fold of as many tickers as outcomes."""
    n_steps = next(len(o.mean) for o in outcomes if isinstance(o, Forecast))
    return gather([outcomes], tuple(range(1, n_steps + 1)), len(outcomes))


def normal(mean: float, sd: float) -> Forecast:
    return Forecast(np.array([mean]), np.array([sd**2]))


SHORT = Failure(Status.TOO_SHORT, "3 log returns; 20 are needed")


def pooled(members: list[ForecastBatch], weights: list[float]) -> ForecastBatch:
    shape = members[0].status.shape
    return pool(members, np.broadcast_to(weights, (*shape, len(weights))), names=list("abc"))


def test_pool_when_members_are_normal_then_moments_and_quantiles_of_the_mixture() -> None:
    members, weights = [(0.01, 0.02), (-0.02, 0.05), (0.0, 0.01)], [0.5, 0.2, 0.3]
    found = pooled([batch_of(normal(*member)) for member in members], weights)
    # E[x] and E[x^2] - E[x]^2 by hand.
    mean = 0.5 * 0.01 + 0.2 * -0.02
    square = 0.5 * (0.01**2 + 0.02**2) + 0.2 * (0.02**2 + 0.05**2) + 0.3 * 0.01**2
    assert found.mean[0, 0, 0] == pytest.approx(mean, rel=1e-12)
    assert found.variance[0, 0, 0] == pytest.approx(square - mean**2, rel=1e-12)

    def below(x: float) -> float:
        return sum(w * stats.norm.cdf(x, *m) for w, m in zip(weights, members, strict=True))

    for level, value in zip(QUANTILE_LEVELS, found.quantiles[0, 0, :, 0], strict=True):
        root = optimize.brentq(lambda x, level=level: below(x) - level, -1, 1, xtol=1e-15)
        assert value == pytest.approx(root, abs=1e-12)


def test_pool_when_members_agree_then_the_member() -> None:
    one = batch_of(normal(0.01, 0.02))
    found = pooled([one, one], [0.3, 0.7])
    assert found.mean == pytest.approx(one.mean)
    assert found.variance == pytest.approx(one.variance)
    assert found.quantiles == pytest.approx(one.quantiles, abs=1e-14)


def test_pool_when_one_member_is_skewed_then_its_own_quantiles_count() -> None:
    levels = np.array([-0.09, -0.02, 0.0, 0.01, 0.02])[:, None]
    skewed = Forecast(np.array([-0.01]), np.array([1e-3]), levels)
    alone = pooled([batch_of(skewed), batch_of(normal(0, 1))], [1.0, 0.0])
    assert alone.quantiles[0, 0] == pytest.approx(levels, abs=1e-12)
    both = pooled([batch_of(skewed), batch_of(normal(0, 0.02))], [0.5, 0.5])
    assert both.quantiles[0, 0, 0, 0] < -0.0329  # of the normal one
    assert both.quantiles[0, 0, 0, 0] > -0.09


def test_pool_when_quantiles_coincide_then_still_in_order() -> None:
    stuck = Forecast(np.array([0.0]), np.array([1e-4]), np.zeros((5, 1)))
    found = pooled([batch_of(stuck), batch_of(normal(0, 0.01))], [0.5, 0.5])
    assert (np.diff(found.quantiles[0, 0, :, 0]) >= 0).all()
    assert found.quantiles[0, 0, 2, 0] == pytest.approx(0.0, abs=1e-9)


def test_pool_when_a_member_fails_then_the_others_weights_are_scaled() -> None:
    members = [
        batch_of(normal(0.01, 0.02), normal(0.01, 0.02)),
        batch_of(SHORT, normal(0.03, 0.02)),
    ]
    members.append(batch_of(normal(0.05, 0.02), SHORT))
    found = pooled(members, [0.2, 0.2, 0.6])
    assert found.mean[0, 0, 0] == pytest.approx((0.2 * 0.01 + 0.6 * 0.05) / 0.8)
    assert found.mean[0, 1, 0] == pytest.approx((0.01 + 0.03) / 2)


def test_pool_when_only_unweighted_members_are_left_then_they_count_equally() -> None:
    members = [batch_of(SHORT, normal(0, 1)), batch_of(normal(0.01, 0.02), normal(0, 1))]
    members.append(batch_of(normal(0.03, 0.02), normal(0, 1)))
    assert pooled(members, [1.0, 0.0, 0.0]).mean[0, 0, 0] == pytest.approx(0.02)


def test_pool_when_every_member_fails_then_a_failure_with_each_reason() -> None:
    flat = Failure(Status.CONSTANT, "all 9 log returns equal 0")
    members = [batch_of(each, normal(0, 1)) for each in (flat, SHORT, SHORT)]
    found = pooled(members, [0.2, 0.2, 0.6])
    assert found.status[0].tolist() == ["too_short", "ok"]
    assert found.reasons[0, 0] == (
        "every member failed: a: all 9 log returns equal 0; b, c: 3 log returns; 20 are needed"
    )
