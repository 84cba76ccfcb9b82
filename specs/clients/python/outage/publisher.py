"""A publisher beside the gateway: it connects to the broker directly, and returns when a message is acknowledged."""

from __future__ import annotations

import asyncio

from packets import CONNACK, CONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, packet, text
from sharing import read_packet


class Publisher:
    """Publishes at QoS 1 with MQTT 3.1.1, unless told otherwise. When the broker ends, it connects to its successor and publishes
    again."""

    def __init__(self, port: int, version: str = "3.1.1", qos: int = 1) -> None:
        self._port = port
        self._level = 5 if version == "5" else 4
        #: Properties of MQTT 5: none.
        self._properties = b"\0" if version == "5" else b""
        self._qos = qos
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._last = 0

    async def publish(self, topic: str, payload: str, retain: bool = False, properties: bytes | None = None) -> None:
        """Returns when the broker has acknowledged it, however long that takes. `properties` begin with their length."""
        self._last = self._last % 65_535 + 1
        identifier = self._last.to_bytes(2)
        body = text(topic) + identifier + (properties or self._properties) + payload.encode()
        message = packet(PUBLISH, body, self._qos << 1 | retain)
        while True:
            try:
                if self._writer is None:
                    await self._connect()
                self._writer.write(message)
                if self._qos == 1:
                    await self._answer(PUBACK, identifier)
                else:
                    await self._answer(PUBREC, identifier)
                    self._writer.write(packet(PUBREL, identifier, 2))
                    await self._answer(PUBCOMP, identifier)
                return
            except (OSError, EOFError):
                self.close()
                # The broker is being started.
                await asyncio.sleep(0.01)

    async def _connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        # rumqttd refuses a Keep Alive of 0.
        head = text("MQTT") + bytes([self._level, 2, 0xFF, 0xFF]) + self._properties
        self._writer.write(packet(CONNECT, head + text("publisher")))
        await self._answer(CONNACK, b"\0\0")

    async def _answer(self, expected: int, begin: bytes) -> None:
        kind, body = await read_packet(self._reader)
        # Reason codes from 0x80 on are refusals (MQTT 5.0, 2.4); 0x10 says that nobody subscribes.
        refused = expected != CONNACK and len(body) > 2 and body[2] >= 0x80
        assert kind == expected and body.startswith(begin) and not refused, (kind, body)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
