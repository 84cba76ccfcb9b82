"""MQTT 5 and 3.1.1: the tools and resources over each, a broker without MQTT 5, and sessions that outlive a connection."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Process, connected, free_port, plain
from fault_proxy import FaultProxy

ANYTHING = 'subscribe: [ "#" ], publish: [ "#" ]'
#: CONNECT, as mosquitto logs it: p2 is MQTT 3.1.1, p5 is MQTT 5.
LOGGED = {"5": "p5", "3.1.1": "p2"}


@pytest.fixture(params=["5", "3.1.1"])
def version(request) -> str:
    return request.param


@pytest.fixture
def old_broker(tmp_path) -> Iterator[int]:
    """The port of amqtt, which supports MQTT 3.1.1 alone and does not answer CONNECT of MQTT 5."""
    port = free_port()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    file = tmp_path / "amqtt.yaml"
    file.write_text(json.dumps(config))
    broker = Process([str(Path(sys.executable).with_name("amqtt")), "-c", str(file)])
    broker.line("Listener 'default' bind to")
    yield port
    broker.stop()


async def surface(client, qos: int) -> None:
    """Publishes, reads and receives."""
    arguments = {"topic": "lamp/state", "payload": "on", "qos": qos, "retain": True}
    published = await client.call_tool("publish", arguments)
    assert not published.is_error, published
    assert published.structured_content["outcome"] == ["sent", "acknowledged", "completed"][qos]
    read = await client.read_resource("mqtt://lamp/state")
    assert read.contents[0].text == "on"
    received = await client.call_tool("receive", {"topic": "lamp/+", "limit": 1, "timeout": 15000})
    assert received.structured_content["messages"][0]["payload"] == "on"


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_the_tools_work_with_each_version(version, qos, broker):
    config = plain("http", broker.port, ANYTHING, f'version: "{version}"')
    async with connected("http", "auto", config) as client:
        await surface(client, qos)
    assert any(f"({LOGGED[version]}," in line for line in broker.lines)


async def test_an_acknowledgement_of_311_has_no_reason_code(broker):
    config = plain("http", broker.port, ANYTHING, "version: 3.1.1")
    async with connected("http", "auto", config) as client:
        result = await client.call_tool("publish", {"topic": "a", "payload": "x", "qos": 1})
    assert result.structured_content == {"outcome": "acknowledged", "reasonCode": None, "matched": None}


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_broker_without_mqtt_5_is_used_with_311(qos, old_broker):
    config = plain("http", old_broker, ANYTHING, "connectTimeout: 1000")
    async with connected("http", "auto", config) as client:
        await surface(client, qos)


async def test_overlapping_subscriptions_of_311_get_each_message_once(broker):
    config = plain("http", broker.port, ANYTHING, "version: 3.1.1")
    async with connected("http", "auto", config) as client:
        filters = ["home/#", "home/+/state", "home/lamp/state"]
        calls = [
            asyncio.create_task(client.call_tool("receive", {"topic": topic, "limit": 2, "timeout": 15000}))
            for topic in filters
        ]
        for topic in filters:
            pattern = topic.replace("+", r"\+")
            await asyncio.to_thread(broker.line, rf"{pattern} \(QoS 1\)")
        await asyncio.to_thread(broker.publish_each, "home/lamp/state", ["1", "2"], "-q", "1")
        for call in calls:
            messages = (await call).structured_content["messages"]
            assert [message["payload"] for message in messages] == ["1", "2"]


async def test_a_message_published_while_the_gateway_is_away_is_received(version, broker):
    async with FaultProxy(("127.0.0.1", broker.port)) as proxy:
        client_options = f'clientId: away, version: "{version}", sessionExpiry: 60, reconnect: {{ min: 10, max: 100 }}'
        config = plain("http", proxy.port, ANYTHING, client_options)
        async with connected("http", "auto", config) as client:
            call = asyncio.create_task(
                client.call_tool("receive", {"topic": "news/+", "limit": 2, "timeout": 15000})
            )
            await asyncio.to_thread(broker.line, r"news/\+ \(QoS 1\)")
            proxy.turn_away()
            await asyncio.to_thread(broker.line, r"Socket error on client away|Client away.* closed its connection")
            await asyncio.to_thread(broker.publish, "news/a", "meanwhile", "-q", "1")
            proxy.pass_on()
            await asyncio.to_thread(broker.line, r"Sending PUBLISH to away.*news/a")
            await asyncio.to_thread(broker.publish, "news/b", "after", "-q", "1")
            messages = (await call).structured_content["messages"]
    assert [message["payload"] for message in messages] == ["meanwhile", "after"]
