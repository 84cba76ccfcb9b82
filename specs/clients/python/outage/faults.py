"""What fails between the gateway and the broker, and what MQTT promises nevertheless."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from fault_proxy import FaultProxy

from outage.broker import MortalBroker


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    words: str
    #: Whether the broker ends; otherwise the link does.
    ends: bool = False
    hard: bool = False
    persistent: bool = False

    @property
    def keeps(self) -> bool:
        """Whether the broker still has what it has acknowledged.

        A mosquitto that is killed does not: it loses everything without persistence, and with persistence what it had
        not saved yet.
        """
        return not self.hard

    @property
    def goes_back(self) -> bool:
        """Whether the broker may resume an older state of a session: what it lost is not told, and what it sent is repeated."""
        return self.hard and self.persistent


KINDS = {
    "cut": Kind("link cut"),
    "restart": Kind("broker restarted with persistence", ends=True, persistent=True),
    "kill": Kind("broker killed without persistence", ends=True, hard=True),
    "kill-persistent": Kind("broker killed with persistence", ends=True, hard=True, persistent=True),
}


class Fault:
    """A broker, and the link to it, that fail at `strike`.

    `port` is where the gateway connects to. Others connect to the broker, whose link is healthy.
    """

    def __init__(self, kind: Kind, rng: random.Random) -> None:
        self.kind = kind
        #: Number of faults that were injected.
        self.strikes = 0
        self._over = asyncio.Event()
        self._over.set()
        self._restarting: asyncio.Task | None = None
        self._rng = rng

    async def __aenter__(self) -> Fault:
        self.broker = await asyncio.to_thread(MortalBroker, self.kind.persistent)
        self._proxy = FaultProxy(("127.0.0.1", self.broker.port), self._rng)
        await self._proxy.open()
        self.port = self._proxy.port
        return self

    async def __aexit__(self, *_) -> None:
        if self._restarting:
            await self._restarting
        await self._proxy.close()
        await asyncio.to_thread(self.broker.stop)

    def strike(self) -> None:
        """Injects a fault, unless one is in progress: the link is cut behind the next bytes, most likely within a packet."""
        if not self.kind.ends:
            self._proxy.cut_within()
            self.strikes += 1
        elif not self.is_striking:
            self._over.clear()
            self._restarting = asyncio.create_task(self._restart())

    async def _restart(self) -> None:
        try:
            await asyncio.to_thread(self.broker.end, self.kind.hard)
            await asyncio.to_thread(self.broker.start_again)
            self.strikes += 1
        finally:
            self._over.set()

    @property
    def is_striking(self) -> bool:
        """Whether the broker is being ended and started."""
        return not self._over.is_set()

    async def over(self) -> None:
        """Waits until the broker is there again."""
        await self._over.wait()
