"""The flags through a real OpenFeature client."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from pmx_ray.signals.flag_provider import FlagProvider
from pmx_ray.signals.flag_source import FlagView
from pmx_ray.signals.flags import FlagValues, bucket
from pmx_ray.signals.types import FlagStatus

VIEW = FlagView(FlagValues(merge_llm=True, time_series_pct=40), 7, FlagStatus.LIVE, 0.0, "")
TICKERS = [f"T{n}" for n in range(200)]


class Shown:
    """The flags as they are known now."""

    def __init__(self) -> None:
        self.view = VIEW

    def __call__(self) -> FlagView:
        return self.view


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def client(shown: Shown) -> Iterator[OpenFeatureClient]:
    api.set_provider(FlagProvider(shown), "flags-test")
    yield api.get_client("flags-test")
    api.clear_providers()


def test_boolean_when_set_then_value_version_and_reason(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("merge_llm", False)
    assert (details.value, details.reason, details.error_code) == (True, Reason.STATIC, None)
    assert details.flag_metadata == {"version": 7, "status": "live"}
    assert client.get_boolean_value("kill_switch", True) is False


def test_integer_when_set_then_value(client: OpenFeatureClient) -> None:
    assert client.get_integer_value("time_series_pct", 1) == 40


def test_flag_when_changed_then_next_answer_has_it(client: OpenFeatureClient, shown: Shown) -> None:
    shown.view = replace(VIEW, values=FlagValues(kill_switch=True), version=8)
    details = client.get_boolean_details("kill_switch", False)
    assert (details.value, details.flag_metadata["version"]) == (True, 8)


def test_time_series_when_ticker_is_named_then_as_the_router_and_sticky(
    client: OpenFeatureClient, shown: Shown
) -> None:
    def taken(pct: int) -> set[str]:
        shown.view = replace(VIEW, values=FlagValues(time_series_pct=pct))
        return {
            ticker
            for ticker in TICKERS
            if client.get_boolean_value("time_series", False, EvaluationContext(ticker))
        }

    assert taken(40) == {t for t in TICKERS if bucket(t, salt="time_series_pct") < 40}
    assert taken(0) < taken(40) < taken(70) < taken(100) == set(TICKERS)
    shown.view = VIEW
    details = client.get_boolean_details("time_series", False, EvaluationContext("AAPL"))
    assert (details.value, details.reason) == (True, Reason.SPLIT)  # its bucket is 22


@pytest.mark.parametrize("context", [None, EvaluationContext(), EvaluationContext("")])
def test_time_series_when_no_ticker_then_default_with_code(
    client: OpenFeatureClient, context: EvaluationContext | None
) -> None:
    details = client.get_boolean_details("time_series", True, context)
    assert (details.value, details.error_code) == (True, ErrorCode.TARGETING_KEY_MISSING)


def test_flag_when_unknown_then_default_with_code_and_nearest_name(
    client: OpenFeatureClient,
) -> None:
    details = client.get_boolean_details("merge_lm", True)
    assert (details.value, details.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
    assert "did you mean 'merge_llm'" in (details.error_message or "")
    assert client.get_string_details("nope", "x").error_code is ErrorCode.FLAG_NOT_FOUND


def test_flag_when_asked_for_as_another_type_then_mismatch(client: OpenFeatureClient) -> None:
    asked = (
        client.get_boolean_details("time_series_pct", True),
        client.get_integer_details("merge_llm", 3),
        client.get_string_details("merge_llm", "x"),
        client.get_float_details("time_series_pct", 0.5),
        client.get_object_details("merge_llm", {}),
    )
    assert {details.error_code for details in asked} == {ErrorCode.TYPE_MISMATCH}
    assert [details.value for details in asked] == [True, 3, "x", 0.5, {}]


def test_flag_when_stale_then_last_value_with_that_reason(
    client: OpenFeatureClient, shown: Shown
) -> None:
    shown.view = replace(VIEW, status=FlagStatus.STALE, age_s=3.0, why="gone")
    details = client.get_boolean_details("merge_llm", False)
    assert (details.value, details.reason) == (True, Reason.STALE)
    assert details.flag_metadata == {"version": 7, "status": "stale"}


def test_flag_when_safe_then_what_counts_is_said(client: OpenFeatureClient, shown: Shown) -> None:
    shown.view = replace(VIEW, status=FlagStatus.SAFE, age_s=31.0, why="gone")
    assert client.get_boolean_value("merge_llm", True) is False
    assert client.get_boolean_value("time_series", True, EvaluationContext("AAPL")) is False
    details = client.get_integer_details("time_series_pct", 9)
    assert (details.value, details.reason) == (0, Reason.STALE)
