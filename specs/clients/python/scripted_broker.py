"""A broker that plays a script on each connection: it expects packets and sends exact bytes.

    async def refuses(peer):
        await peer.expect(CONNECT)
        await peer.send(packet(CONNACK, bytes([0, 0x87, 0])))
        await peer.close()

    async with ScriptedBroker(refuses) as broker:
        …

The first connection plays the first script, and so on; the last script is that of all further ones. Connections without
a packet, such as a check of the port, play none. A script that gets another packet than it expects fails the test.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from packets import (
    CONNACK, CONNECT, DISCONNECT, NAMES, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, SUBACK, SUBSCRIBE,
    UNSUBACK, Packet, length_of, packet, text,
)  # fmt: skip

#: Seconds until a script that waits for a packet fails; reached only by failing tests.
PATIENCE = 20.0
#: Bytes that are read at once.
PART = 4096


class Ended(Exception):
    """The gateway has closed the connection."""


class Unexpected(Exception):
    """The gateway sent another packet than the script expected."""


@dataclass(eq=False)
class Peer:
    """The gateway on one connection, as the script sees it."""

    broker: ScriptedBroker
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    #: 5, or 4 for MQTT 3.1.1.
    version: int = 5
    #: Seconds before each part of a packet is read.
    pause: float = 0.0
    #: All packets in order.
    received: list[Packet] = field(default_factory=list)
    #: Packets that were read and not yet taken.
    _ahead: list[Packet] = field(default_factory=list)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def next(self) -> Packet:
        """The next packet. Raises `Ended`."""
        if self._ahead:
            return self._ahead.pop(0)
        try:
            async with asyncio.timeout(PATIENCE):
                received = await self._read()
        except (OSError, asyncio.IncompleteReadError):
            raise Ended from None
        except TimeoutError:
            raise Unexpected(f"no packet within {PATIENCE} s after {self.told()}") from None
        if received.kind == CONNECT:
            self.version = received.body[6]
        self.received.append(received)
        return received

    async def _read(self) -> Packet:
        first = (await self.reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await self.reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        body = bytearray()
        while len(body) < length:
            await asyncio.sleep(self.pause)
            body += await self.reader.readexactly(min(PART, length - len(body)))
        return Packet(first >> 4, first & 15, bytes(body))

    async def hold(self) -> None:
        """Reads nothing more, and never ends."""
        self.writer.transport.pause_reading()
        await asyncio.Event().wait()

    async def expect(self, kind: int) -> Packet:
        """The next packet, which must be of this kind; PINGREQ is answered meanwhile."""
        while True:
            received = await self.next()
            if received.kind == kind:
                return received
            if received.kind != PINGREQ:
                raise Unexpected(f"{received} instead of {NAMES[kind]}; before: {self.told()}")
            await self.answer(received)

    async def accept(self, properties: bytes = b"", session: bool = False) -> Packet:
        """Expects CONNECT and accepts it, with properties of CONNACK."""
        connect = await self.expect(CONNECT)
        more = length_of(len(properties)) + properties if self.version == 5 else b""
        await self.send(packet(CONNACK, bytes([session, 0]) + more))
        return connect

    async def serve(self, *until: int) -> Packet:
        """Answers as a broker does, until a packet of these kinds arrives, which it does not answer. Raises `Ended`."""
        while True:
            received = await self.next()
            if received.kind in until:
                return received
            await self.answer(received)

    async def ignore(self) -> None:
        """Reads and answers nothing, until the gateway closes the connection."""
        while True:
            try:
                await self.next()
            except Ended:
                return

    async def answer(self, received: Packet) -> None:
        """Answers as a broker does, and grants QoS 1."""
        v5 = self.version == 5
        match received.kind:
            case 1:
                await self.send(packet(CONNACK, bytes([0, 0, 0] if v5 else [0, 0])))
            case 3 if received.qos:
                await self.send(packet(PUBACK if received.qos == 1 else PUBREC, received.packet_id))
            case 6:
                await self.send(packet(PUBCOMP, received.packet_id))
            case 8:
                await self.send(packet(SUBACK, received.packet_id + (b"\0\1" if v5 else b"\1")))
            case 10:
                await self.send(packet(UNSUBACK, received.packet_id + (b"\0\0" if v5 else b"")))
            case 12:
                await self.send(packet(PINGRESP))

    def message(self, topic: str, payload: str, packet_id: int = 0) -> bytes:
        """PUBLISH at QoS 1 if it has a packet identifier, else at QoS 0."""
        identifier = packet_id.to_bytes(2) if packet_id else b""
        properties = b""
        if self.version == 5:
            subscribed = [it for it in self.received if it.kind == SUBSCRIBE]
            own = subscribed[-1].body[3 : 3 + subscribed[-1].body[2]] if subscribed else b""
            properties = length_of(len(own)) + own
        return packet(PUBLISH, text(topic) + identifier + properties + payload.encode(), 2 if packet_id else 0)

    async def close(self, reason: int | None = None) -> None:
        """Closes the connection, with a DISCONNECT if there is a reason."""
        if reason is not None:
            await self.send(packet(DISCONNECT, bytes([reason])))
        self.writer.close()

    def told(self) -> str:
        return ", ".join(NAMES.get(it.kind, str(it.kind)) for it in self.received) or "nothing"

    async def looked_at(self) -> bool:
        """Whether a packet arrives at all."""
        try:
            self._ahead.append(await self.next())
        except (Ended, Unexpected):
            return False
        return True


Script = Callable[[Peer], Awaitable[object]]


async def serves(peer: Peer) -> None:
    """The script of a broker without a fault."""
    await peer.serve()


class ScriptedBroker:
    """Listens on a free port of the loopback address."""

    def __init__(self, *scripts: Script, receive_buffer: int = 0) -> None:
        self.scripts = scripts or (serves,)
        self._receive_buffer = receive_buffer
        #: In the order of their CONNECT packets.
        self.connections: list[Peer] = []
        self._tasks: set[asyncio.Task] = set()
        self._failures: list[str] = []

    async def __aenter__(self) -> ScriptedBroker:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        if self._receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._server = await asyncio.start_server(self._accepted, sock=listener, limit=PART)
        self.port: int = listener.getsockname()[1]
        self.name = f"127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, kind, *_) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if kind is None:
            assert not self._failures, self._failures

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        peer = Peer(self, reader, writer)
        try:
            if not await peer.looked_at():
                return
            script = self.scripts[min(len(self.connections), len(self.scripts) - 1)]
            self.connections.append(peer)
            await script(peer)
        except (Ended, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass  # the test ends
        except Exception as error:
            self._failures.append(f"{type(error).__name__}: {error}")
        finally:
            self._tasks.discard(task)
            writer.close()
