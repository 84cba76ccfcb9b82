"""What a run does, and the gateway that it uses."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from conftest import Gateway, plain

from outage.calls import Endpoint
from outage.faults import KINDS, Fault, Kind

#: Sessions survive their connections, and calls wait for the broker.
KEPT = "sessionExpiry: 300, offlineQueue: 1000"


@dataclass(frozen=True)
class Plan:
    #: Number of messages.
    count: int
    fault: str = "cut"
    qos: int = 1
    version: str = "5"
    #: Whether sessions outlive a connection.
    kept: bool = True
    seed: int = 1
    #: A fault is injected each time that a random number of messages between these was published.
    every: tuple[int, int] = (200, 400)

    @property
    def kind(self) -> Kind:
        return KINDS[self.fault]

    @property
    def is_resumed(self) -> bool:
        """Whether the broker must resume the session after a fault, with all that it has acknowledged.

        mosquitto 2.0.11 does not save an MQTT 5 session that was begun with a clean start, until it is resumed once.
        """
        return self.kept and self.kind.keeps and not (self.kind.ends and self.version == "5")

    def __str__(self) -> str:
        sessions = "kept" if self.kept else "not kept"
        return f"{self.kind.words}, QoS {self.qos}, MQTT {self.version}, sessions {sessions}"


#: Is told how many messages were published, and how many faults there were.
Progress = Callable[[int, int], None]


def silent(published: int, strikes: int) -> None:
    pass


@contextlib.asynccontextmanager
async def stage(plan: Plan, rng: random.Random, options: str = "") -> AsyncIterator[tuple[Fault, Endpoint]]:
    """A broker with a fault, and a gateway that uses it. The client identifier of the gateway is `outage`."""
    client = f'clientId: outage, version: "{plan.version}", reconnect: {{ min: 10, max: 200 }}'
    if plan.kept:
        client = f"{client}, {KEPT}"
    async with Fault(plan.kind, rng) as fault:
        config = plain("http", fault.port, client=client, options=options)
        gateway = await asyncio.to_thread(Gateway, config)
        try:
            await asyncio.to_thread(gateway.probed)
            async with Endpoint(gateway.url) as endpoint:
                yield fault, endpoint
        finally:
            await asyncio.to_thread(gateway.stop)
