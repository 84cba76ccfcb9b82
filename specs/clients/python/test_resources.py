"""Resources over the SDK: listed, read, timed out, subscribed to and unsubscribed from."""

import asyncio

import anyio
import pytest
from conftest import PATIENCE, connected, plain
from mcp.shared.exceptions import MCPError

OPTIONS = "subscribe: [ sensors/temperature/+, status/system ], readTimeout: 300"
KITCHEN = "mqtt://sensors/temperature/kitchen"


async def test_topics_and_patterns_are_listed(transport, mode, broker):
    async with connected(transport, mode, plain(transport, broker.port, OPTIONS)) as client:
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
    assert [str(resource.uri) for resource in resources] == ["mqtt://status/system"]
    assert "mqtt://sensors/temperature/+" in [template.uri_template for template in templates]
    assert all(item.name for item in [*resources, *templates])


async def test_a_retained_message_is_read(transport, mode, broker):
    broker.publish("sensors/temperature/kitchen", "21.5", "-r", "-q", "1")
    async with connected(transport, mode, plain(transport, broker.port, OPTIONS)) as client:
        contents = (await client.read_resource(KITCHEN)).contents
    assert [(str(content.uri), content.text) for content in contents] == [(KITCHEN, "21.5")]


async def test_an_empty_topic_times_out_with_the_specified_text(transport, mode, broker):
    async with connected(transport, mode, plain(transport, broker.port, OPTIONS)) as client:
        with pytest.raises(MCPError, match="No message received on topic 'sensors/temperature/none' within 300ms"):
            await client.read_resource("mqtt://sensors/temperature/none")


@pytest.mark.parametrize("uri", ["mqtt://secrets/key", "mqtt://sensors/temperature/+", "file:///etc/passwd"])
async def test_a_refused_resource_is_an_error(transport, mode, broker, uri):
    async with connected(transport, mode, plain(transport, broker.port, OPTIONS)) as client:
        with pytest.raises(MCPError):
            await client.read_resource(uri)
    assert "SUBSCRIBE from" not in broker.text()


async def test_an_update_comes_for_each_message_until_the_subscription_ends(transport, broker):
    config = plain(transport, broker.port, OPTIONS)
    async with connected(transport, "2026-07-28", config) as client:
        async with client.listen(resource_subscriptions=[KITCHEN]) as subscription:
            updates = aiter(subscription)
            for payload in ["1", "2", "3"]:
                await asyncio.to_thread(broker.publish, "sensors/temperature/kitchen", payload, "-q", "1")
                event = await asyncio.wait_for(anext(updates), PATIENCE)
                assert str(event.uri) == KITCHEN
        await asyncio.to_thread(broker.line, r"Received UNSUBSCRIBE")


async def test_a_legacy_subscription_brings_updates_until_it_is_given_up(transport, broker):
    updates: asyncio.Queue = asyncio.Queue()

    async def handler(message):
        if getattr(message, "method", "") == "notifications/resources/updated":
            updates.put_nowait(str(message.params.uri))

    config = plain(transport, broker.port, OPTIONS)
    async with connected(transport, "legacy", config, message_handler=handler) as client:
        await client.subscribe_resource(KITCHEN)
        for payload in ["1", "2"]:
            await asyncio.to_thread(broker.publish, "sensors/temperature/kitchen", payload, "-q", "1")
            with anyio.fail_after(PATIENCE):
                assert await updates.get() == KITCHEN
        await client.unsubscribe_resource(KITCHEN)
        await asyncio.to_thread(broker.line, r"Received UNSUBSCRIBE")
