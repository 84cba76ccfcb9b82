"""The witness: a client of the broker that records all messages that arrive."""

from __future__ import annotations

import os

from soak.ledger import Ledger
from soak.mqtt import Client
from soak.processes import Broker


class Witness:
    """A client of one broker. It also publishes messages for subscribers of the gateway, bypassing the gateway."""

    def __init__(self, broker: Broker, ledger: Ledger) -> None:
        self._broker = broker
        self._ledger = ledger
        self._connections = 0
        self._client: Client | None = None

    async def begin(self) -> None:
        """Connects, and subscribes to `#`."""
        self._connections += 1
        client = Client(self._ledger.arrived)
        identity = f"witness-{os.getpid()}-{self._connections}"
        await client.begin("127.0.0.1", self._broker.port, identity, "#")
        self._client = client

    async def publish(self, topic: str, payload: bytes, retain: bool = False) -> bool:
        """Publishes at QoS 1; whether the broker has acknowledged it."""
        if self._client is None:
            return False
        try:
            await self._client.publish(topic, payload, retain)
        except ConnectionError:
            return False
        return True

    @property
    def connected(self) -> bool:
        return self._client is not None and not self._client.closed.done()

    def close(self) -> None:
        if self._client:
            self._client.close()
