"""Many calls at once: all are answered rightly, and nothing is left behind."""

import asyncio
import json
import os

import httpx
from conftest import Gateway, plain, wait_until
from test_faults import modern, request

CONNECTIONS = 50
CALLS = 1_000


async def batch(url: str) -> None:
    # A pool shared by all would spend the test's time on queueing in the client.
    async def connection(first: int) -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            for index in range(first, CALLS, CONNECTIONS):
                await call(client, index)

    async def call(client: httpx.AsyncClient, index: int) -> None:
        arguments = {"topic": f"load/{index}", "payload": f"message {index}", "qos": index % 3}
        body = request("tools/call", id=f"call-{index}", name="publish", arguments=arguments)
        answer = await client.post(url, json=body, headers=modern("tools/call", **{"mcp-name": "publish"}))
        assert answer.status_code == 200
        message = answer.json()
        assert message["id"] == f"call-{index}" and message["result"]["content"] == []

    await asyncio.gather(*(connection(first) for first in range(CONNECTIONS)))


async def test_a_thousand_calls_over_fifty_connections(broker, parts):
    subscriber = broker.subscriber("load/#")
    parts.callback(subscriber.stop)
    gateway = Gateway(plain("http", broker.port), arguments=("--log", "json"))
    parts.callback(gateway.stop)
    resident = []
    for _ in range(5):
        await batch(gateway.url)
        resident.append(gateway.resident_kib())
    assert resident[4] <= 1.1 * resident[1], resident
    await asyncio.to_thread(
        wait_until, "every message at the subscriber",
        lambda: sum(line.startswith("load/") for line in subscriber.lines) == 5 * CALLS,
    )
    assert gateway.stop() == 0
    stopped = [json.loads(line) for line in gateway.lines if line.startswith("{") and "stopped" in line]
    stopping = [json.loads(line) for line in gateway.lines if line.startswith("{") and "stopping" in line]
    # Nothing is left but the connections to the broker, of which each worker has one.
    workers = os.cpu_count() or 1
    assert stopping and stopping[0]["fields"]["streams"] <= workers, gateway.text()
    assert stopping[0]["fields"]["exchanges"] <= workers, gateway.text()
    assert stopped and stopped[-1]["fields"]["streams_cut"] == 0, gateway.text()
