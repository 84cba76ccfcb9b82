"""The soak's own HTTP, MQTT and link do what they are description, so that what is seen is the gateway's doing."""

from __future__ import annotations

import asyncio
import random

import pytest
from soak import mqtt
from soak.link import Link
from soak.wire import Closed, Connection, Response, data_of


def test_packets_come_out_whole_however_they_come_in():
    sent = mqtt.publish(7, "a/b", b"x" * 300) + mqtt.acknowledge(mqtt.PUBREL, 9)
    buffer, seen = bytearray(), []
    for byte in sent:
        buffer.append(byte)
        seen += mqtt.packets(buffer)
    assert [kind for kind, _, _ in seen] == [mqtt.PUBLISH, mqtt.PUBREL] and not buffer
    assert mqtt.message(seen[0][1], seen[0][2]) == ("a/b", 7, b"x" * 300)


def test_an_event_stream_has_the_answer_last():
    body = b": comment\n\nevent: message\ndata: {\"a\":1}\n\nevent: message\ndata: {\"id\":2}\n\n"
    assert Response(200, {"content-type": "text/event-stream"}, body).message() == {"id": 2}
    assert data_of(b": comment") == b""


@pytest.fixture
async def echo():
    """A server that sends back what it gets, and the link towards it."""

    async def serve(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = Link(server.sockets[0].getsockname(), random.Random(1))
    await link.open()
    yield link
    await link.close()
    server.close()


async def test_a_link_passes_on_in_splinters_what_it_gets(echo):
    echo.splinters = True
    connection = await Connection.open(("127.0.0.1", echo.port))
    sent = bytes(range(256)) * 400
    connection.writer.write(sent)
    assert await connection.reader.readexactly(len(sent)) == sent
    connection.close()


async def test_a_stalled_link_passes_everything_on_later(echo):
    connection = await Connection.open(("127.0.0.1", echo.port))
    connection.writer.write(b"one")
    assert await connection.reader.readexactly(3) == b"one"
    echo.stall()
    connection.writer.write(b"two")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await connection.reader.readexactly(3)
    echo.pass_on()
    assert await connection.reader.readexactly(3) == b"two"
    connection.close()


@pytest.mark.parametrize("hard", [True, False])
async def test_a_link_that_is_cut(echo, hard):
    connection = await Connection.open(("127.0.0.1", echo.port))
    connection.writer.write(b"one")
    assert await connection.reader.readexactly(3) == b"one"
    echo.cut(hard)
    with pytest.raises(Closed):
        await connection.exchange(b"two")
    connection.close()


async def test_a_link_that_is_cut_within_a_packet(echo):
    connection = await Connection.open(("127.0.0.1", echo.port))
    connection.writer.write(b"one")
    assert await connection.reader.readexactly(3) == b"one"
    echo.cut_within()
    connection.writer.write(b"x" * 1000)
    assert len(await connection.reader.read()) < 1000
    connection.close()


async def test_a_link_that_swallows_keeps_its_connections_and_serves_new_ones(echo):
    old = await Connection.open(("127.0.0.1", echo.port))
    old.writer.write(b"one")
    assert await old.reader.readexactly(3) == b"one"
    echo.swallow()
    old.writer.write(b"two")
    new = await Connection.open(("127.0.0.1", echo.port))
    new.writer.write(b"three")
    assert await new.reader.readexactly(5) == b"three"
    assert not old.reader.at_eof()
    old.close()
    new.close()


async def test_a_link_that_refuses_listens_on_the_same_port_again(echo):
    port = echo.port
    await echo.refuse()
    with pytest.raises(OSError):
        await Connection.open(("127.0.0.1", port))
    await echo.open()
    assert echo.port == port
    (await Connection.open(("127.0.0.1", port))).close()
