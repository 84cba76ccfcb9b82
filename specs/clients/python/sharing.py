"""A broker with one shared subscription that redelivers the unacknowledged messages of a member to another one.

MQTT 5.0, 4.8.2, asks that of brokers for QoS 1, and mosquitto does not do it: it hands each message to a member when it is
published and drops what a member that leaves has not acknowledged. This broker knows CONNECT, SUBSCRIBE to one group, PUBLISH at
QoS 1 towards the member, PUBACK, UNSUBSCRIBE and DISCONNECT, and fails on anything else.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 4, 8, 10, 12, 14


class SharingBroker:
    """`queue` holds unacknowledged messages, `taken` acknowledged ones, in order."""

    member: type[Member]

    def __init__(self, messages: list[str]):
        self.queue = deque(messages)
        self.taken: list[str] = []
        #: Largest number of unacknowledged messages at a time.
        self.most_unacknowledged = 0
        self.faults: list[str] = []
        #: Set while the group has no member. Membership lasts from SUBSCRIBE until the connection is closed.
        self.idle = asyncio.Event()
        self.members = 0

    async def __aenter__(self) -> SharingBroker:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        member = self.member(self, writer)
        try:
            while member.stays:
                kind, body = await read_packet(reader)
                member.packet(kind, body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            # The session ends with the connection: other members get its messages, the oldest first.
            self.queue.extendleft(reversed(member.unacknowledged.values()))
            writer.close()
            self.members -= member.joined
            if self.members == 0:
                self.idle.set()


class Member:
    """One connection."""

    def __init__(self, broker: SharingBroker, writer: asyncio.StreamWriter):
        self.broker = broker
        self.writer = writer
        self.stays = True
        self.joined = self.subscribed = False
        self.receive_maximum = 65535
        self.last_id = 0
        self.unacknowledged: dict[int, str] = {}

    def packet(self, kind: int, body: bytes) -> None:
        if kind == CONNECT:
            self.receive_maximum = struct.unpack(">H", properties(body, 10)[0x21])[0]
            self.send(0x20, b"\x00\x00\x00")
        elif kind == SUBSCRIBE:
            self.send(0x90, body[:2] + b"\x00" + b"\x01")
            self.joined = self.subscribed = True
            self.broker.members += 1
            self.broker.idle.clear()
        elif kind == PUBACK:
            self.broker.taken.append(self.unacknowledged.pop(struct.unpack(">H", body[:2])[0]))
        elif kind == UNSUBSCRIBE:
            self.subscribed = False
            self.send(0xB0, body[:2] + b"\x00" + b"\x00")
        elif kind == PINGREQ:
            self.send(0xD0, b"")
        elif kind == DISCONNECT:
            self.stays = False
        else:
            self.broker.faults.append(f"a packet of type {kind}")
            self.stays = False
        self.serve()

    def serve(self) -> None:
        while self.subscribed and self.broker.queue and len(self.unacknowledged) < self.receive_maximum:
            self.last_id += 1
            message = self.broker.queue.popleft()
            self.unacknowledged[self.last_id] = message
            topic = b"\x00\x04jobs"
            self.send(0x32, topic + struct.pack(">H", self.last_id) + b"\x02\x0b\x01" + message.encode())
        self.broker.most_unacknowledged = max(self.broker.most_unacknowledged, len(self.unacknowledged))

    def send(self, first: int, body: bytes) -> None:
        self.writer.write(bytes([first]) + varint(len(body)) + body)


SharingBroker.member = Member


class AnsweringBroker(SharingBroker):
    """One that also takes messages of QoS 1: `answers` holds their payloads, in order."""

    def __init__(self, messages: list[str]):
        super().__init__(messages)
        self.expected = len(messages)
        self.answers: list[str] = []
        self.changed = asyncio.Event()

    async def has_answers(self, count: int) -> None:
        await self._reaches(lambda: len(self.answers) >= count)

    async def is_done(self) -> None:
        """Waits until each message is acknowledged."""
        await self._reaches(lambda: len(self.taken) >= self.expected)

    async def _reaches(self, reached) -> None:
        async with asyncio.timeout(60):
            while not reached():
                self.changed.clear()
                await self.changed.wait()


class AnsweredMember(Member):
    def packet(self, kind: int, body: bytes) -> None:
        if kind == PUBLISH:
            topic = 2 + struct.unpack(">H", body[:2])[0]
            payload = topic + 3 + body[topic + 2]
            self.broker.answers.append(body[payload:].decode())
            self.send(0x40, body[topic : topic + 2])
        else:
            super().packet(kind, body)
        self.broker.changed.set()


AnsweringBroker.member = AnsweredMember


def varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind, _, body = await read_flagged(reader)
    return kind, body


async def read_flagged(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """A packet: its type, the flags of its first byte, and the rest."""
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return first >> 4, first & 0xF, await reader.readexactly(length)


def properties(body: bytes, at: int) -> dict[int, bytes]:
    """Those of CONNECT that tidegate sends: Receive Maximum and Maximum Packet Size."""
    widths = {0x21: 2, 0x27: 4}
    end = at + 1 + body[at]
    at += 1
    found = {}
    while at < end:
        width = widths[body[at]]
        found[body[at]] = body[at + 1 : at + 1 + width]
        at += 1 + width
    return found
