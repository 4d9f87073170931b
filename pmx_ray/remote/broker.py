"""How sweeps of one cluster share it: an actor that all of them ask, and the asking.

The broker keeps nothing that its callers do not tell it again every two seconds, so it may die at
any time. A sweep that has not asked for a while is gone, and others have its slots. The broker ends
with the last sweep, or by itself where that one was killed. It alone speaks to the autoscaler,
whose latest request overrides any before it: it asks for what all sweeps together can use, and for
nothing once they have ended.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import ray
from ray import ObjectRef
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayError

from pmx_ray.backtest.sharing import Claim, shares
from pmx_ray.remote.cluster import WorkerPool

NAME, NAMESPACE = "pmx-broker-1", "pmx"
"""Of the actor; the number changes when what is said to it does."""

HEAD = {"node:__internal_head__": 0.001}
"""Ray's resource that the head alone has: the broker must outlive workers that come and go."""

LEASE_S = 15.0
"""Seconds after which a sweep that has not asked again is gone."""

ASK_S = 2.0
"""Seconds between two times that a sweep asks."""

QUIET_S = 60.0
"""Seconds without any sweep after which the broker ends by itself."""

FIRST_S = 20.0
"""Longest wait for the first answer, which starts the broker; after it a sweep takes all it can."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a pool of one sweep tells the broker.

    Attributes
    ----------
    holder : str
        Of the sweep and the pool.
    kind : str
        Pools of one kind want the same slots.
    priority : int
        1 goes first.
    slots : int
        Workers of this kind that all nodes hold together.
    wanted : int
        Workers that it has blocks for.
    worthwhile : int
        Workers for which a node should be started.
    shape : tuple of (str, float)
        Resources of a worker.
    labels : tuple of (str, str)
        That its node must carry.
    """

    holder: str
    kind: str
    priority: int
    slots: int
    wanted: int
    worthwhile: int
    shape: tuple[tuple[str, float], ...]
    labels: tuple[tuple[str, str], ...]


class Register:
    """Who asks for what, and who gets it.

    Parameters
    ----------
    request : callable
        Takes the autoscaler's request: resources of each worker, and labels of each.
    lease_s : float
        Seconds after which a sweep that has not asked again is gone.
    monotonic : callable
        Seconds.
    """

    def __init__(
        self,
        *,
        request: Callable[[list[dict[str, float]], list[dict[str, str]]], object],
        lease_s: float = LEASE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request, self._lease_s, self._monotonic = request, lease_s, monotonic
        self._wishes: dict[str, Wish] = {}
        self._arrived: dict[str, int] = {}
        self._heard: dict[str, float] = {}
        # None at first: what a broker before this one asked for is not known.
        self._requested: list[tuple[dict[str, float], dict[str, str]]] | None = None
        self._n_arrivals = 0

    @property
    def idle(self) -> bool:
        """Whether nobody asks for anything, and the autoscaler knows."""
        return not self._wishes and self._requested == []

    def ask(self, wish: Wish) -> int:
        """Note a wish and return how many workers its holder may have now."""
        if wish.holder not in self._arrived:
            self._arrived[wish.holder] = self._n_arrivals
            self._n_arrivals += 1
        self._wishes[wish.holder] = wish
        self._heard[wish.holder] = self._monotonic()
        self.settle()
        rivals = [other for other in self._wishes.values() if other.kind == wish.kind]
        claims = [
            Claim(other.holder, other.priority, self._arrived[other.holder], other.wanted)
            for other in rivals
        ]
        return shares(wish.slots, claims)[wish.holder]

    def leave(self, holder: str) -> bool:
        """Forget a holder; return whether none is left."""
        for table in (self._wishes, self._arrived, self._heard):
            table.pop(holder, None)
        self.settle()
        return not self._wishes

    def settle(self) -> None:
        """Forget who has not asked for ``lease_s`` seconds, and ask the autoscaler anew."""
        now = self._monotonic()
        for holder in [name for name, at in self._heard.items() if now - at > self._lease_s]:
            for table in (self._wishes, self._arrived, self._heard):
                table.pop(holder, None)
        wanted = [
            (dict(wish.shape), dict(wish.labels))
            for wish in self._wishes.values()
            for _ in range(min(wish.worthwhile, wish.wanted))
        ]
        if wanted != self._requested:
            self._request([shape for shape, _ in wanted], [labels for _, labels in wanted])
            self._requested = wanted


class Broker:
    """The actor around the register.

    Parameters
    ----------
    lease_s : float
        Seconds after which a sweep that has not asked again is gone.
    quiet_s : float
        Seconds without any sweep after which the actor ends.
    """

    def __init__(self, lease_s: float = LEASE_S, quiet_s: float = QUIET_S) -> None:
        self._register = Register(request=_request_nodes, lease_s=lease_s)
        self._one_at_a_time = threading.Lock()
        self._me = ray.get_runtime_context().current_actor
        threading.Thread(target=self._look_after, args=(lease_s, quiet_s), daemon=True).start()

    def __repr__(self) -> str:
        return "shares slots among sweeps"

    def ask(self, wish: Wish) -> int:
        """Note a wish and return how many workers its holder may have now."""
        with self._one_at_a_time:
            return self._register.ask(wish)

    def leave(self, holder: str) -> bool:
        """Forget a holder; return whether none is left."""
        with self._one_at_a_time:
            return self._register.leave(holder)

    def _look_after(self, lease_s: float, quiet_s: float) -> None:
        """Forget the dead also when nobody asks any more, so that their nodes are given back."""
        quiet_since = time.monotonic()
        while True:
            time.sleep(min(lease_s, quiet_s) / 3)
            with self._one_at_a_time:
                with suppress(Exception):  # whatever it was, the autoscaler is asked again
                    self._register.settle()
                if not self._register.idle:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > quiet_s:
                    ray.kill(self._me)
                    return


def _request_nodes(shapes: list[dict[str, float]], labels: list[dict[str, str]]) -> None:
    request_resources(bundles=shapes, bundle_label_selectors=labels)


class Share:
    """What one pool of a sweep may use of the cluster, asked for again and again.

    Parameters
    ----------
    pool : WorkerPool
        As the sweep asked for it.
    priority : int
        1 goes first.
    worthwhile : int
        Workers for which a node should be started.
    monotonic : callable
        Seconds.
    """

    def __init__(
        self,
        pool: WorkerPool,
        *,
        priority: int,
        worthwhile: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool, self._priority, self._worthwhile = pool, priority, worthwhile
        self._monotonic = monotonic
        self._holder = f"{pool.device}-{uuid4().hex}"
        self._slots = 0
        self._answer: ObjectRef[Any] | None = None
        self._asked_at = -math.inf
        self._ended = False

    def first(self, *, slots: int, wanted: int) -> int:
        """Return how many workers to start with; all that fit where the broker does not answer."""
        self._ask(slots, wanted)
        if self._answer is not None:
            ray.wait([self._answer], timeout=FIRST_S)
        answer = self._taken()
        return min(slots, wanted) if answer is None else answer

    def due(self) -> bool:
        """Whether it is time to ask again; then ``again`` wants to know what there is now."""
        return self._monotonic() - self._asked_at >= ASK_S

    def again(self, *, slots: int | None, wanted: int) -> int | None:
        """Return the latest answer, or None where there is none, and ask again; never waits.

        Slots that are not known now are taken to be as many as before.
        """
        answer = self._taken()
        if self._answer is None:
            self._ask(self._slots if slots is None else slots, wanted)
        self._asked_at = self._monotonic()
        return answer

    def end(self) -> None:
        """Give everything back, once; who ends last ends the broker."""
        if self._ended or self._asked_at == -math.inf:  # it never asked for anything
            return
        self._ended = True
        # Where it is gone, another one takes back what it asked the autoscaler for.
        with suppress(RayError, ValueError):
            broker = _broker()
            if ray.get(broker.leave.remote(self._holder), timeout=FIRST_S):
                ray.kill(broker)

    def _ask(self, slots: int, wanted: int) -> None:
        self._slots = slots
        resources: Mapping[str, float] = {
            "CPU": 1.0,
            **({"GPU": self._pool.gpus} if self._pool.device == "gpu" else {}),
        }
        wish = Wish(
            holder=self._holder,
            kind=self._pool.kind,
            priority=self._priority,
            slots=slots,
            wanted=wanted,
            worthwhile=self._worthwhile,
            shape=tuple(resources.items()),
            labels=tuple(sorted(self._pool.labels.items())),
        )
        try:
            self._answer = _broker().ask.remote(wish)
        except (RayError, ValueError):  # it died between being found and being asked
            self._answer = None
        self._asked_at = self._monotonic()

    def _taken(self) -> int | None:
        """Return the answer that was waited for, if it is there."""
        if self._answer is None or not ray.wait([self._answer], timeout=0)[0]:
            return None
        ref, self._answer = self._answer, None
        try:
            answer: int = ray.get(ref)
        except RayError:
            return None
        return answer


def _broker() -> Any:
    actor: Any = ray.remote(Broker)
    return actor.options(
        name=NAME,
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        num_cpus=0,
        resources=HEAD,
        max_restarts=-1,
    ).remote()
