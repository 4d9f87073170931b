"""What may be written in a list of features, and what a wrong entry is told."""

import pickle

import pytest

from pmx_ray.config import parse
from pmx_ray.errors import SettingsError
from pmx_ray.features.exogenous import features_of
from pmx_ray.features.spec import KINDS, FeatureSettings


def read(*written):
    return parse(FeatureSettings, {"features": list(written)}, where="features.yaml").features


def test_features_when_names_and_mappings_then_one_column_each_in_order():  # proves M1
    specs = read(
        "month_end",
        {"kind": "return_lag", "lags": [0, 5]},
        {"kind": "rolling_moment", "window": 20, "moments": ["skew"], "publication_lag": 2},
    )
    columns = [(f.name, f.publication_lag, f.warm_up) for f in features_of(specs)]
    assert columns == [
        ("month_end", 0, 0),
        ("return_lag_0", 1, 1),
        ("return_lag_5", 1, 6),
        ("return_skew_20", 2, 20),
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_kind_when_written_with_nothing_but_itself_then_its_defaults(kind):
    (spec,) = read({"kind": kind().kind})
    assert spec == kind()
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert features_of([spec])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_kind_when_dumped_then_read_back_the_same(kind):
    written = (
        FeatureSettings(features=("monday", kind(publication_lag=3)))
        if "publication_lag" in kind.model_fields
        else FeatureSettings(features=(kind(),))
    )
    assert parse(FeatureSettings, written.model_dump(mode="json"), where="x") == written


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("mondey", "features.0: unknown feature 'mondey'; did you mean 'monday'"),
        ({"kind": "rolling_momnt"}, "unknown feature kind 'rolling_momnt'; did you mean"),
        ({"kind": "volatility", "windw": 3}, "unknown key .*windw'; did you mean 'window'"),
        ({"kind": "volatility", "window": 0}, "greater than or equal to 1"),
        ({"kind": "volatility", "publication_lag": 0}, "greater than or equal to 1"),
        ({"kind": "rolling_quantile", "levels": [1.5]}, "less than or equal to 1"),
        ({"kind": "rolling_moment", "moments": []}, "at least 1 item"),
        ({"kind": "calendar", "effects": ["easter"]}, "Input should be 'monday'"),
        ({"kind": "calendar", "publication_lag": 1}, "unknown key"),
        ({"kind": "fractional_difference", "order": 1.0}, "kind: difference, order: 1"),
        ({"window": 3}, "a mapping with a kind"),
        (3, "a feature is a name such as monday"),
    ],
    ids=str,
)
def test_features_when_an_entry_is_wrong_then_the_error_says_what_to_write(entry, message):
    with pytest.raises(SettingsError, match=message):
        read(entry)


def test_features_when_two_columns_share_a_name_then_refused():
    with pytest.raises(SettingsError, match="feature 'monday' is there twice"):
        features_of(read("monday", {"kind": "calendar"}))
