"""Described topics, and the tools read, query and list_topics, with a device that answers at a real broker."""

import asyncio

import pytest
from conftest import connected, plain

TOPICS = """topics: [
  { pattern: "sensors/{room}/temperature", permissions: [ read ], description: Temperature in °C., schema: { type: number } },
  { pattern: "lamps/{lamp}/set", permissions: [ write ], schema: { enum: [ "on", "off" ] }, qos: { minimum: 1 } },
  { pattern: "lamps/{lamp}/answer", permissions: [ read ] } ]"""


def sentence(result) -> str:
    assert result.is_error, result
    return result.content[0].text


async def answered(broker, pattern: str, call, respond) -> object:
    """Makes a call, and answers the request that arrives at the device."""
    device = broker.subscriber("lamps/+/set", "-F", "%t|%R|%D|%p")
    try:
        pending = asyncio.create_task(call)
        request = await asyncio.to_thread(device.message, pattern)
        await asyncio.to_thread(respond, request)
        return await pending
    finally:
        device.stop()


async def test_topics_are_described(transport, mode, broker):
    async with connected(transport, mode, plain(transport, broker.port, TOPICS)) as client:
        templates = (await client.list_resource_templates()).resource_templates
        described = {template.uri_template: template.description for template in templates}
        assert described["mqtt://sensors/{room}/temperature"] == "Temperature in °C."
        tools = {tool.name: tool.description for tool in (await client.list_tools()).tools}
        assert "sensors/{room}/temperature: Temperature in °C." in tools["receive"]
        topics = (await client.call_tool("list_topics", {})).structured_content["topics"]
        assert [topic["pattern"] for topic in topics] == [
            "sensors/{room}/temperature",
            "lamps/{lamp}/set",
            "lamps/{lamp}/answer",
        ]
        assert topics[1]["permissions"] == ["publish"] and topics[1]["schema"] == {"enum": ["on", "off"]}


async def test_a_publish_obeys_the_rules_of_its_topic(transport, mode, broker):
    async with connected(transport, mode, plain(transport, broker.port, TOPICS)) as client:
        refused = await client.call_tool("publish", {"topic": "lamps/hall/set", "payload": "of"})
        assert '"of" is not one of "on" or "off"' in sentence(refused)
        result = await client.call_tool("publish", {"topic": "lamps/hall/set", "payload": "on"})
        nobody = {"outcome": "acknowledged", "reasonCode": 16, "matched": False}
        assert result.structured_content == nobody
        subscriber = broker.subscriber("lamps/#")
        try:
            result = await client.call_tool("publish", {"topic": "lamps/hall/set", "payload": "off"})
            assert result.structured_content == {"outcome": "acknowledged", "reasonCode": 0, "matched": True}
        finally:
            subscriber.stop()


async def test_read_returns_the_retained_message_or_waits_for_a_fresh_one(transport, mode, broker):
    broker.publish("sensors/hall/temperature", "21.5", "-r", "-q", "1")
    async with connected(transport, mode, plain(transport, broker.port, TOPICS)) as client:
        result = await client.call_tool("read", {"topic": "sensors/+/temperature"})
        message = {"topic": "sensors/hall/temperature", "payload": "21.5", "qos": 1, "retain": True}
        assert result.structured_content == message
        arguments = {"topic": "sensors/+/temperature", "fresh": True, "timeout": 100}
        assert "No message on 'sensors/+/temperature' within" in sentence(await client.call_tool("read", arguments))


@pytest.mark.parametrize("reply_topic", ["", "replies/{clientId}"])
async def test_a_query_returns_the_answer_of_the_device(transport, mode, broker, reply_topic):
    options = TOPICS + (f', replyTopic: "{reply_topic}"' if reply_topic else "")
    async with connected(transport, mode, plain(transport, broker.port, options)) as client:
        arguments = {"topic": "lamps/hall/set", "payload": "on"}
        if not reply_topic:
            arguments["responseTopic"] = "lamps/hall/answer"

        def respond(request) -> None:
            properties = ["-D", "publish", "correlation-data", request["correlation"]] if reply_topic else []
            broker.publish(request["topic"], "switched", "-q", "1", *properties)

        pattern = r"^lamps/hall/set\|(?P<topic>[^|]+)\|(?P<correlation>\w+)\|on$"
        result = await answered(broker, pattern, client.call_tool("query", arguments), respond)
        assert result.structured_content["payload"] == "switched", result
        expected = "replies/" if reply_topic else "lamps/hall/answer"
        assert result.structured_content["topic"].startswith(expected)
