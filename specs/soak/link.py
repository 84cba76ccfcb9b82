"""A TCP link between the gateway and a broker with injected faults: cut, stalled, split, delayed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

from soak.processes import free_port

#: Bytes forwarded at a time.
CHUNK = 1 << 16


class Link:
    """Forwards all bytes unless a fault is injected. Its port does not change."""

    def __init__(self, target: tuple[str, int], rng: random.Random) -> None:
        self.target = target
        self.port = free_port()
        self._rng = rng
        self._server: asyncio.Server | None = None
        self._pairs: set[Pair] = set()
        #: Set while bytes are forwarded.
        self._passing = asyncio.Event()
        self._passing.set()
        self.delay = 0.0
        self.splinters = False
        #: Whether new connections are accepted and closed immediately.
        self.turning_away = False
        self.turned_away = 0

    async def open(self) -> None:
        """Listens, again and again on the same port."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, backlog=1024)

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
            pair.end(hard)

    def cut_within(self) -> None:
        """Closes each connection after some more bytes, most likely within a packet."""
        for pair in self._pairs:
            pair.remaining = self._rng.randrange(1, 200)

    def swallow(self) -> None:
        """Keeps all existing connections open without forwarding any further byte."""
        for pair in self._pairs:
            pair.silent = True

    def stall(self) -> None:
        """Stops forwarding."""
        self._passing.clear()

    def pass_on(self) -> None:
        """Forwards all bytes again."""
        self._passing.set()
        self.delay = 0.0
        self.splinters = self.turning_away = False

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
                self._pump(pair, reader, onward[1], outward=True), self._pump(pair, onward[0], writer, outward=False)
            )
        finally:
            pair.end(hard=False)
            self._pairs.discard(pair)
            pair.over.set()

    async def _pump(
        self, pair: Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, outward: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._passing.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                if pair.silent:
                    continue
                if pair.remaining is not None and len(data) >= pair.remaining:
                    writer.write(data[: pair.remaining])
                    break
                if pair.remaining is not None:
                    pair.remaining -= len(data)
                if self.splinters:
                    await self._splinter(data, writer)
                else:
                    writer.write(data)
                    await writer.drain()
        # On a silent connection even the close by the broker is not forwarded.
        if outward or not pair.silent:
            pair.end(hard=False)

    async def _splinter(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Writes a few bytes at a time, as separate segments; long data in larger pieces."""
        at = 0
        while at < len(data):
            size = self._rng.randrange(1, 6) if at < 256 else self._rng.randrange(512, 8192)
            writer.write(data[at : at + size])
            at += size
            await writer.drain()
            await asyncio.sleep(0)


class Pair:
    """A connection of the gateway and the one to the broker that belongs to it."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers
        self.silent = False
        #: Remaining bytes before the connection is cut.
        self.remaining: int | None = None
        self.over = asyncio.Event()
        for writer in writers:
            # Send each piece immediately.
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def end(self, hard: bool) -> None:
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            if hard and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if hard:
                writer.transport.abort()
            else:
                writer.close()
