"""Commands that arrive on both workers: limits and repeated calls are decided in one place."""

from __future__ import annotations

import json

import pytest
from conftest import Gateway, entry, wait_until
from test_workers import INITIALIZE, Connections

CONFIG = """
  mcp_device0:
    type: mcp_device
    kind: proxy
    options:
      address: plant/{device}/{action}
      types:
        valve:
          status: { action: position, format: number }
          commands:
            move:
              arguments: { properties: { position: { type: integer } }, required: [ position ] }
              payload: "{{ position }}"
              limits: { interval: 60000 }
      devices: { v-0: { type: valve }, v-1: { type: valve } }
    exit: mqtt_client0
  mqtt_client0: { type: mqtt, kind: client, exit: tcp_client0 }
"""


@pytest.fixture
def olga(broker, parts) -> Connections:
    """A client with a session and a connection to each of two workers."""
    config = (
        "name: test\nworkers: 2\nbindings:\n"
        + entry("http").replace("mcp0", "mcp_device0")
        + CONFIG.lstrip("\n")
        + f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {broker.port} }} }}\n"
    )
    gateway = Gateway(config, arguments=("--log-level", "debug"))
    parts.callback(gateway.stop)
    olga = Connections(gateway, parts, "")
    begun = olga.ask(olga.open(), "initialize", INITIALIZE)
    olga.session = begun.headers["mcp-session-id"]
    olga.until_both_workers(200)
    return olga


def move(olga: Connections, worker: int, device: str, position: int, **more) -> dict:
    arguments = {"device": device, "command": "move", "arguments": {"position": position}, **more}
    answer = olga.ask(olga.of_worker[worker], "tools/call", {"name": "control_device", "arguments": arguments})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]["structuredContent"]


@pytest.mark.parametrize("first", [0, 1])
def test_a_limit_holds_for_the_commands_of_both_workers(olga, broker, parts, first):
    device = f"v-{first}"
    commands = broker.subscriber("plant/+/move")
    parts.callback(commands.stop)
    assert move(olga, first, device, 10)["outcome"] == "unconfirmed"
    for worker in (1 - first, first):
        refused = move(olga, worker, device, 20)
        assert refused["outcome"] == "notSent", refused
        assert "the last one was sent less than 60 s ago" in refused["message"]
    # The limit is one of each device.
    other = f"v-{1 - first}"
    assert move(olga, 1 - first, other, 30)["outcome"] == "unconfirmed"
    wait_until("both commands", lambda: len(commands.lines) >= 2)
    payloads = [line.split("|", 3)[3] for line in commands.lines]
    assert payloads == ["10", "30"]


def test_a_call_that_is_repeated_on_another_worker_is_run_once(olga, broker, parts):
    commands = broker.subscriber("plant/+/move")
    parts.callback(commands.stop)
    first = move(olga, 0, "v-0", 10, requestId="r-1")
    again = move(olga, 1, "v-0", 10, requestId="r-1")
    assert json.dumps(again) == json.dumps(first) and first["outcome"] == "unconfirmed"
    assert move(olga, 1, "v-1", 20)["outcome"] == "unconfirmed"
    wait_until("both commands", lambda: len(commands.lines) >= 2)
    assert [line.split("|", 3)[3] for line in commands.lines] == ["10", "20"]
