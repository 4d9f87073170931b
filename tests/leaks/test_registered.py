"""No registered forecaster or feature is accused, and each keeps what the protocol promises."""

import numpy as np
import pytest

from pmx_ray.features.exogenous import FEATURES
from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.leaks.audit import audit
from pmx_ray.leaks.bench import Bench
from pmx_ray.leaks.conformance import CHECKS, check
from pmx_ray.leaks.stages import ForecasterStage, exogenous_stage

NAMES = [
    name
    for name, family in load_families().items()
    if family.build.__module__.startswith("pmx_ray.forecasters.")  # and not a plugin of other tests
]


@pytest.mark.parametrize("name", NAMES)
def test_audit_when_a_forecaster_is_registered_then_not_accused(name: str) -> None:
    bench = Bench(ForecasterSpec.parse({"name": name}), input_size=260)
    audited = audit(
        [ForecasterStage(bench.spec)], bench.panel, bench.plan, rng=np.random.default_rng(0)
    )
    assert audited.findings == ()
    assert all(probed.n > 0 for probed in audited.probed)  # and not for want of a forecast


@pytest.mark.parametrize("name", FEATURES)
def test_audit_when_a_feature_is_registered_then_not_accused(name: str) -> None:
    bench = Bench(ForecasterSpec.parse({"name": "drift"}), input_size=260)
    stage = exogenous_stage(name, n_ahead=20)
    audited = audit([stage], bench.panel, bench.plan, rng=np.random.default_rng(0))
    assert audited.findings == ()


@pytest.mark.parametrize("name", NAMES)
def test_check_when_a_forecaster_is_registered_then_every_check_passes(name: str) -> None:
    checked = check(ForecasterSpec.parse({"name": name}), input_size=260)
    assert [c for c in checked if not c.passed] == []
    assert len(checked) == len(CHECKS)
