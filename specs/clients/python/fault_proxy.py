"""A TCP proxy between the gateway and a broker that injects faults.

Connections are cut, stalled, delayed, split or corrupted, in both directions or in one. Without a fault, all bytes pass
as they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import socket
import struct
from collections.abc import Iterator

#: Bytes forwarded at a time.
CHUNK = 1 << 16
#: Of what is read at once, so many bytes are split into small segments, and the rest into larger ones.
SPLIT = 256
#: `cut_within` cuts after fewer bytes than that.
WITHIN = 200


class Direction(enum.Enum):
    TO_BROKER = "to the broker"
    TO_CLIENT = "to the client"


TO_BROKER, TO_CLIENT = Direction


class FaultProxy:
    """Forwards to `target` from a port that stays the same. Faults last until `pass_on`, or for the life of a connection.

    `async with FaultProxy(target)` opens and closes it.
    """

    def __init__(self, target: tuple[str, int], rng: random.Random | None = None) -> None:
        self.target = target
        #: Known when it is open.
        self.port = 0
        self._rng = rng or random.Random(0)
        self._server: asyncio.Server | None = None
        self._pairs: set[Pair] = set()
        #: Of each direction: set while bytes are forwarded.
        self._passing = {direction: asyncio.Event() for direction in Direction}
        #: Seconds that all bytes wait.
        self.delay = 0.0
        #: Largest number of bytes in a segment; 0: as they come.
        self.segment = 0
        #: Whether new connections are accepted and closed immediately.
        self.turning_away = False
        self.turned_away = 0
        #: Number of connections that were cut.
        self.cuts = 0
        self.pass_on()

    async def __aenter__(self) -> FaultProxy:
        await self.open()
        return self

    async def __aexit__(self, *_) -> None:
        await self.close()

    async def open(self) -> None:
        """Listens, again and again on the same port."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stops listening: new connections are refused, existing ones stay open."""
        if self._server:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        await self.refuse()
        self.pass_on()
        pairs = list(self._pairs)
        for pair in pairs:
            pair.end(hard=True)
        await asyncio.gather(*(pair.over.wait() for pair in pairs))

    def cut(self, hard: bool) -> None:
        """Closes all connections, with RST or with FIN."""
        for pair in list(self._pairs):
            self.cuts += 1
            pair.end(hard)

    def cut_within(self) -> None:
        """Closes each connection after some more bytes, most likely within a packet."""
        for pair in self._pairs:
            pair.remaining = self._rng.randrange(1, WITHIN)

    def turn_away(self) -> None:
        """Closes all connections, and each new one."""
        self.turning_away = True
        self.cut(hard=False)

    def swallow(self, *directions: Direction) -> None:
        """Forwards no further byte of the existing connections, in one direction or in both, and keeps them open.

        Where bytes to the client are swallowed, it is not told that the broker closes either.
        """
        for pair in self._pairs:
            pair.silent.update(directions or Direction)

    def stall(self, *directions: Direction) -> None:
        """Holds all bytes back, in one direction or in both."""
        for direction in directions or Direction:
            self._passing[direction].clear()

    def corrupt(self, direction: Direction, position: int, mask: int = 0xFF) -> None:
        """Inverts the bits of `mask` in one byte of each connection: the one at `position` from now on."""
        for pair in self._pairs:
            pair.corrupted[direction] = (position, mask)

    def pass_on(self) -> None:
        """Forwards all bytes again, and accepts connections."""
        for passing in self._passing.values():
            passing.set()
        self.delay = 0.0
        self.segment = 0
        self.turning_away = False

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.turning_away:
            self.turned_away += 1
            writer.close()
            return
        try:
            onward = await asyncio.open_connection(*self.target, limit=CHUNK)
        except OSError:
            writer.transport.abort()
            return
        pair = Pair(writer, onward[1])
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pump(pair, reader, onward[1], TO_BROKER), self._pump(pair, onward[0], writer, TO_CLIENT)
            )
        except asyncio.CancelledError:
            pass  # the loop ends
        finally:
            pair.end(hard=False)
            self._pairs.discard(pair)
            pair.over.set()

    async def _pump(
        self, pair: Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._passing[direction].wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                if direction in pair.silent:
                    continue
                data = pair.through(direction, data)
                if pair.remaining is not None and len(data) >= pair.remaining:
                    writer.write(data[: pair.remaining])
                    self.cuts += 1
                    pair.end(hard=False)
                    return
                if pair.remaining is not None:
                    pair.remaining -= len(data)
                for segment in self._segments(data):
                    writer.write(segment)
                    await writer.drain()
                    if self.segment:
                        await asyncio.sleep(0)
        # On a silent connection even the close by the broker is not forwarded.
        if direction is TO_BROKER or TO_CLIENT not in pair.silent:
            pair.end(hard=False)

    def _segments(self, data: bytes) -> Iterator[bytes]:
        # `pass_on` may come between two segments, and what is left must be forwarded nevertheless.
        most, at = self.segment, 0
        while most and at < len(data):
            size = self._rng.randrange(most) + 1 if at < SPLIT else self._rng.randrange(512, 8192)
            yield data[at : at + size]
            at += size
        if at == 0:
            yield data


class Pair:
    """A connection of the gateway and the one to the broker that belongs to it."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers
        #: Directions whose bytes are swallowed.
        self.silent: set[Direction] = set()
        #: The position of the next byte to be changed, and the bits to invert.
        self.corrupted: dict[Direction, tuple[int, int]] = {}
        #: Remaining bytes before the connection is cut.
        self.remaining: int | None = None
        self.over = asyncio.Event()
        for writer in writers:
            # Send each segment immediately.
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def through(self, direction: Direction, data: bytes) -> bytes:
        """What becomes of bytes on their way."""
        if direction not in self.corrupted:
            return data
        position, mask = self.corrupted.pop(direction)
        if position >= len(data):
            self.corrupted[direction] = (position - len(data), mask)
            return data
        return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]

    def end(self, hard: bool) -> None:
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            if hard and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if hard:
                writer.transport.abort()
            else:
                writer.close()
