"""Who is let in how often: a token bucket a caller, with the time handed in."""

from dataclasses import dataclass

from pydantic import Field

from pmx_ray.config import Settings


class AdmissionSettings(Settings):
    """What one replica takes from one caller.

    Attributes
    ----------
    requests_per_s : float
        Steady rate of one token at one replica.
    burst : int
        Requests that may come at once.
    strangers_per_s : float
        Steady rate of all requests together that carry no good token; guessing is slow.
    body_bytes : int
        Largest body of a request.
    body_timeout_s : float
        Time for a body to arrive in.
    max_tickers : int
        Most tickers of one ``POST /v1/signals``.
    """

    requests_per_s: float = Field(default=500.0, gt=0)
    burst: int = Field(default=1000, ge=1)
    strangers_per_s: float = Field(default=20.0, gt=0)
    body_bytes: int = Field(default=65_536, ge=1024)
    body_timeout_s: float = Field(default=5.0, gt=0)
    max_tickers: int = Field(default=500, ge=1)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Requests that may still come, and when that was so.

    Attributes
    ----------
    level : float
        Requests left.
    at_s : float
        Monotonic time, seconds.
    """

    level: float
    at_s: float


def admit(
    bucket: Bucket | None, *, now_s: float, rate_per_s: float, burst: int
) -> tuple[Bucket, float]:
    """Return the bucket after one more request, and how long the caller has to wait.

    Parameters
    ----------
    bucket : Bucket or None
        None for a caller not seen before.
    now_s : float
        Monotonic time, seconds.
    rate_per_s : float
        Requests a second that flow in.
    burst : int
        Most requests that are kept.

    Returns
    -------
    Bucket
        With one request less where the wait is 0.
    float
        Seconds until a request would be let in; 0 where this one is.

    Examples
    --------
    >>> bucket, wait_s = admit(None, now_s=0.0, rate_per_s=2.0, burst=1)
    >>> wait_s, admit(bucket, now_s=0.0, rate_per_s=2.0, burst=1)[1]
    (0.0, 0.5)
    """
    before = bucket or Bucket(float(burst), now_s)
    level = min(float(burst), before.level + max(now_s - before.at_s, 0.0) * rate_per_s)
    if level < 1.0:
        return Bucket(level, now_s), (1.0 - level) / rate_per_s
    return Bucket(level - 1.0, now_s), 0.0
