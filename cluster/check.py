"""One thing that was looked at before a cluster is used: what was found and what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict.

    Attributes
    ----------
    name : str
        Of the check; stays the same from release to release.
    passed : bool
        Whether the limit is held.
    sentence : str
        The value that was found and the limit.
    remedy : str
        A command or a setting that mends it; empty where it passed.
    warning : bool
        Whether a failure may be right for somebody, so that it need not stop them.
    """

    name: str
    passed: bool
    sentence: str
    remedy: str
    warning: bool = False

    def __post_init__(self) -> None:
        if self.passed is bool(self.remedy):
            raise ValueError(f"{self.name}: a remedy stands where a check failed, and only there")


def judged(name: str, passed: bool, *, sentence: str, remedy: str, warning: bool = False) -> Check:
    """Return the check; its remedy is left out where it passed."""
    return Check(name, passed, sentence, "" if passed else remedy, warning)
