"""Addresses of machines, as settings name them."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from its own machine only.

    Examples
    --------
    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("10.0.0.1"), is_loopback("head")
    (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
