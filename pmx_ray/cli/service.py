"""What a person types about who acts and which head was noted, as values."""

import getpass

from pmx_ray.errors import SettingsError
from pmx_ray.ledger.chain import AuditHead


def acting(given: str | None) -> str:
    """Return who acts: as given, or the name of the account.

    Raises
    ------
    SettingsError
        If the account has no name.
    """
    if given:
        return given
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        raise SettingsError("this account has no name; say who you are with --actor") from None


def parsed_head(written: str) -> AuditHead:
    """Return the head that was noted as ``N:HASH``.

    Raises
    ------
    SettingsError
        If it is none.
    """
    n, _, digest = written.partition(":")
    if not n.isdecimal() or len(digest) != 64:
        raise SettingsError(
            f"--expect was '{written}'; write it as `pmx audit verify` printed it, "
            "a number, a colon and 64 digits"
        )
    return AuditHead(int(n), digest)
