"""What a node is asked. Ray carries this module to it whole: it may import the standard library."""

import shutil
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path

LISTEN = "0A"
"""State of a listening socket in the kernel's tables."""

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def report(temp_dir: str, ports: tuple[int, ...]) -> dict[str, object]:
    """Return versions, clock, disk and listening addresses of the machine that runs this.

    Parameters
    ----------
    temp_dir : str
        Ray's temporary folder there.
    ports : tuple of int
        Ports to look for.
    """
    import ray  # noqa: PLC0415 - only the node has it at hand

    try:
        from pmx_ray import __version__ as pmx_version  # noqa: PLC0415 - may be absent there
    except ImportError:
        pmx_version = None  # type: ignore[assignment]
    usage = shutil.disk_usage(temp_dir)
    lines = [line for table in TABLES for line in _lines(table)]
    return {
        "ray_version": ray.__version__,
        "python_version": sys.version.split()[0],
        "pmx_version": pmx_version,
        "free_bytes": usage.free,
        "total_bytes": usage.total,
        "listening": {port: listening(lines, port) for port in ports},
        "clock_s": time.time(),
    }


def listening(lines: Iterable[str], port: int) -> tuple[str, ...]:
    """Return the addresses on which a TCP port listens, sorted.

    Parameters
    ----------
    lines : iterable of str
        Of the kernel's ``/proc/net/tcp`` and ``tcp6``; headings are passed over.
    port : int

    Examples
    --------
    >>> listening(["0: 0100007F:2049 00000000:0000 0A 00000000:00000000"], 8265)
    ('127.0.0.1',)
    """
    found = set()
    for line in lines:
        words = line.split()
        if len(words) < 4 or words[3] != LISTEN:
            continue
        host, _, number = words[1].rpartition(":")
        if int(number, 16) == port:
            found.add(_host(host))
    return tuple(sorted(found))


def _host(digits: str) -> str:
    """Return an address written as 32-bit words in the machine's own byte order."""
    words = [digits[start : start + 8] for start in range(0, len(digits), 8)]
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    mapped = packed[:12] == b"\0" * 10 + b"\xff\xff"
    if len(packed) == 4 or mapped:
        return socket.inet_ntop(socket.AF_INET, packed[-4:])
    return socket.inet_ntop(socket.AF_INET6, packed)


def _lines(table: str) -> list[str]:
    try:
        return Path(table).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:  # a kernel without IPv6
        return []


def least_skew(sent_s: float, answered_s: float, received_s: float) -> float:
    """Return the least difference of two clocks that an answer between two moments allows.

    Parameters
    ----------
    sent_s, received_s : float
        Before the question and after the answer, by this clock, seconds.
    answered_s : float
        Between them, by the other clock.

    Examples
    --------
    >>> least_skew(10.0, 10.2, 10.5)
    0.0
    >>> least_skew(10.0, 13.5, 10.5)
    3.0
    """
    if answered_s < sent_s:
        return answered_s - sent_s
    return max(answered_s - received_s, 0.0)
