"""What a server asks of its client (elicitation, sampling, roots) and its log messages, with the official SDK.

The server is the binding with the fixtures of the conformance suite, behind tidegate's own `mcp · server`.
"""

from __future__ import annotations

import contextlib
import tempfile

import httpx
import pytest
from conftest import PATIENCE, TIDEGATE, Process, entry, plain
from conftest import connected as to_broker
from mcp import Client, StdioServerParameters, types

#: The gateway with a further binding, `conformance · server`.
FIXTURES = TIDEGATE.with_name("tidegate-conformance")


@contextlib.asynccontextmanager
async def connected(transport: str, mode: str, **options):
    config = "name: test\nworkers: 1\nbindings:\n" + entry(transport).replace("mcp0", "fixtures0")
    config += "  fixtures0: { type: conformance, kind: server }\n"
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(config)
        file.flush()
        arguments = ["start", "--config", file.name]
        if transport == "stdio":
            server = StdioServerParameters(command=str(FIXTURES), args=arguments)
            async with Client(server, mode=mode, read_timeout_seconds=PATIENCE, **options) as client:
                yield client
            return
        gateway = Process([str(FIXTURES), *arguments])
        try:
            url = gateway.line(r"http://127\.0\.0\.1:\d+/[\w/]*").group(0)
            async with Client(url, mode=mode, read_timeout_seconds=PATIENCE, **options) as client:
                yield client
        finally:
            code = gateway.stop()
        assert code == 0, gateway.text()


async def accept(_context, params: types.ElicitRequestParams) -> types.ElicitResult:
    """A user who fills in each field of a form."""
    fields = params.requested_schema["properties"] if hasattr(params, "requested_schema") else {}
    content = {name: True if field.get("type") == "boolean" else f"my {name}" for name, field in fields.items()}
    return types.ElicitResult(action="accept", content=content)


async def decline(_context, _params) -> types.ElicitResult:
    return types.ElicitResult(action="decline")


async def sample(_context, _params) -> types.CreateMessageResult:
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=content, model="a model")


async def roots(_context) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[types.Root(uri="file:///a"), types.Root(uri="file:///b")])


def text(result) -> str:
    return result.content[0].text


async def test_a_user_is_asked_and_answers(transport, mode):
    async with connected(transport, mode, elicitation_callback=accept) as client:
        result = await client.call_tool("test_elicitation", {"message": "Go on?"})
        assert text(result) == 'Elicitation completed: action=accept, content={"response":"my response"}'
        result = await client.call_tool("test_input_required_result_multi_round", {})
        assert text(result) == '"my name" likes "my color"'
        # The same in the other way to ask.
        result = await client.call_tool("test_input_required_result_elicitation", {})
        assert text(result) == "Hello, my name!"


async def test_a_user_declines(transport, mode):
    async with connected(transport, mode, elicitation_callback=decline) as client:
        result = await client.call_tool("test_elicitation", {"message": "Go on?"})
        assert text(result) == "Elicitation completed: action=decline, content={}"


async def test_a_model_and_roots_are_asked_for(transport, mode):
    async with connected(transport, mode, sampling_callback=sample, list_roots_callback=roots) as client:
        result = await client.call_tool("test_sampling", {"prompt": "The capital of France?"})
        assert text(result) == "LLM response: Paris"
        result = await client.call_tool("test_input_required_result_list_roots", {})
        assert text(result) == "Found 2 root(s)"


async def test_a_client_without_the_capability_is_not_asked(transport, mode):
    async with connected(transport, mode) as client:
        result = await client.call_tool("test_sampling", {"prompt": "The capital of France?"})
        assert result.is_error and "has not declared this capability" in text(result)
        with pytest.raises(Exception, match="has not declared a capability that this operation requires: sampling"):
            await client.call_tool("test_missing_capability", {})


async def test_log_messages_reach_a_client_from_its_level_on(transport):
    heard = []

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        heard.append(params.data)

    async with connected(transport, "legacy", logging_callback=log) as client:
        await client.call_tool("test_tool_with_logging", {})
        assert len(heard) == 3, heard
        await client.set_logging_level("error")
        await client.call_tool("test_tool_with_logging", {})
        assert len(heard) == 3, heard


async def test_a_name_of_a_template_is_completed(transport, mode, broker):
    topics = "topics: [ { pattern: 'rooms/{room}/temperature', permissions: [ subscribe ] } ]"
    for room in ("kitchen", "kiosk", "hall"):
        broker.publish(f"rooms/{room}/temperature", "20", "-r", "-q", "1")
    async with to_broker(transport, mode, plain(transport, broker.port, topics)) as client:
        templates = await client.list_resource_templates()
        reference = types.ResourceTemplateReference(
            type="ref/resource", uri=templates.resource_templates[0].uri_template
        )
        result = await client.complete(reference, {"name": "room", "value": "ki"})
        assert result.completion.values == ["kiosk", "kitchen"]


async def test_a_person_approves_or_declines_a_message(transport, mode, broker):
    topics = "topics: [ { pattern: 'doors/+/set', permissions: [ subscribe, publish ], approval: required } ]"
    config = plain(transport, broker.port, topics)
    broker.publish("doors/1/set", "closed", "-r", "-q", "1")
    heard = broker.subscriber("doors/#", "-R")
    asked = []

    async def answer(_context, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept" if "doors/1/" in params.message else "decline")

    async with to_broker(transport, mode, config, elicitation_callback=answer) as client:
        result = await client.call_tool("publish", {"topic": "doors/2/set", "payload": "open", "qos": 1})
        assert result.is_error and "a person declined it" in text(result)
        result = await client.call_tool("publish", {"topic": "doors/1/set", "payload": "open", "qos": 1})
        assert not result.is_error, text(result)
    assert heard.message().group("topic", "payload") == ("doors/1/set", "open")
    assert asked == [
        "Publish this message to the MQTT topic 'doors/2/set' (QoS 1)?\nPayload: open",
        "Publish this message to the MQTT topic 'doors/1/set' (QoS 1)?\nPayload: open\nPresent value: closed",
    ]

    async with to_broker(transport, mode, config) as client:
        result = await client.call_tool("publish", {"topic": "doors/1/set", "payload": "open"})
        assert result.is_error and "this client cannot ask one" in text(result)


@pytest.mark.parametrize("misleading", [(), ("mcp-session-id",), ("mcp-session-id", "tidegate-worker")])
async def test_an_operation_is_continued_on_the_worker_where_it_waits(misleading):
    """Each request comes over a connection of its own, so that it may reach either worker.

    With misleading headers, the answer names the other worker: as that of a session, and as tidegate names it.
    """
    config = "name: test\nworkers: 2\nbindings:\n" + entry("http").replace("mcp0", "fixtures0")
    config += "  fixtures0: { type: conformance, kind: server }\n"
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "test_elicitation",
    }

    def call(url: str, **more) -> dict:
        params = {"name": "test_elicitation", "arguments": {"message": "Go on?"}, "_meta": meta, **more}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        with httpx.Client() as connection:
            return connection.post(url, json=body, headers=headers | extra).json()

    extra: dict[str, str] = {}

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(config)
        file.flush()
        gateway = Process([str(FIXTURES), "start", "--config", file.name])
        try:
            url = gateway.line(r"http://127\.0\.0\.1:\d+/[\w/]*").group(0)
            workers = set()
            # The kernel chooses the worker of a connection.
            for number in range(200):
                if number > 20 and len(workers) == 2:
                    break
                asked = call(url)["result"]
                assert asked["resultType"] == "input_required", asked
                state = asked["requestState"]
                workers.add(state.split(".")[1])
                other = str(1 - int(state.split(".")[1]))
                names = {"mcp-session-id": f"{other}.x", "tidegate-worker": other}
                extra.update({header: names[header] for header in misleading})
                (key,) = asked["inputRequests"]
                answers = {key: {"action": "accept", "content": {"response": "yes"}}}
                result = call(url, inputResponses=answers, requestState=state)["result"]
                assert "action=accept" in result["content"][0]["text"], result
                again = call(url, inputResponses=answers, requestState=state)
                assert again["error"]["code"] == -32602, again
                extra.clear()
            assert workers == {"0", "1"}
        finally:
            code = gateway.stop()
        assert code == 0, gateway.text()
