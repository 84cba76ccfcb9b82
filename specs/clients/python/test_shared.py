"""Shared subscriptions: messages taken from a group are returned by the call; others stay in the group."""

import asyncio
import re
import subprocess
import time

import pytest
from conftest import PATIENCE, Gateway, connected, plain, wait_until
from mcp import Client
from sharing import SharingBroker

GROUP = "$share/workers/jobs"
ALLOWED = "subscribe: [ jobs ], sharedSubscriptions: true"
STREAM = [str(number) for number in range(1000)]
ALL = [str(number) for number in range(100)]
#: Client identifier of the separate connection of a subscription.
GATEWAY = r"\S+_\d+"


def payloads(result) -> list[str]:
    assert not result.is_error, result
    return [message["payload"] for message in result.structured_content["messages"]]


class Worker:
    """The other member of the group."""

    def __init__(self, broker, parts):
        self.subscriber = broker.subscriber(GROUP, "-q", "1")
        parts.callback(self.subscriber.stop)

    def messages(self) -> list[str]:
        return [line.rsplit("|", 1)[1] for line in list(self.subscriber.lines) if line.startswith("jobs|")]

    async def has(self, count: int) -> None:
        what = f"{count} messages at the worker"
        await asyncio.to_thread(wait_until, what, lambda: len(self.messages()) >= count)


async def started(client, broker, limit: int) -> asyncio.Task:
    """Starts a receive and waits for its subscription."""
    arguments = {"topic": GROUP, "limit": limit, "timeout": int(PATIENCE * 1000)}
    call = asyncio.create_task(client.call_tool("receive", arguments))
    await asyncio.to_thread(broker.line, rf"Sending SUBACK to {GATEWAY}")
    return call


async def test_without_the_option_no_message_is_taken(transport, mode, broker):
    async with connected(transport, mode, plain(transport, broker.port, "subscribe: [ jobs ]")) as client:
        result = await client.call_tool("receive", {"topic": GROUP})
        assert result.is_error and "sharedSubscriptions" in result.content[0].text
        for operation in (client.read_resource, client.subscribe_resource):
            if mode == "legacy" or operation == client.read_resource:
                with pytest.raises(Exception, match="shared subscription"):
                    await operation(f"mqtt://{GROUP}")
    assert "SUBSCRIBE from" not in broker.text()


async def test_a_group_shares_its_messages_and_none_is_lost(transport, mode, broker, parts):
    worker = Worker(broker, parts)
    async with connected(transport, mode, plain(transport, broker.port, ALLOWED)) as client:
        call = await started(client, broker, 10)
        # mosquitto distributes them in turn, ten to each.
        await asyncio.to_thread(broker.publish_each, "jobs", ALL[:20], "-q", "1")
        taken = payloads(await asyncio.wait_for(call, PATIENCE))
        await asyncio.to_thread(broker.line, rf"Received DISCONNECT from {GATEWAY}")
        await asyncio.to_thread(broker.publish_each, "jobs", ALL[20:], "-q", "1")
        await worker.has(90)
    assert len(taken) == 10
    assert sorted(taken + worker.messages(), key=int) == ALL


async def test_a_member_that_comes_and_goes_loses_nothing(broker, parts):
    """Each call ends at its timeout while messages keep arriving."""
    worker = Worker(broker, parts)
    async with connected("http", "2026-07-28", plain("http", broker.port, ALLOWED)) as client:
        publishing = asyncio.create_task(asyncio.to_thread(publish_slowly, broker))
        taken = []
        while not publishing.done():
            taken += payloads(await client.call_tool("receive", {"topic": GROUP, "limit": 1000, "timeout": 50}))
        await publishing
        await worker.has(len(STREAM) - len(taken))
    assert taken, "the worker alone has got all"
    assert sorted(taken + worker.messages(), key=int) == STREAM


def publish_slowly(broker) -> None:
    """Publishes messages one after the other over one connection."""
    command = ["mosquitto_pub", "-V", "5", "-p", str(broker.port), "-t", "jobs", "-q", "1", "-l"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as publisher:
        for payload in STREAM:
            publisher.stdin.write(payload + "\n")
            publisher.stdin.flush()
            time.sleep(0.002)
    assert publisher.returncode == 0


async def test_in_a_burst_no_more_is_acknowledged_than_is_given(broker, parts):
    worker = Worker(broker, parts)
    async with connected("http", "2026-07-28", plain("http", broker.port, ALLOWED)) as client:
        call = await started(client, broker, 10)
        await asyncio.to_thread(broker.publish_each, "jobs", ALL, "-q", "1")
        taken = payloads(await asyncio.wait_for(call, PATIENCE))
        await asyncio.to_thread(broker.line, rf"Received DISCONNECT from {GATEWAY}")
    log = broker.text()
    assert len(taken) == 10
    assert len(re.findall(rf"Received PUBACK from {GATEWAY}", log)) == 10
    # Whatever mosquitto had dealt to this member beyond that it drops when the member leaves; here it had no
    # chance to be told so earlier. Nobody has got a message twice, and the worker has got all that were its own.
    assert not set(taken) & set(worker.messages())


async def test_a_call_that_is_cancelled_takes_nothing(broker, parts):
    gateway = Gateway(plain("http", broker.port, ALLOWED))
    parts.callback(gateway.stop)
    async with Client(gateway.url, mode="2026-07-28", read_timeout_seconds=PATIENCE) as client:
        call = await started(client, broker, 10)
        await asyncio.to_thread(broker.publish_each, "jobs", ALL[:5], "-q", "1")
        await asyncio.to_thread(wait_until, "five messages", lambda: broker.text().count("Sending PUBLISH to tidegate-") == 5)
        call.cancel()
        await asyncio.to_thread(broker.line, rf"Received DISCONNECT from {GATEWAY}")
    assert "Received PUBACK from tidegate-" not in broker.text()


async def test_what_is_not_given_goes_back_to_the_group(transport, mode):
    async with SharingBroker(ALL) as broker:
        async with connected(transport, mode, plain(transport, broker.port, ALLOWED)) as client:
            taken = []
            for limit in (10, 1, 25):
                taken += payloads(await client.call_tool("receive", {"topic": GROUP, "limit": limit}))
                await asyncio.wait_for(broker.idle.wait(), PATIENCE)
                assert (broker.taken, list(broker.queue)) == (taken, ALL[len(taken) :])
            contents = (await client.read_resource(f"mqtt://{GROUP}")).contents
            taken += [content.text for content in contents]
            await asyncio.wait_for(broker.idle.wait(), PATIENCE)
    assert taken == broker.taken == ALL[:37]
    assert list(broker.queue) == ALL[37:]
    assert broker.most_unacknowledged == 25 and not broker.faults


async def test_a_result_that_has_no_room_leaves_the_rest_to_the_group():
    messages = [letter * 300 for letter in "abcd"]
    async with SharingBroker(messages) as broker:
        config = plain("http", broker.port, f"{ALLOWED}, receiveBytes: 1024")
        async with connected("http", "2026-07-28", config) as client:
            taken = payloads(await client.call_tool("receive", {"topic": GROUP, "limit": 10}))
            await asyncio.wait_for(broker.idle.wait(), PATIENCE)
    assert taken == broker.taken == messages[:1]
    assert list(broker.queue) == messages[1:]
