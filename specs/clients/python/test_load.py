"""Many concurrent calls: all are answered correctly, and no state remains."""

import asyncio
import collections
import json
import os
import re

import httpx
from conftest import Broker, Gateway, Subscriber, plain, wait_until
from test_faults import modern, request

CONNECTIONS = 50
CALLS = 1_000
BATCHES = 5


async def batch(url: str) -> None:
    # A shared pool would spend most of the time queueing in the client.
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


def account(subscriber: Subscriber, broker: Broker) -> str:
    """Messages that did not arrive exactly once per batch, by QoS, with the output of broker and subscriber."""
    came = collections.Counter(line for line in subscriber.lines if line.startswith("load/"))
    wrong = {quality: collections.Counter() for quality in range(3)}
    for index in range(CALLS):
        line = f"load/{index}|{index % 3}|0|message {index}"
        wrong[index % 3][came.pop(line, 0)] += 1
    told = [line for line in subscriber.lines if not line.startswith("load/")]
    dropped = [line for line in broker.lines if re.search("drop|exceed|disconnect|error", line, re.IGNORECASE)]
    return "\n".join([
        f"by QoS, how many messages came how often (once a batch is {BATCHES}):",
        *(f"  QoS {quality}: {dict(counts)}" for quality, counts in wrong.items()),
        f"  others: {dict(came)}",
        "the subscriber says:", *told[:20],
        "the broker says:", *dropped[:20],
    ])


async def test_a_thousand_calls_over_fifty_connections(parts):
    # The broker must not drop messages because of a slow subscriber.
    broker = Broker(settings="max_queued_messages 0")
    parts.callback(broker.stop)
    subscriber = broker.subscriber("load/#")
    parts.callback(subscriber.stop)
    gateway = Gateway(plain("http", broker.port), arguments=("--log", "json"))
    parts.callback(gateway.stop)
    resident = []
    for _ in range(BATCHES):
        await batch(gateway.url)
        resident.append(gateway.resident_kib())
    assert resident[4] <= 1.1 * resident[1], resident
    try:
        await asyncio.to_thread(
            wait_until, "every message at the subscriber",
            lambda: sum(line.startswith("load/") for line in subscriber.lines) == BATCHES * CALLS,
        )
    except AssertionError as error:
        raise AssertionError(f"{error}\n{account(subscriber, broker)}") from None
    assert gateway.stop() == 0
    stopped = [json.loads(line) for line in gateway.lines if line.startswith("{") and "stopped" in line]
    stopping = [json.loads(line) for line in gateway.lines if line.startswith("{") and "stopping" in line]
    # Only the connections to the broker remain, one for each worker.
    workers = os.cpu_count() or 1
    assert stopping and stopping[0]["fields"]["streams"] <= workers, gateway.text()
    assert stopping[0]["fields"]["exchanges"] <= workers, gateway.text()
    assert stopped and stopped[-1]["fields"]["streams_cut"] == 0, gateway.text()
