"""Two toolkits over two brokers behind one endpoint."""

import asyncio

from conftest import Broker, connected, federated


async def test_a_message_arrives_at_the_right_broker_only(transport, mode, parts):
    brokers = {"a": Broker(), "b": Broker()}
    for broker in brokers.values():
        parts.callback(broker.stop)
    seen = {name: broker.subscriber("commands/#") for name, broker in brokers.items()}
    for subscriber in seen.values():
        parts.callback(subscriber.stop)
    ports = {name: broker.port for name, broker in brokers.items()}
    options = "subscribe: [ sensors/temperature/+, status/system ], publish: [ commands/+/set ]"
    async with connected(transport, mode, federated(transport, ports, options)) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        own = ["publish", "receive", "read", "query", "list_topics"]
        assert tools == [f"{toolkit}__{tool}" for toolkit in "ab" for tool in own]
        resources = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert resources == ["a+mqtt://status/system", "b+mqtt://status/system"]
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == [
            "a+mqtt://sensors/temperature/+",
            "a+mqtt://status/system",
            "b+mqtt://sensors/temperature/+",
            "b+mqtt://status/system",
        ]
        for name in ports:
            arguments = {"topic": f"commands/{name}/set", "payload": name, "qos": 1}
            result = await client.call_tool(f"{name}__publish", arguments)
            assert not result.is_error
            assert (await asyncio.to_thread(seen[name].message))["payload"] == name
        brokers["b"].publish("status/system", "fine", "-r", "-q", "1")
        read = await client.read_resource("b+mqtt://status/system")
        assert read.contents[0].text == "fine"
    for name, subscriber in seen.items():
        messages = [line for line in subscriber.lines if line.startswith("commands/")]
        assert messages == [f"commands/{name}/set|1|0|{name}"]


async def test_a_dead_broker_does_not_take_the_other_toolkit_away(broker):
    ports = {"a": 1, "b": broker.port}
    async with connected("http", "2026-07-28", federated("http", ports)) as client:
        result = await client.call_tool("a__publish", {"topic": "x", "payload": "1"})
        assert result.is_error and "127.0.0.1:1" in result.content[0].text
        result = await client.call_tool("b__publish", {"topic": "x", "payload": "1", "qos": 1})
        assert not result.is_error
