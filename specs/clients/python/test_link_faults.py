"""A link to mosquitto that splits, delays, corrupts and swallows bytes: nothing is lost, and broken links are found."""

from __future__ import annotations

import asyncio
import json

import pytest
from conftest import PATIENCE, Broker, Gateway, plain
from fault_proxy import TO_BROKER, TO_CLIENT, FaultProxy
from test_broker_faults import AT_ONCE, line, publish, receive


@pytest.fixture
async def linked(parts, broker):
    """Starts a proxy in front of the broker, and a gateway that uses it."""
    async with FaultProxy(("127.0.0.1", broker.port)) as proxy:

        async def start(client: str) -> Gateway:
            config = "workers: 1\n" + plain("http", proxy.port, client=f"clientId: gate, {AT_ONCE}, {client}")
            gateway = await asyncio.to_thread(Gateway, config)
            parts.callback(gateway.stop)
            await asyncio.to_thread(gateway.probed)
            return gateway

        yield proxy, start


async def subscribed(broker: Broker, count: int = 1) -> None:
    """Waits until the gateway has subscribed so often."""
    acknowledged = "Sending SUBACK to gate"
    async with asyncio.timeout(PATIENCE):
        while sum(acknowledged in it for it in list(broker.lines)) < count:
            await asyncio.sleep(0.01)


async def everything_works(broker: Broker, gateway: Gateway) -> None:
    for qos in (0, 1, 2):
        assert await publish(gateway, topic="up", payload=f"at QoS {qos}", qos=qos) == ""
    before = sum("Sending SUBACK to gate" in it for it in list(broker.lines))
    receiving = asyncio.create_task(receive(gateway, limit=3))
    await subscribed(broker, before + 1)
    for qos in (0, 1, 2):
        await asyncio.to_thread(broker.publish, "news", f"at QoS {qos}", "-q", str(qos))
    messages = (await receiving)["structuredContent"]["messages"]
    assert [it["payload"] for it in messages] == [f"at QoS {qos}" for qos in (0, 1, 2)]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_bytes_that_arrive_one_by_one_are_packets(linked, broker, version):
    proxy, start = linked
    # CONNECT and CONNACK too.
    proxy.segment = 1
    gateway = await start(f"version: {version}")
    await everything_works(broker, gateway)


async def test_a_slow_link_is_not_a_broken_one(linked, broker):
    proxy, start = linked
    proxy.delay = 0.05
    gateway = await start("keepAlive: 1")
    await everything_works(broker, gateway)
    assert "connection.lost" not in gateway.text()


@pytest.mark.parametrize("direction", [TO_BROKER, TO_CLIENT], ids=lambda it: it.value)
@pytest.mark.parametrize("mask", [0xFF, 0x01], ids=["all bits", "one bit"])
async def test_after_a_corrupt_byte_the_link_is_used_again(linked, broker, direction, mask):
    """Wherever it is: what it does to the packet is told, and not more than the connection is lost."""
    proxy, start = linked
    gateway = await start("version: 5, connectTimeout: 300, acknowledgeTimeout: 300, keepAlive: 1")
    for position in range(16):
        # A connection that has just been used: the byte is one of the next exchange.
        async with asyncio.timeout(PATIENCE):
            while await publish(gateway, topic="sound"):
                pass
        proxy.corrupt(direction, position, mask)
        text = await publish(gateway, topic=f"corrupt/{position}", payload="payload", qos=1 + position % 2)
        assert text == "" or f"127.0.0.1:{proxy.port}" in text, text
    assert "internal error" not in gateway.text() and "panicked" not in gateway.text()


@pytest.mark.parametrize("directions", [(), (TO_BROKER,), (TO_CLIENT,)], ids=["both", "to the broker", "to the client"])
async def test_a_half_open_link_is_found_and_its_subscription_restored(linked, broker, directions):
    proxy, start = linked
    gateway = await start("keepAlive: 1")
    receiving = asyncio.create_task(receive(gateway))
    await subscribed(broker)
    proxy.swallow(*directions)
    await subscribed(broker, 2)
    await asyncio.to_thread(broker.publish, "news", "after", "-q", "1")
    result = await receiving
    assert [it["payload"] for it in result["structuredContent"]["messages"]] == ["after"]
    assert "The connection to the broker was lost for" in json.dumps(result)
    assert "no answer to PINGREQ" in await line(gateway, r"WARN .*binding\.mqtt\.connection\.lost.*")


@pytest.mark.parametrize("directions", [(), (TO_BROKER,), (TO_CLIENT,)], ids=["both", "to the broker", "to the client"])
async def test_a_stalled_link_is_told_to_who_publishes(linked, broker, directions):
    proxy, start = linked
    gateway = await start("acknowledgeTimeout: 300, connectTimeout: 300")
    receiving = asyncio.create_task(receive(gateway))
    await subscribed(broker)
    proxy.stall(*directions)
    text = await publish(gateway, topic="stalled")
    assert f"127.0.0.1:{proxy.port} did not send PUBACK within 300 ms" in text and "may have been delivered" in text
    proxy.pass_on()
    await subscribed(broker, 2)
    await asyncio.to_thread(broker.publish, "news", "after", "-q", "1")
    assert [it["payload"] for it in (await receiving)["structuredContent"]["messages"]] == ["after"]
