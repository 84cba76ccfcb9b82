"""The tools over the SDK: both eras, both transports, against mosquitto."""

import asyncio
import json

import pytest
from conftest import PATIENCE, connected, plain

PATTERNS = "subscribe: [ sensors/temperature/+, sensors/humidity/+ ], publish: [ commands/+/set ]"


async def test_the_tools_are_listed(transport, mode, broker):
    async with connected(transport, mode, plain(transport, broker.port, PATTERNS)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(tools) == ["publish", "receive", "read", "query", "list_topics"]
    assert tools["publish"].input_schema["required"] == ["topic", "payload"]
    assert tools["publish"].input_schema["properties"]["qos"]["enum"] == [0, 1, 2]
    assert tools["receive"].input_schema["required"] == ["topic"]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
async def test_a_publish_reaches_the_broker_as_asked(transport, mode, broker, parts, qos, retain):
    subscriber = broker.subscriber("commands/#", "--retain-as-published")
    parts.callback(subscriber.stop)
    async with connected(transport, mode, plain(transport, broker.port, PATTERNS)) as client:
        arguments = {"topic": "commands/lamp/set", "payload": "grüß \"dich\"\n", "qos": qos, "retain": retain}
        result = await client.call_tool("publish", arguments)
        assert not result.is_error and result.content == []
        assert result.structured_content["outcome"] == ["sent", "acknowledged", "completed"][qos]
        seen = subscriber.message()
    assert seen["topic"] == "commands/lamp/set"
    assert seen["qos"] == str(qos)
    assert seen["retain"] == str(int(retain))
    assert seen["payload"] == 'grüß "dich"'


async def test_a_receive_returns_what_is_published_meanwhile(transport, mode, broker):
    async with connected(transport, mode, plain(transport, broker.port, PATTERNS)) as client:
        arguments = {"topic": "sensors/temperature/+", "limit": 2, "timeout": 15000}
        call = asyncio.create_task(client.call_tool("receive", arguments))
        await asyncio.to_thread(broker.line, r"sensors/temperature/\+ \(QoS 1\)")
        await asyncio.to_thread(broker.publish, "sensors/temperature/kitchen", "21.5", "-q", "1")
        await asyncio.to_thread(broker.publish, "sensors/temperature/hall", b"\xff\xfe", "-q", "1")
        result = await asyncio.wait_for(call, PATIENCE)
        # No subscription remains after a tool call.
        await asyncio.to_thread(broker.line, r"Received UNSUBSCRIBE")
    messages = result.structured_content["messages"]
    assert messages == json.loads(result.content[0].text)
    assert messages[0] == {"topic": "sensors/temperature/kitchen", "payload": "21.5", "qos": 1, "retain": False}
    assert messages[1]["encoding"] == "base64" and messages[1]["payload"] == "//4="


async def test_a_receive_ends_at_its_time_limit(transport, mode, broker):
    async with connected(transport, mode, plain(transport, broker.port, PATTERNS)) as client:
        result = await client.call_tool("receive", {"topic": "sensors/humidity/+", "timeout": 200})
    assert not result.is_error and result.structured_content == {"messages": []}


@pytest.mark.parametrize(
    ("tool", "arguments", "word"),
    [
        ("publish", {"topic": "sensors/temperature/kitchen", "payload": "1"}, "commands/+/set"),
        ("publish", {"topic": "commands/+/set", "payload": "1"}, "wildcard"),
        ("publish", {"topic": "", "payload": "1"}, "topic"),
        ("publish", {"topic": "commands/a\0b/set", "payload": "1"}, "topic"),
        ("publish", {"topic": "commands/" + "a" * 65_530 + "/set", "payload": "1"}, "65535"),
        ("publish", {"topic": "commands/lamp/set"}, "payload"),
        ("publish", {"payload": "1"}, "topic"),
        ("publish", {"topic": "commands/lamp/set", "payload": "1", "qos": 7}, "qos"),
        ("publish", {"topic": "commands/lamp/set", "payload": "1", "retain": "yes"}, "retain"),
        ("publish", {"topic": "commands/lamp/set", "payload": 1}, "payload"),
        ("receive", {"topic": "sensors/#"}, "sensors/temperature/+"),
        ("receive", {"topic": "sensors/a+/b"}, "topic"),
        ("receive", {"topic": "sensors/temperature/+", "limit": 0}, "limit"),
        ("receive", {"topic": "sensors/temperature/+", "limit": 10**9}, "limit"),
    ],
)
async def test_a_bad_argument_is_an_error_that_says_what_to_change(broker, tool, arguments, word):
    async with connected("http", "2026-07-28", plain("http", broker.port, PATTERNS)) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert word in result.content[0].text
    assert "PUBLISH from" not in broker.text() and "SUBSCRIBE from" not in broker.text()


async def test_a_publish_of_a_mebibyte_arrives_byte_for_byte(transport, broker, parts):
    payload = "".join(chr(32 + (i * 7 + i // 94) % 90) for i in range(1 << 20)).replace("\\", "/").replace('"', "'")
    subscriber = broker.subscriber("commands/big/set")
    parts.callback(subscriber.stop)
    config = plain(transport, broker.port, PATTERNS)
    async with connected(transport, "2026-07-28", config) as client:
        result = await client.call_tool("publish", {"topic": "commands/big/set", "payload": payload, "qos": 1})
        assert not result.is_error, result
        seen = await asyncio.to_thread(subscriber.message)
    assert seen["payload"] == payload
