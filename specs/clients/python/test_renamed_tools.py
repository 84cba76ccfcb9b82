"""Tools under other names, over the SDK: both eras, both transports, against mosquitto."""

import pytest
from conftest import connected, entry, toolkit
from mcp.shared.exceptions import MCPError


def renamed(transport: str, port: int) -> str:
    proxy = "  mcp0: { type: mcp_rename, kind: proxy, options: { tools: { publish: send_command } }, exit: mcp_mqtt0 }\n"
    patterns = "subscribe: [ sensors/# ], publish: [ commands/+/set ]"
    return "name: test\nbindings:\n" + entry(transport) + proxy + toolkit(0, port, patterns)


async def test_a_tool_is_listed_and_called_by_its_new_name(transport, mode, broker, parts):
    subscriber = broker.subscriber("commands/#")
    parts.callback(subscriber.stop)
    async with connected(transport, mode, renamed(transport, broker.port)) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert tools == ["send_command", "receive", "read", "query", "list_topics"]
        result = await client.call_tool("send_command", {"topic": "commands/lamp/set", "payload": "on", "qos": 1})
        assert not result.is_error
        assert subscriber.message()["payload"] == "on"


async def test_the_old_name_of_a_tool_is_unknown(transport, mode, broker):
    async with connected(transport, mode, renamed(transport, broker.port)) as client:
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("publish", {"topic": "commands/lamp/set", "payload": "on"})
