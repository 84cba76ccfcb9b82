"""Clients that are configured for mcpMQTT, with the tool calls of its README, at a gateway with an imported config."""

import asyncio
import contextlib
import json
import subprocess

import httpx2
import pytest
from conftest import PATIENCE, TIDEGATE, Process, free_port
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from test_network import HEADERS, LIST

#: A key, and its hash as mcpMQTT has it in its config.
KEY = "test-key-0000"
KDF = {
    "algorithm": "argon2id",
    "salt": "AAECAwQFBgcICQoLDA0ODw==",
    "time_cost": 1,
    "memory_cost": 8,
    "parallelism": 1,
    "hash_len": 16,
    "hash": "IVQS/07EKrozrUqw0q/ncQ==",
}


def config(port: int, uds: str) -> dict:
    """The config of the README, with permission for its publish."""
    return {
        "mqtt": {"host": "localhost", "port": port, "username": None, "password": None, "keepalive": 60},
        "topics": [
            {
                "pattern": "sensors/+/temperature",
                "permissions": ["read", "write"],
                "description": "Temperature sensor data from any location",
            },
            {"pattern": "actuators/#", "permissions": ["write"], "description": "All actuator control topics"},
            {"pattern": "status/system", "permissions": ["read"], "description": "System status information"},
            {"pattern": "commands/+/request", "permissions": ["write"]},
            {"pattern": "commands/+/response", "permissions": ["read"]},
        ],
        "logging": {"level": "INFO", "logfile": None},
        "remote_server": {"api_key_kdf": KDF, "uds": uds, "host": "0.0.0.0", "port": None},
    }


@pytest.fixture
def imported(broker, tmp_path):
    """Imports the config for a transport; returns the path of the result."""

    def run(transport: str) -> str:
        source, output = tmp_path / "config.json", tmp_path / "mcpmqtt.yaml"
        source.write_text(json.dumps(config(broker.port, str(tmp_path / "mcp.sock"))))
        command = [TIDEGATE, "import", "mcpmqtt", source, "--output", output, "--transport", transport]
        subprocess.run(command, check=True, capture_output=True)
        subprocess.run([TIDEGATE, "validate", "--config", output], check=True, capture_output=True)
        return str(output)

    return run


@contextlib.asynccontextmanager
async def connected(transport: str, mode: str, path: str, headers: dict | None = None):
    if transport == "stdio":
        server = StdioServerParameters(command=str(TIDEGATE), args=["start", "--config", path])
        async with Client(server, mode=mode, read_timeout_seconds=PATIENCE) as client:
            yield client
        return
    gateway = Process([str(TIDEGATE), "start", "--config", path])
    try:
        gateway.line(r"http0 +listening")
        socket = httpx2.AsyncHTTPTransport(uds=path.replace("mcpmqtt.yaml", "mcp.sock"))
        headers = headers or {"authorization": f"Bearer {KEY}"}
        async with httpx2.AsyncClient(transport=socket, headers=headers, timeout=PATIENCE) as http:
            session = streamable_http_client("http://localhost/mcp/mcp", http_client=http)
            async with Client(session, mode=mode, read_timeout_seconds=PATIENCE) as client:
                yield client
    finally:
        code = gateway.stop()
    assert code == 0, gateway.text()


@pytest.fixture(params=["stdio", "remotehttp"])
def transport(request) -> str:
    return request.param


def text(result) -> str:
    assert not result.is_error, result
    assert result.structured_content == {"result": result.content[0].text}
    return result.content[0].text


async def test_the_calls_of_the_readme(transport, mode, broker, imported):
    for room in range(1, 6):
        broker.publish(f"sensors/room{room}/temperature", f"2{room}.5", "-r", "-q", "1")
    async with connected(transport, mode, imported(transport)) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert tools == ["mqtt_publish", "mqtt_subscribe", "mqtt_read", "mqtt_query"]

        subscriber = broker.subscriber("sensors/#", "-R")
        try:
            arguments = {"topic": "sensors/room1/temperature", "payload": "22.5", "qos": 0}
            published = await client.call_tool("mqtt_publish", arguments)
            assert text(published) == "Successfully published message to topic 'sensors/room1/temperature'"
            assert subscriber.message()["payload"] == "22.5"
        finally:
            subscriber.stop()

        arguments = {"topic": "sensors/+/temperature", "timeout": 30, "max_messages": 5}
        received = json.loads(text(await client.call_tool("mqtt_subscribe", arguments)))
        assert (received["topic"], received["messages_received"]) == ("sensors/+/temperature", 5)
        payloads = {message["topic"]: message["payload"] for message in received["messages"]}
        assert payloads == {f"sensors/room{room}/temperature": f"2{room}.5" for room in range(1, 6)}

        arguments = {"topic": "sensors/+/temperature", "timeout": 5}
        read = json.loads(text(await client.call_tool("mqtt_read", arguments)))
        assert read["success"] is True and read["response_payload"] in payloads.values()

        device = broker.subscriber("commands/room1/request")
        try:
            arguments = {
                "request_topic": "commands/room1/request",
                "response_topic": "commands/room1/response",
                "payload": "get_status",
                "timeout": 5,
            }
            pending = asyncio.create_task(client.call_tool("mqtt_query", arguments))
            request = await asyncio.to_thread(device.message)
            assert request["payload"] == "get_status"
            await asyncio.to_thread(broker.publish, "commands/room1/response", "fine", "-q", "1")
            answered = json.loads(text(await pending))
        finally:
            device.stop()
        assert answered == {
            "request_topic": "commands/room1/request",
            "response_topic": "commands/room1/response",
            "request_payload": "get_status",
            "response_payload": "fine",
            "success": True,
        }


async def test_its_resources_and_refusals(transport, mode, imported):
    async with connected(transport, mode, imported(transport)) as client:
        uris = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert uris == ["mcpmqtt://topics/allowed", "mcpmqtt://topics/examples"]
        allowed = json.loads((await client.read_resource(uris[0])).contents[0].text)
        assert [topic["pattern"] for topic in allowed["topics"]][0] == "sensors/+/temperature"
        assert allowed["topics"][1]["permissions"] == ["write"]
        examples = json.loads((await client.read_resource(uris[1])).contents[0].text)
        assert examples["examples"][1]["examples"][0]["topic"] == "actuators/subtopic/data"

        refused = await client.call_tool("mqtt_publish", {"topic": "status/system", "payload": "x"})
        assert refused.is_error
        assert refused.content[0].text.startswith("Error: No write permission for topic 'status/system'.")
        silent = await client.call_tool("mqtt_read", {"response_topic": "status/system", "timeout": 0.2})
        assert silent.is_error
        assert json.loads(silent.content[0].text) == {
            "response_topic": "status/system",
            "error": "Timeout waiting for message",
            "success": False,
        }


async def test_the_key_is_accepted_in_each_of_its_places_and_no_other_key(imported):
    path = imported("remotehttp")
    gateway = Process([str(TIDEGATE), "start", "--config", path])
    try:
        gateway.line(r"mqtt_client0 +broker +\S+ connected")
        socket = httpx2.AsyncHTTPTransport(uds=path.replace("mcpmqtt.yaml", "mcp.sock"))
        async with httpx2.AsyncClient(transport=socket, base_url="http://localhost") as http:
            async def status(headers: dict, query: str = "") -> int:
                answer = await http.post(f"/mcp/mcp{query}", content=LIST, headers={**HEADERS, **headers})
                return answer.status_code

            for headers, query in [
                ({"authorization": f"Bearer {KEY}"}, ""),
                ({"x-api-key": KEY}, ""),
                ({}, f"?api_key={KEY}"),
            ]:
                assert await status(headers, query) == 200
            assert await status({"x-api-key": "test-key-0001"}) == 401
            assert await status({}) == 401
            state = (await http.get("/status")).json()
            assert (state["running"], state["mqtt_connected"]) == (True, True)
    finally:
        code = gateway.stop()
    assert code == 0, gateway.text()


def test_with_a_port_it_is_served_over_tcp(broker, tmp_path):
    source, output, port = tmp_path / "config.json", tmp_path / "mcpmqtt.yaml", free_port()
    remote = config(broker.port, "unused") | {"remote_server": {"api_key_kdf": KDF, "host": "127.0.0.1", "port": port}}
    source.write_text(json.dumps(remote))
    subprocess.run([TIDEGATE, "import", "mcpmqtt", source, "--output", output], check=True, capture_output=True)
    gateway = Process([str(TIDEGATE), "start", "--config", str(output)])
    try:
        gateway.line(rf"http0 +listening +\S*127\.0\.0\.1:{port}/mcp/mcp")
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as http:
            answer = http.post("/mcp/mcp", content=LIST, headers={**HEADERS, "x-api-key": KEY})
            assert answer.status_code == 200, answer.text
            assert http.post("/mcp/mcp", content=LIST, headers=HEADERS).status_code == 401
            assert http.get("/status").json()["running"] is True
    finally:
        code = gateway.stop()
    assert code == 0, gateway.text()
