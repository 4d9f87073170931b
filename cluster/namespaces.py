"""Nodes with addresses of their own on one machine: a bridge, and a network namespace a node.

The head stays on the machine itself, at the bridge's address, so that drivers outside reach every
node and are reached by it. A namespace has its own loopback and one link to the bridge, and no
route beyond: nothing outside the machine is reachable from it. What belongs to a cluster carries
its number in its name, and by that name alone it is found again and removed.
"""

import ipaddress
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmx_ray.errors import ClusterError, SettingsError
from pmx_ray.provenance import sha256_hex

SPAN = "10.89.0.0/16"
"""Addresses of which a cluster takes the first 256 that this machine does not use."""

COMMAND_S = 10.0
"""Seconds that a command of `ip` may take."""

MOST = 253
"""Nodes that have room on one bridge, the head among them."""


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses of one cluster.

    Attributes
    ----------
    number : str
        Six hexadecimal digits, in the name of all that belongs to it.
    addresses : mapping of str to str
        Each node's, the head's first: that is the bridge's own.
    """

    number: str
    addresses: Mapping[str, str]

    @property
    def host(self) -> str:
        """Address of the bridge, and so of the head."""
        return next(iter(self.addresses.values()))

    @property
    def bridge(self) -> str:
        """Name of the bridge."""
        return f"pmx-{self.number}-br"

    def link(self, node: str) -> str:
        """Return the name of a node's namespace, and of its link's end on the bridge.

        Raises
        ------
        SettingsError
            If it is the head, which is on the bridge itself, or no node of the cluster.
        """
        behind = list(self.addresses)[1:]
        if node not in behind:
            raise SettingsError(
                f"{node} has no network of its own; those that have: {', '.join(behind) or 'none'}"
            )
        return f"pmx-{self.number}-{behind.index(node) + 1}"

    def inside(self, node: str) -> tuple[str, ...]:
        """Return the words before a command of a node, so that it runs in the node's network."""
        if node == next(iter(self.addresses)):
            return ()
        return (_program(), "netns", "exec", self.link(node))


def number_of(folder: Path) -> str:
    """Return the number of the cluster that is noted in ``folder``; the same each time."""
    return sha256_hex(str(folder.resolve()).encode())[:6]


def addressed(
    number: str, nodes: Sequence[str], *, span: str = SPAN, taken: Iterable[str] = ()
) -> Network:
    """Return an address for each node, from the first 256 of ``span`` that nothing else uses.

    Parameters
    ----------
    number : str
        The cluster's.
    nodes : sequence of str
        Their names, the head's first.
    span : str
        Private addresses to choose from, such as ``10.89.0.0/16``.
    taken : iterable of str
        Networks in use, such as ``192.168.1.0/24``.

    Raises
    ------
    SettingsError
        If the span is none of a private network, or has no room.
    """
    if len(nodes) > MOST:
        raise SettingsError(f"the cluster has {len(nodes)} nodes; one bridge holds {MOST}")
    try:
        whole = ipaddress.IPv4Network(span)
    except ValueError as error:
        raise SettingsError(f"span was {span}: {error}; name one such as {SPAN}") from None
    if not whole.is_private or whole.is_loopback or whole.prefixlen > 24:
        raise SettingsError(f"span was {span}; it must be private and hold a /24, such as {SPAN}")
    used = [ipaddress.IPv4Network(network, strict=False) for network in taken]
    for subnet in whole.subnets(new_prefix=24):
        if not any(subnet.overlaps(other) for other in used):
            hosts = (str(address) for address in subnet.hosts())
            return Network(number, dict(zip(nodes, hosts, strict=False)))
    raise SettingsError(f"span was {span}; all of it is in use on this machine, name another")


def check_allowed() -> None:
    """Refuse where this account or machine cannot make networks.

    Raises
    ------
    SettingsError
        If this is not root, or `ip` is not there.
    """
    if os.geteuid() != 0:
        raise SettingsError(
            f"addresses of their own need root, and this is user {os.geteuid()}; run it as root, "
            "or leave all nodes at one address with --addresses one"
        )
    _program()


def taken_here() -> list[str]:
    """Return the networks that this machine has an address in or a route to."""
    addresses = [
        f"{part['local']}/{part['prefixlen']}"
        for link in _listed("-4", "address", "show")
        for part in link.get("addr_info", [])
    ]
    routes = [route["dst"] for route in _listed("-4", "route", "show", "table", "all")]
    return addresses + [route for route in routes if route != "default"]


def laying(network: Network) -> list[tuple[str, ...]]:
    """Return the words for `ip` that make a bridge, and a namespace with a link for each node."""
    bridge = network.bridge
    words: list[tuple[str, ...]] = [
        ("link", "add", bridge, "type", "bridge"),
        ("address", "add", f"{network.host}/24", "dev", bridge),
        ("link", "set", bridge, "up"),
    ]
    for node, address in list(network.addresses.items())[1:]:
        name = network.link(node)
        words += [
            ("netns", "add", name),
            ("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name),
            ("link", "set", name, "master", bridge, "up"),
            ("-n", name, "address", "add", f"{address}/24", "dev", "eth0"),
            ("-n", name, "link", "set", "lo", "up"),
            ("-n", name, "link", "set", "eth0", "up"),
        ]
    return words


def lay(network: Network) -> None:
    """Make the bridge and the namespaces; what an unfinished start left is removed first.

    Raises
    ------
    ClusterError
        If the kernel refuses; what was made until then stays for ``lift``.
    """
    lift(network.number)
    for words in laying(network):
        _ip(*words)


def lift(number: str) -> int:
    """Remove every link, namespace and bridge of a cluster; return how many there were.

    Parameters
    ----------
    number : str
        The cluster's.
    """
    links, spaces = left(number)
    for link in links:
        _ip("link", "delete", link, may_be_gone=True)  # takes the end within along
    for space in spaces:
        _ip("netns", "delete", space)
    return len(links) + len(spaces)


def left(number: str) -> tuple[list[str], list[str]]:
    """Return the names of a cluster's links and of its namespaces that are there, sorted."""
    ours = re.compile(rf"pmx-{re.escape(number)}-(br|\d+)")
    links = [link["ifname"] for link in _listed("link", "show")]
    spaces = [space["name"] for space in _listed("netns", "list")]
    return (
        sorted(name for name in links if ours.fullmatch(name)),
        sorted(name for name in spaces if ours.fullmatch(name)),
    )


def cut(network: Network, node: str) -> None:
    """Take a node's link down: its processes live on, and nobody hears from them.

    Raises
    ------
    ClusterError
        If there is no such link.
    """
    _ip("link", "set", network.link(node), "down")


def mend(network: Network, node: str) -> None:
    """Bring a link up again that ``cut`` took down.

    Raises
    ------
    ClusterError
        If there is no such link.
    """
    _ip("link", "set", network.link(node), "up")


def _program() -> str:
    found = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise SettingsError(
            "addresses of their own need the command ip; install iproute2, or leave all nodes at "
            "one address with --addresses one"
        )
    return found


def _listed(*words: str) -> list[dict[str, Any]]:
    said = _ip("-json", *words)
    found: list[dict[str, Any]] = json.loads(said) if said.strip() else []
    return [part for part in found if part]  # an address that is not asked for leaves a hole


def _ip(*words: str, may_be_gone: bool = False) -> str:
    try:
        done = subprocess.run(
            [_program(), *words], capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"ip {' '.join(words)} took over {COMMAND_S:.0f} s") from None
    if done.returncode and not (may_be_gone and "Cannot find device" in done.stderr):
        refused = "not permitted" in done.stderr
        remedy = "; root needs CAP_NET_ADMIN and CAP_SYS_ADMIN for it" if refused else ""
        raise ClusterError(f"ip {' '.join(words)} failed: {done.stderr.strip()}{remedy}")
    return done.stdout
