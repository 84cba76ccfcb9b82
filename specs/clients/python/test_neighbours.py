"""Bad requests of one caller do not affect the others on its broker connection."""

import asyncio
import re

from conftest import PATIENCE, Gateway, plain
from mcp import Client

#: mosquitto responds to each of these with DISCONNECT.
DROPPED = ["ok/\u0001", "ok/\u0085", "ok/\ufdd0", "ok/\U0001ffff", "/" * 299, "a/" * 250]
MESSAGES = 200


async def test_a_caller_whose_topics_brokers_drop_connections_for_costs_its_neighbour_nothing(broker, parts):
    gateway = Gateway("workers: 1\n" + plain("http", broker.port))
    parts.callback(gateway.stop)
    gateway.probed()
    options = {"mode": "2026-07-28", "read_timeout_seconds": 2 * PATIENCE}
    async with Client(gateway.url, **options) as neighbour, Client(gateway.url, **options) as hostile:
        arguments = {"topic": "neighbour/+", "limit": MESSAGES, "timeout": int(PATIENCE * 1000)}
        call = asyncio.create_task(neighbour.call_tool("receive", arguments))
        await asyncio.to_thread(broker.line, r"neighbour/\+ \(QoS 1\)")

        refused = 0
        for number in range(MESSAGES):
            topic = DROPPED[number % len(DROPPED)]
            for tool, more in [("publish", {"payload": "x"}), ("receive", {"timeout": 100})]:
                result = await hostile.call_tool(tool, {"topic": topic, **more})
                assert result.is_error, topic
                refused += 1
            if number % 20 == 0:
                payloads = [str(number + more) for more in range(20)]
                await asyncio.to_thread(broker.publish_each, "neighbour/a", payloads, "-q", "1")
        result = await asyncio.wait_for(call, 2 * PATIENCE)
    assert refused == 2 * MESSAGES
    received = [message["payload"] for message in result.structured_content["messages"]]
    assert received == [str(number) for number in range(MESSAGES)]
    connections = re.findall(r"New client connected from \S+ as tidegate-", broker.text())
    assert len(connections) == 2, "the probe's and that of the calls"
