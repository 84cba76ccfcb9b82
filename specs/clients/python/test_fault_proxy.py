"""The fault proxy does what it is asked to, so that a test that uses it sees what the gateway does."""

from __future__ import annotations

import asyncio
import random

import pytest
from fault_proxy import TO_BROKER, TO_CLIENT, FaultProxy


@pytest.fixture
async def proxy():
    """A proxy in front of a server that sends back what it gets."""

    async def serve(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with FaultProxy(server.sockets[0].getsockname(), random.Random(1)) as proxy:
        yield proxy
    server.close()


class Peer:
    """A connection through the proxy."""

    @classmethod
    async def of(cls, proxy: FaultProxy) -> Peer:
        peer = cls()
        peer.reader, peer.writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        return peer

    async def echoes(self, sent: bytes = b"ping") -> bool:
        self.writer.write(sent)
        return await self.reader.readexactly(len(sent)) == sent

    async def is_silent(self) -> bool:
        try:
            async with asyncio.timeout(0.1):
                await self.reader.readexactly(1)
        except TimeoutError:
            return True
        return False

    async def ended(self) -> bytes:
        """What arrives until the connection ends."""
        data = b""
        try:
            while more := await self.reader.read(1 << 16):
                data += more
        except ConnectionError:
            pass
        return data


async def test_segments_arrive_as_the_same_bytes(proxy):
    peer = await Peer.of(proxy)
    for segment in (1, 5):
        proxy.segment = segment
        assert await peer.echoes(bytes(range(256)) * 400)


async def test_each_byte_is_a_segment(proxy):
    proxy.segment = 1
    assert list(proxy._segments(b"abc")) == [b"a", b"b", b"c"]
    proxy.segment = 0
    assert list(proxy._segments(b"abc")) == [b"abc"]


async def test_nothing_is_lost_when_the_fault_ends_between_two_segments(proxy):
    proxy.segment = 1
    segments = proxy._segments(b"abc")
    first = next(segments)
    proxy.pass_on()
    assert first + b"".join(segments) == b"abc"


@pytest.mark.parametrize("directions", [(), (TO_BROKER,), (TO_CLIENT,)])
async def test_what_is_stalled_arrives_later(proxy, directions):
    peer = await Peer.of(proxy)
    assert await peer.echoes()
    proxy.stall(*directions)
    peer.writer.write(b"later")
    assert await peer.is_silent()
    proxy.pass_on()
    assert await peer.reader.readexactly(5) == b"later"


@pytest.mark.parametrize("hard", [True, False])
async def test_a_cut_ends_a_connection(proxy, hard):
    peer = await Peer.of(proxy)
    assert await peer.echoes()
    proxy.cut(hard)
    assert await peer.ended() == b"" and proxy.cuts == 1


async def test_a_cut_within_a_packet(proxy):
    peer = await Peer.of(proxy)
    assert await peer.echoes()
    proxy.cut_within()
    peer.writer.write(b"x" * 1000)
    assert len(await peer.ended()) < 1000 and proxy.cuts == 1


async def test_what_is_turned_away_is_closed_at_once(proxy):
    old = await Peer.of(proxy)
    assert await old.echoes()
    proxy.turn_away()
    new = await Peer.of(proxy)
    assert await old.ended() == b"" and await new.ended() == b"" and proxy.turned_away == 1
    proxy.pass_on()
    assert await (await Peer.of(proxy)).echoes()


@pytest.mark.parametrize("directions", [(), (TO_BROKER,), (TO_CLIENT,)])
async def test_what_is_swallowed_never_arrives_and_new_connections_are_served(proxy, directions):
    old = await Peer.of(proxy)
    assert await old.echoes()
    proxy.swallow(*directions)
    old.writer.write(b"two")
    new = await Peer.of(proxy)
    assert await new.echoes()
    assert await old.is_silent() and not old.reader.at_eof()


@pytest.mark.parametrize("direction", [TO_BROKER, TO_CLIENT])
async def test_one_byte_is_corrupted(proxy, direction):
    peer = await Peer.of(proxy)
    assert await peer.echoes()
    proxy.corrupt(direction, 4, 0x01)
    assert await peer.echoes(b"abc")
    peer.writer.write(b"abc")
    assert await peer.reader.readexactly(3) == b"acc"
    assert await peer.echoes(b"abc")


async def test_a_proxy_that_refuses_listens_on_the_same_port_again(proxy):
    port = proxy.port
    await proxy.refuse()
    with pytest.raises(OSError):
        await Peer.of(proxy)
    await proxy.open()
    assert proxy.port == port
    assert await (await Peer.of(proxy)).echoes()
