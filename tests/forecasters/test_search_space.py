"""Search spaces: what they accept, what they refuse, and the specs that they give."""

import optuna
import pytest

from pmx_ray.errors import SettingsError
from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.forecasters.search_space import SearchSpace

SEARCHED = sorted(name for name, family in load_families().items() if family.search)


@pytest.mark.parametrize("name", SEARCHED)
def test_own_space_when_asked_by_optuna_then_every_draw_is_a_spec(name):
    space = SearchSpace.parse(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        trial = study.ask(space.distributions())
        spec = space.spec(trial.params)
        assert spec.name == name
        assert {key for key, _ in space.dimensions} <= dict(spec.params).keys()


def test_families_when_listed_then_the_tuned_ones_have_a_space():
    assert {"samossa", "garch", "sarimax", "ewma_variance"} <= set(SEARCHED)


def test_spec_when_parameters_are_stored_then_what_a_settings_file_gives():
    written = {"rank": {"choices": [1, "donoho"]}, "difference": {"choices": [True, False]}}
    space = SearchSpace.parse("samossa", written, fixed={"ar_order": 2})
    found = space.spec({"rank": "donoho", "difference": False})
    by_hand = {"name": "samossa", "ar_order": 2, "rank": "donoho", "difference": False}
    assert found == ForecasterSpec.parse(by_hand)
    assert space.default == ForecasterSpec.parse({"name": "samossa", "ar_order": 2})


def test_choices_when_lists_then_stored_as_text_and_given_back_as_lists():
    space = SearchSpace.parse("sarimax", {"order": {"choices": [[0, 1, 1], [1, 1, 1]]}})
    (distribution,) = space.distributions().values()
    assert distribution.choices == ("[0, 1, 1]", "[1, 1, 1]")
    assert dict(space.spec({"order": "[1, 1, 1]"}).params)["order"] == [1, 1, 1]


@pytest.mark.parametrize(
    ("written", "n"),
    [
        ({"ar_order": {"low": 0, "high": 3}}, 4),
        ({"ar_order": {"low": 0, "high": 3}, "shape_ratio": {"choices": [1, 3, 5]}}, 12),
    ],
)
def test_n_configurations_when_finite_then_counted(written, n):
    assert SearchSpace.parse("samossa", written).n_configurations == n


def test_floats_when_they_have_a_step_then_the_very_numbers_that_optuna_draws():
    written = {"decay": {"low": 0.1, "high": 0.5, "step": 0.1}}
    space = SearchSpace.parse("ewma_variance", written)
    listed = {params["decay"] for params in space.configurations()}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    assert {study.ask(space.distributions()).params["decay"] for _ in range(60)} == listed
    third = ForecasterSpec.parse({"name": "ewma_variance", "decay": 0.3})
    assert space.stored(third) == {"decay": sorted(listed)[2]}


def test_parse_when_keys_are_in_another_order_then_the_same_space():
    rank, order = {"choices": [1, 2]}, {"low": 0, "high": 2}
    spaces = [
        SearchSpace.parse("samossa", written)
        for written in ({"rank": rank, "ar_order": order}, {"ar_order": order, "rank": rank})
    ]
    assert spaces[0] == spaces[1]


def test_n_configurations_when_a_float_has_a_step_then_both_ends_count():
    written = {"decay": {"low": 0.9, "high": 0.99, "step": 0.03}}
    assert SearchSpace.parse("ewma_variance", written).n_configurations == 4
    written = {"decay": {"low": 0.9, "high": 0.99}}
    assert SearchSpace.parse("ewma_variance", written).n_configurations == float("inf")


@pytest.mark.parametrize(
    ("family", "written", "fixed", "message"),
    [
        ("samosa", None, {}, "did you mean 'samossa'"),
        ("random_walk", None, {}, "nothing to search"),
        ("samossa", {"rnk": {"choices": [1, 2]}}, {}, "did you mean 'rank'"),
        ("samossa", {"ar_order": {"low": 0, "high": 3}}, {"ar_order": 1}, "fixed; search or fix"),
        ("samossa", {"ar_order": {"low": 3, "high": 3}}, {}, "must be below high"),
        ("samossa", {"ar_order": {"low": 0, "high": 9}}, {}, "ar_order"),
        ("samossa", {"ar_order": {"low": 0, "hi": 3}}, {}, "did you mean 'high'"),
        ("samossa", {"ar_order": 2}, {}, "write {low: ..., high: ...}"),
        ("samossa", {"rank": {"choices": [1]}}, {}, "at least 2"),
        ("samossa", {"rank": {"choices": [1, 1]}}, {}, "given twice"),
        ("samossa", {"rank": {"choices": [1, 1.0]}}, {}, "given twice"),
        ("samossa", {"engine": {"choices": ["numpy", "cupy"]}}, {}, "one kind of device"),
        ("samossa", {"rank": {"choices": [1, "dohono"]}}, {}, "rank"),
        ("ewma_variance", {"decay": {"low": 0.0, "high": 0.9, "log": True}}, {}, "low > 0"),
        ("ewma_variance", {"decay": {"low": 0.8, "high": 0.9, "step": 0.5}}, {}, "step was 0.5"),
        ("historical_mean", {"window": {"low": 60, "high": 90, "step": 1.5}}, {}, "whole"),
    ],
)
def test_parse_when_wrong_then_error_says_what(family, written, fixed, message):
    with pytest.raises(SettingsError, match=message) as raised:
        SearchSpace.parse(family, written, fixed=fixed, where="tune.yaml: search")
    assert str(raised.value).startswith("tune.yaml: search")
