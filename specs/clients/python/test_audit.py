"""The audit log of calls of the official SDK, against mosquitto."""

import hashlib
import json
import subprocess

import pytest
from conftest import TIDEGATE, Gateway, plain
from mcp import Client
from mcp.shared.exceptions import MCPError


def audited(port: int, folder, server: str = "") -> tuple[str, object]:
    """A config with an audit log, and the path of the log."""
    path = folder / "audit.jsonl"
    exporter = f"{{ type: audit, options: {{ path: {path}, payload: true }} }}"
    return plain("http", port, server=server) + f"telemetry: {{ exporters: {{ audit0: {exporter} }} }}\n", path


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def sha256(*payloads: bytes) -> str:
    return hashlib.sha256(b"".join(payloads)).hexdigest()


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_each_call_is_a_line_with_address_and_payload(mode, broker, tmp_path, parts):
    config, path = audited(broker.port, tmp_path)
    gateway = Gateway(config)
    parts.callback(gateway.stop)
    broker.publish("a/1", "on", "-r")
    broker.publish("a/2", b"\xff", "-r")
    async with Client(gateway.url, mode=mode) as client:
        await client.call_tool("publish", {"topic": "b", "payload": "21.5", "qos": 1})
        await client.read_resource("mqtt://a/1")
        await client.call_tool("receive", {"topic": "a/+", "limit": 2})
    assert gateway.stop() == 0
    verified = subprocess.run([TIDEGATE, "audit", "verify", "--sealed", path], capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout
    recorded = lines(path)
    calls = [line for line in recorded if line["event"] == "call" and line.get("operation")]
    assert [call["operation"] for call in calls] == ["publish", "read", "receive"]
    for call in calls:
        assert call["address"].startswith("127.0.0.1:")
        assert call["outcome"] == "done"
        assert call["era"] == ("legacy" if mode == "legacy" else "modern")
        assert call["client"]
    publish, read, receive = calls
    assert publish["payload"] == {"bytes": 4, "sha256": sha256(b"21.5"), "text": "21.5"}
    assert (read["messages"], read["resource"]) == (1, "mqtt://a/1")
    assert read["payload"] == {"bytes": 2, "sha256": sha256(b"on"), "text": "on"}
    # Retained messages come in an order of the broker's.
    assert receive["messages"] == 2
    assert receive["payload"]["sha256"] in (sha256(b"on", b"\xff"), sha256(b"\xff", b"on"))
    assert (receive["payload"]["bytes"], receive["payload"]["omitted"]) == (3, "several messages")
    sessions = [line["event"] for line in recorded if line["event"].startswith("binding.mcp.session")]
    assert sessions == (["binding.mcp.session.begun", "binding.mcp.session.ended"] if mode == "legacy" else [])


async def test_a_call_beyond_the_rate_is_on_record_with_the_rule(broker, tmp_path, parts):
    config, path = audited(broker.port, tmp_path, "rate: { perSecond: 1, burst: 4 }")
    gateway = Gateway(config)
    parts.callback(gateway.stop)
    refused = 0
    async with Client(gateway.url) as client:
        for _ in range(8):
            try:
                await client.call_tool("publish", {"topic": "b", "payload": "on"})
            except MCPError as error:
                assert "Rate limit reached" in str(error)
                refused += 1
    assert gateway.stop() == 0
    found = [line for line in lines(path) if line.get("rule") == "rate"]
    assert len(found) == refused > 0
    for line in found:
        assert line["event"] == "binding.mcp.request.refused"
        assert (line["decision"], line["code"]) == ("refused", -32004)
        assert (line["method"], line["tool"]) == ("tools/call", "publish")
        assert line["address"].startswith("127.0.0.1:")
