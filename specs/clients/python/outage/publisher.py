"""A publisher beside the gateway: it connects to the broker directly, and returns when a message is acknowledged."""

from __future__ import annotations

import asyncio

from packets import CONNACK, CONNECT, PUBACK, PUBLISH, packet, text


class Publisher:
    """Publishes at QoS 1 with MQTT 3.1.1. When the broker ends, it connects to its successor and publishes again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._last = 0

    async def publish(self, topic: str, payload: str, retain: bool = False) -> None:
        """Returns when the broker has acknowledged it, however long that takes."""
        self._last = self._last % 65_535 + 1
        identifier = self._last.to_bytes(2)
        message = packet(PUBLISH, text(topic) + identifier + payload.encode(), 2 | retain)
        while True:
            try:
                if self._writer is None:
                    await self._connect()
                self._writer.write(message)
                await self._answer(PUBACK, identifier)
                return
            except (OSError, EOFError):
                self.close()
                # The broker is being started.
                await asyncio.sleep(0.01)

    async def _connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(packet(CONNECT, text("MQTT") + bytes([4, 2, 0, 0]) + text("publisher")))
        await self._answer(CONNACK, b"\0\0")

    async def _answer(self, kind: int, body: bytes) -> None:
        answer = await self._reader.readexactly(4)
        assert answer == packet(kind, body), answer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
