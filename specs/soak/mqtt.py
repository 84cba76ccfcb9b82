"""A minimal MQTT 5 client."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK = range(1, 10)
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14


def number(value: int) -> bytes:
    """A variable byte integer (§1.5.5)."""
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(data)) + data


def packet(kind: int, flags: int, body: bytes) -> bytes:
    return bytes([kind << 4 | flags]) + number(len(body)) + body


def connect(client_id: str, keep_alive: int) -> bytes:
    """A CONNECT with a clean start; mosquitto 2.0.11 may have more in flight than a lower receive maximum."""
    properties = b"\x21\xff\xff"
    return packet(
        CONNECT, 0, text("MQTT") + struct.pack(">BBH", 5, 2, keep_alive) + number(3) + properties + text(client_id)
    )


def subscribe(packet_id: int, topic_filter: str) -> bytes:
    """A SUBSCRIBE at QoS 2: no local, retain as published, no retained messages."""
    return packet(SUBSCRIBE, 2, struct.pack(">H", packet_id) + b"\0" + text(topic_filter) + bytes([0b10_1110]))


def publish(packet_id: int, topic: str, payload: bytes, retain: bool = False) -> bytes:
    """A PUBLISH at QoS 1."""
    return packet(PUBLISH, 2 | retain, text(topic) + struct.pack(">H", packet_id) + b"\0" + payload)


def acknowledge(kind: int, packet_id: int) -> bytes:
    return packet(kind, 2 if kind == PUBREL else 0, struct.pack(">H", packet_id))


def packets(buffer: bytearray) -> Iterator[tuple[int, int, bytes]]:
    """Removes all complete packets from a buffer: kind, flags, body."""
    while len(buffer) >= 2:
        size, shift, at = 0, 0, 1
        while True:
            if at >= len(buffer):
                return
            size |= (buffer[at] & 127) << shift
            shift += 7
            at += 1
            if buffer[at - 1] < 128:
                break
        if len(buffer) < at + size:
            return
        first, body = buffer[0], bytes(buffer[at : at + size])
        del buffer[: at + size]
        yield first >> 4, first & 15, body


def message(flags: int, body: bytes) -> tuple[str, int, bytes]:
    """The topic, packet identifier (0 at QoS 0) and payload of a PUBLISH."""
    size = int.from_bytes(body[:2])
    topic, at, packet_id = body[2 : 2 + size], 2 + size, 0
    if flags & 6:
        packet_id = int.from_bytes(body[at : at + 2])
        at += 2
    properties, shift = 0, 0
    while True:
        byte = body[at]
        properties |= (byte & 127) << shift
        shift += 7
        at += 1
        if byte < 128:
            break
    return topic.decode(errors="backslashreplace"), packet_id, body[at + properties :]


class Client(asyncio.Protocol):
    """A connection to a broker: publishes at QoS 1, and receives each subscribed message once."""

    KEEP_ALIVE = 30

    def __init__(self, on_message: Callable[[str, int, bytes], None]) -> None:
        self._on_message = on_message
        self._buffer = bytearray()
        self._waiting: dict[tuple[int, int], asyncio.Future[bytes]] = {}
        self._incomplete: set[int] = set()
        self._next = 0
        self._pings: asyncio.TimerHandle | None = None
        self.closed = asyncio.get_running_loop().create_future()

    async def begin(self, host: str, port: int, client_id: str, topic_filter: str) -> None:
        """Connects and subscribes."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, host, port)
        accepted = self._expect(CONNACK, 0)
        self._transport.write(connect(client_id, self.KEEP_ALIVE))
        await accepted
        packet_id = self._packet_id()
        granted = self._expect(SUBACK, packet_id)
        self._transport.write(subscribe(packet_id, topic_filter))
        reasons = await granted
        if reasons[-1] >= 0x80:
            raise ConnectionError(f"the broker refused the subscription to {topic_filter}: {reasons[-1]:#x}")
        self._ping()

    async def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publishes at QoS 1 and waits for the acknowledgement."""
        if self.closed.done():
            raise ConnectionError("the connection to the broker is closed")
        packet_id = self._packet_id()
        done = self._expect(PUBACK, packet_id)
        self._transport.write(publish(packet_id, topic, payload, retain))
        await done

    def close(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(packet(DISCONNECT, 0, b""))
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pings:
            self._pings.cancel()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the broker closed the connection"))
                waiting.exception()  # Nobody need have asked.
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for kind, flags, body in packets(self._buffer):
            if kind == PUBLISH:
                self._received(flags, body)
            elif kind == PUBREL:
                packet_id = int.from_bytes(body[:2])
                self._incomplete.discard(packet_id)
                self._transport.write(acknowledge(PUBCOMP, packet_id))
            elif kind in (CONNACK, SUBACK, PUBACK):
                packet_id = 0 if kind == CONNACK else int.from_bytes(body[:2])
                waiting = self._waiting.pop((kind, packet_id), None)
                if waiting and not waiting.done():
                    waiting.set_result(body)

    def _received(self, flags: int, body: bytes) -> None:
        topic, packet_id, payload = message(flags, body)
        qos = flags >> 1 & 3
        if qos == 1:
            self._transport.write(acknowledge(PUBACK, packet_id))
        elif qos == 2:
            self._transport.write(acknowledge(PUBREC, packet_id))
            if packet_id in self._incomplete:
                return
            self._incomplete.add(packet_id)
        self._on_message(topic, qos, payload)

    def _expect(self, kind: int, packet_id: int) -> asyncio.Future[bytes]:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[kind, packet_id] = waiting
        return waiting

    def _packet_id(self) -> int:
        self._next = self._next % 65_535 + 1
        return self._next

    def _ping(self) -> None:
        self._transport.write(packet(PINGREQ, 0, b""))
        self._pings = asyncio.get_running_loop().call_later(self.KEEP_ALIVE / 2, self._ping)
