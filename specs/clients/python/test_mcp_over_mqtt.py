"""MCP over MQTT 5 in both directions: devices that call tools of a server of the official SDK, and a device that is a server for
the official client."""

from __future__ import annotations

import asyncio
import json
import queue
import tempfile
from pathlib import Path

import pytest
from conftest import PATIENCE, TIDEGATE, Broker, Process, connected, entry, wait_until
from mcp import MCPError

pytest.importorskip("paho.mqtt.client")

from fault_proxy import FaultProxy  # noqa: E402
from mqtt_peers import Device, Peer, Server  # noqa: E402
from test_upstreams import over_http, upstream  # noqa: E402, F401

BASE = "mcp/kitchen"
ROUTES = """    routes:
      - when: [ { topic: "mcp/kitchen/request/{client}" } ]
        with:
          raw: json-rpc
          allow: [ tools/*, resources/*, prompts/*, completion/complete, subscriptions/listen ]
          tools: [ echo, fail, work, sleep, headers ]
          identity: "{{ topic.client }}"
      - when: [ { topic: "old/{client}/request" } ]
        with: { raw: json-rpc, allow: [ tools/call ], answer: { topic: "old/{client}/response" } }
"""


class Kitchen(Process):
    """A gateway whose tools devices call with JSON-RPC. It has subscribed."""

    def __init__(self, broker: Broker, url: str, options: str = ""):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False)
        self.file.write(
            "name: test\nbindings:\n  kitchen0:\n    type: mqtt_mcp\n    kind: proxy\n"
            '    options: { replyTopics: [ "mcp/kitchen/response/{client}/#" ], discover: { topic: mcp/kitchen/discover }, '
            f"{options} }}\n"
            f"    exits: {{ mqtt: mqtt_client0, mcp: up0 }}\n{ROUTES}"
            "  mqtt_client0: { type: mqtt, kind: client, exit: tcp_client0, options: { clientId: kitchen, "
            "will: { topic: mcp/kitchen/discover, qos: 1, retain: true } } }\n"
            f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {broker.port} }} }}\n"
            f"{over_http(url)}"
        )
        self.file.close()
        super().__init__([str(TIDEGATE), "start", "--config", self.file.name, "--log-calls"])
        broker.line(r"Sending SUBACK to kitchen_subscription")

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def start_again(self) -> None:
        self._start()

    def stop(self) -> int:
        code = super().stop()
        Path(self.file.name).unlink(missing_ok=True)
        return code


@pytest.fixture
def kitchen(broker, upstream):  # noqa: F811
    gateway = Kitchen(broker, upstream.url)
    yield gateway
    assert gateway.stop() == 0, gateway.text()


@pytest.fixture
def device(broker, kitchen):
    it = Device(broker, BASE, "d1")
    yield it
    it.stop()


def test_a_device_calls_tools_with_json_rpc(device):
    discovered = device.discovered.get(timeout=PATIENCE)
    assert discovered["supportedVersions"] == ["2026-07-28"] and "tools" in discovered["capabilities"]
    assert device.call("server/discover")["result"]["capabilities"] == discovered["capabilities"]
    tools = device.call("tools/list")["result"]
    names = {tool["name"] for tool in tools["tools"]}
    assert names == {"echo", "fail", "work", "sleep", "headers"} and tools["resultType"] == "complete"
    result = device.call("tools/call", {"name": "echo", "arguments": {"text": 'größe "1"\n'}})["result"]
    assert result["content"][0]["text"] == 'größe "1"\n' and result["resultType"] == "complete"
    failed = device.call("tools/call", {"name": "fail", "arguments": {}})["result"]
    assert failed["isError"]
    memo = device.call("resources/read", {"uri": "memo://one"})["result"]
    assert memo["contents"][0]["text"] == "one"
    prompt = device.call("prompts/get", {"name": "greet", "arguments": {"name": "Ada"}})["result"]
    assert prompt["messages"][0]["content"]["text"] == "Say hello to Ada."


def test_progress_comes_before_the_response(device):
    meta = {"progressToken": "p"}
    correlation = device.request("tools/call", {"name": "work", "arguments": {"steps": 3}}, meta=meta)
    replies = [device.reply(correlation) for _ in range(4)]
    assert [last for _, last in replies] == [False, False, False, True]
    told = [reply["params"] for reply, last in replies if not last]
    assert [it["progress"] for it in told] == [1, 2, 3] and {it["progressToken"] for it in told} == {"p"}


def test_each_fault_has_its_error(device):
    assert device.result(device.send(b"{"))["error"]["code"] == -32700
    assert device.result(device.send(b"[]"))["error"]["code"] == -32600
    assert device.call("tool/call")["error"]["code"] == -32601
    assert device.call("initialize")["error"]["code"] == -32601
    assert device.call("tools/call", {"name": "die", "arguments": {}})["error"]["code"] == -32602
    mismatch = device.call("tools/call", {"name": "echo", "arguments": {"text": "a"}}, user=[("mcp-name", "fail")])
    assert mismatch["error"]["code"] == -32020
    old = device.send({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
    assert device.result(old)["error"]["code"] == -32602


def test_a_request_that_comes_again_is_executed_once(device):
    # The headers of the upstream's request have the id of the request in no case; the text is what tells them apart.
    request = {"name": "echo", "arguments": {"text": "a"}}
    correlation = device.request("tools/call", request)
    first = device.result(correlation)
    device.request("tools/call", request, correlation=correlation)
    assert device.result(correlation) == first
    device.request("tools/call", {"name": "echo", "arguments": {"text": "b"}}, correlation=correlation)
    assert device.result(correlation)["error"]["code"] == -32600


def test_a_request_is_cancelled_and_another_one_expires(device, kitchen):
    slow = {"name": "sleep", "arguments": {"seconds": 600}}
    correlation = device.request("tools/call", slow, expiry=600)
    device.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}, correlation=correlation)
    kitchen.line(r"binding.mqtt_mcp.request.completed.*cancelled")
    assert device.answers[correlation].empty()
    device.request("tools/call", slow, expiry=1)
    kitchen.line(r"binding.mqtt_mcp.request.completed.*timedOut")


def test_a_device_of_mqtt_3_has_a_fixed_topic(broker, kitchen):
    import paho.mqtt.client as paho

    class Old(Peer):
        def __init__(self):
            self.answers = queue.Queue()
            super().__init__(broker, "old", ["old/o1/response"], version=paho.MQTTv311)

        def on_message(self, _client, _data, message) -> None:
            self.answers.put(json.loads(message.payload))

    device = Old()
    try:
        meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
        params = {"name": "echo", "arguments": {"text": "a"}, "_meta": meta}
        device.publish("old/o1/request", json.dumps({"jsonrpc": "2.0", "id": "r-1", "method": "tools/call", "params": params}).encode())
        answer = device.answers.get(timeout=PATIENCE)
        assert answer["id"] == "r-1" and answer["result"]["content"][0]["text"] == "a"
    finally:
        device.stop()


def test_the_broker_says_that_a_gateway_is_gone(broker, upstream):  # noqa: F811
    gateway = Kitchen(broker, upstream.url)
    device = Device(broker, BASE, "d2")
    try:
        assert device.discovered.get(timeout=PATIENCE)
        gateway.kill()
        assert device.discovered.get(timeout=PATIENCE) is None, "the will"
        gateway.start_again()
        assert device.discovered.get(timeout=PATIENCE)
        assert gateway.stop() == 0, gateway.text()
        assert device.discovered.get(timeout=PATIENCE) is None, "cleared in order"
    finally:
        device.stop()


def test_a_response_outlives_a_gateway_that_is_killed(broker, upstream, tmp_path):  # noqa: F811
    gateway = Kitchen(broker, upstream.url, f"queue: {{ path: '{tmp_path / 'queue'}' }}")
    device = Device(broker, BASE, "d3")
    try:
        request = {"name": "headers", "arguments": {}}
        correlation = device.request("tools/call", request, expiry=60)
        first = device.result(correlation)
        assert "result" in first
        gateway.kill()
        gateway.start_again()
        # The request with the same correlation is not executed again: the headers would tell another port.
        device.request("tools/call", request, correlation=correlation, expiry=60)
        assert device.result(correlation) == first
        device.request("tools/call", {"name": "echo", "arguments": {"text": "a"}}, correlation=correlation)
        found = [device.result(correlation)]
        if found == [first]:
            # It came once more than it was asked for: when the gateway was killed, its delivery was not on the disk.
            found.append(device.result(correlation))
        assert found[-1]["error"]["code"] == -32600
        assert gateway.stop() == 0, gateway.text()
        assert device.answers[correlation].empty()
    finally:
        device.stop()


def federation(port: int) -> str:
    """A server over MQTT as the toolkit of a gateway."""
    return (
        "name: test\nworkers: 1\nbindings:\n"
        + entry("http").replace("mcp0", "mcp_proxy0")
        + "  mcp_proxy0: { type: mcp, kind: proxy, routes: [ { when: [ { toolkit: boiler } ], exit: boiler0 } ] }\n"
        "  boiler0: { type: mcp, kind: client, options: { transport: mqtt, mqtt: { base: mcp/boiler, client: gateway } }, "
        "exit: mqtt_client0 }\n"
        "  mqtt_client0: { type: mqtt, kind: client, options: { clientId: gateway }, exit: tcp_client0 }\n"
        f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}\n"
    )


async def test_a_device_is_a_toolkit(broker, mode):
    server = await asyncio.to_thread(Server, broker, "mcp/boiler", "b1")
    try:
        async with connected("http", mode, federation(broker.port)) as sdk:
            tools = {tool.name for tool in (await sdk.list_tools()).tools}
            assert tools == {"boiler__set_target", "boiler__wait"}
            told = []

            async def progress(done, total, message):
                told.append((done, total))

            result = await sdk.call_tool("boiler__set_target", {"celsius": 60}, progress_callback=progress)
            assert result.content[0].text == "60 °C" and told == [(1, 2)]
            arguments, user = server.calls[0]
            assert arguments == {"celsius": 60}
            assert user == {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "set_target"}
            waiting = asyncio.create_task(sdk.call_tool("boiler__wait", {}))
            await asyncio.to_thread(wait_until, "the call", lambda: len(server.calls) == 2)
            waiting.cancel()
            assert await asyncio.to_thread(server.cancelled.get, timeout=PATIENCE)
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_device_that_is_away_is_said_to_be_away(broker):
    server = await asyncio.to_thread(Server, broker, "mcp/boiler", "b1")
    async with connected("http", "auto", federation(broker.port)) as sdk:
        assert not (await sdk.call_tool("boiler__set_target", {"celsius": 1})).is_error
        await asyncio.to_thread(server.kill)

        async def refused() -> str:
            try:
                await sdk.call_tool("boiler__set_target", {"celsius": 2})
            except MCPError as error:
                return str(error)
            return ""

        deadline = asyncio.get_running_loop().time() + PATIENCE
        while "is away" not in (said := await refused()):
            assert asyncio.get_running_loop().time() < deadline, said
        again = await asyncio.to_thread(Server, broker, "mcp/boiler", "b1")
        try:
            while await refused():
                assert asyncio.get_running_loop().time() < deadline
        finally:
            await asyncio.to_thread(again.stop)


async def test_instances_share_the_requests(broker):
    servers = [await asyncio.to_thread(Server, broker, "mcp/boiler", f"b{number}", "boilers") for number in (1, 2)]
    try:
        async with connected("http", "auto", federation(broker.port)) as sdk:
            for celsius in range(10):
                result = await sdk.call_tool("boiler__set_target", {"celsius": celsius})
                assert result.content[0].text == f"{celsius} °C"
        done = [len(server.calls) for server in servers]
        assert sum(done) == 10 and all(done), done
    finally:
        for server in servers:
            await asyncio.to_thread(server.stop)


async def test_a_lost_connection_loses_no_server(broker):
    """The broker sends what the server says of itself again, and calls go on."""
    server = await asyncio.to_thread(Server, broker, "mcp/boiler", "b1")
    try:
        async with (
            FaultProxy(("127.0.0.1", broker.port)) as proxy,
            connected("http", "auto", federation(proxy.port)) as sdk,
        ):
            assert not (await sdk.call_tool("boiler__set_target", {"celsius": 0})).is_error
            proxy.cut(hard=True)
            # Longer than the message of the server is waited for.
            end = asyncio.get_running_loop().time() + 3
            answered = 0
            while asyncio.get_running_loop().time() < end:
                result = await sdk.call_tool("boiler__set_target", {"celsius": 1})
                assert not result.is_error
                answered += 1
            assert answered == len(server.calls) - 1 and proxy.cuts > 0
    finally:
        await asyncio.to_thread(server.stop)
