import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve_apps.numbers import SIGNALS, Numbers


def samples(numbers):
    """Return the value of each sample by name and labels, replica and times of making left out."""
    families = text_string_to_metric_families(numbers.exposition().decode())
    return {
        (s.name, *(v for k, v in sorted(s.labels.items()) if k != "replica")): s.value
        for family in families
        for s in family.samples
        if not s.name.endswith("_created")
    }


def test_answered_when_counted_then_by_method_and_status_with_their_time():
    numbers = Numbers("r0")
    for status, seconds in ((200, 0.002), (200, 0.004), (503, 2.0)):
        numbers.answered("GET", f"{SIGNALS}/AAPL", status, seconds)
    found = samples(numbers)
    assert found["pmx_http_requests_total", "GET", "200"] == 2
    assert found["pmx_http_requests_total", "GET", "503"] == 1
    assert found["pmx_http_request_seconds_count", "signal"] == 3
    assert found["pmx_http_request_seconds_bucket", "signal", "0.0025"] == 1
    assert found["pmx_http_request_seconds_bucket", "signal", "0.005"] == 2
    assert found["pmx_http_request_seconds_bucket", "signal", "+Inf"] == 3


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/signals", "signal"),
        ("/v1/signals/AAPL", "signal"),
        ("/v1/signals/some-id/explain", "other"),
        ("/dashboard/index.html", "other"),
        ("/v1/promotions", "other"),
        ("/v1/signals-of-old", "other"),
        ("/", "other"),
    ],
)
def test_answered_when_pages_or_changes_are_asked_for_then_their_time_stands_apart(path, kind):
    numbers = Numbers("r0")
    numbers.answered("GET", path, 200, 0.8)
    found = samples(numbers)
    counts = {key: v for key, v in found.items() if key[0] == "pmx_http_request_seconds_count"}
    assert counts == {("pmx_http_request_seconds_count", kind): 1}
    assert found["pmx_http_requests_total", "GET", "200"] == 1


def test_answered_when_methods_are_made_up_then_they_share_a_series():
    numbers = Numbers("r0")
    for n in range(1000):
        numbers.answered(f"M{n}", "/", 405, 0.001)
    found = {key: v for key, v in samples(numbers).items() if key[0] == "pmx_http_requests_total"}
    assert found == {("pmx_http_requests_total", "other", "405"): 1000}


def test_served_and_set_when_called_then_shown_with_the_replica():
    numbers = Numbers("r7")
    numbers.served("champion", "merged", fallback=False)
    numbers.set("flags_version", 12)
    found = samples(numbers)
    assert found["pmx_signals_served_total", "false", "merged", "champion"] == 1
    assert found["pmx_flags_version",] == 12
    assert b'replica="r7"' in numbers.exposition()
