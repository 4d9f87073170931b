from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmx_ray.errors import SettingsError
from pmx_ray.signals.signal_id import SignalId
from pmx_ray.signals.types import TICKER_PATTERN, FlagStatus

TEXT = "20260331-0a1b2c3d4e5f-f7-ln-AAPL"


def test_signal_id_is_read_and_written():
    parts = SignalId.parse(TEXT)
    assert parts == SignalId(
        date(2026, 3, 31), "0a1b2c3d4e5f", 7, FlagStatus.LIVE, stale=False, ticker="AAPL"
    )
    assert str(parts) == TEXT


ids = st.builds(
    SignalId,
    cutoff=st.dates(),
    book=st.text("0123456789abcdef", min_size=12, max_size=12),
    flags_version=st.integers(0, 10**18 - 1),
    flags_status=st.sampled_from(FlagStatus),
    stale=st.booleans(),
    ticker=st.from_regex(TICKER_PATTERN, fullmatch=True).filter(str.isascii),
)


@given(ids)
def test_signal_id_when_written_then_read_back(parts):
    assert SignalId.parse(str(parts)) == parts


@pytest.mark.parametrize(
    "text",
    [
        "", "AAPL", TEXT + "\n", " " + TEXT, TEXT.lower(), TEXT[1:], TEXT[:-4],
        TEXT.replace("-f7-", "-f07-"), TEXT.replace("-f7-", "-f-7-"), TEXT.replace("-f7-", "-7-"),
        TEXT.replace("-ln-", "-qn-"), TEXT.replace("-ln-", "-lz-"), TEXT.replace("0a1b", "0A1B"),
        TEXT.replace("20260331", "20260231"), TEXT.replace("20260331", "00000101"),
        TEXT.replace("AAPL", "../../etc"), TEXT.replace("AAPL", "A' OR 1=1"),
        TEXT.replace("7", "9" * 400), TEXT.replace("20260331", "\uff12" * 8), "\x00" * 32,
    ],
)  # fmt: skip
def test_signal_id_when_malformed_then_error_that_shows_little_of_it(text):
    with pytest.raises(SettingsError, match="has the wrong form") as error:
        SignalId.parse(text)
    assert len(str(error.value)) < 400


@given(st.text(max_size=60))
def test_signal_id_when_anything_else_then_settings_error_only(text):
    with pytest.raises(SettingsError):
        SignalId.parse(text)


def test_signal_id_when_a_part_is_wrong_then_error():
    with pytest.raises(SettingsError, match="has the wrong form"):
        SignalId(date(2026, 3, 31), "short", 7, FlagStatus.LIVE, stale=False, ticker="AAPL")
    with pytest.raises(SettingsError, match="has the wrong form"):
        SignalId(date(2026, 3, 31), "0" * 12, -1, FlagStatus.LIVE, stale=False, ticker="AAPL")
