"""Commands that a person approves, over the SDK and against mosquitto: what is asked, and what is sent then."""

from __future__ import annotations

import json

import httpx
import pytest
from conftest import Gateway, connected, entry, wait_until
from mcp import Client, types
from test_home import Machine, until

STATE = "home/hall/lock/{}/state"
UNLOCK = "home/hall/lock/{}/unlock"
ALARM = "home/hall/alarm"

DEVICES = """
  mcp_device0:
    type: mcp_device
    kind: proxy
    options:
      address: home/{location}/{type}/{device}/{action}
      types:
        lock:
          status: { action: state, format: text }
          commands:
            unlock:
              arguments: { properties: { seconds: { type: integer, maximum: 60 } } }
              confirm: { match: { equals: unlocked } }
              interlocks: [ { topic: "home/{location}/alarm", equals: "off", reason: The alarm is on } ]
              approval: required
      devices:
        front: { type: lock, location: hall, name: Front door }
        back: { type: lock, location: hall }
    exit: mqtt_client0
  mqtt_client0: { type: mqtt, kind: client, exit: tcp_client0 }
"""


def locks(transport: str, port: int, head: str = "name: test\n") -> str:
    return (
        f"{head}bindings:\n"
        + entry(transport).replace("mcp0", "mcp_device0")
        + DEVICES.lstrip("\n")
        + f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}\n"
    )


class User:
    """A person who answers each question with what `decide` makes of it, after doing something."""

    def __init__(self, decide):
        self.decide = decide
        self.asked: list[str] = []

    async def __call__(self, _context, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.asked.append(params.message)
        return types.ElicitResult(action=await self.decide(params.message))


async def unlock(client, device: str, **more) -> dict:
    arguments = {"device": device, "command": "unlock", "arguments": {"seconds": 5}, **more}
    result = await client.call_tool("control_device", arguments)
    assert result.is_error == (result.structured_content["outcome"] != "confirmed"), result
    return result.structured_content


async def ready(client, broker) -> None:
    """Waits until the gateway knows the states and the alarm."""
    for device in ("front", "back"):
        broker.publish(STATE.format(device), "locked", "-r")
    broker.publish(ALARM, "off", "-r")
    for device in ("front", "back"):

        async def status(device=device):
            return (await client.call_tool("get_device_status", {"device": device})).structured_content

        await until("a state", status, lambda it: it.get("status") == "locked")


def lock(broker, parts, device: str) -> Machine:
    """A simulated lock that obeys."""
    machine = Machine(broker, UNLOCK.format(device), lambda _command: [(STATE.format(device), "unlocked")])
    parts.callback(machine.stop)
    return machine


async def test_a_person_approves_or_declines_a_command(transport, mode, broker, parts):
    front, back = lock(broker, parts, "front"), lock(broker, parts, "back")

    async def decide(question: str) -> str:
        return "accept" if '"front"' in question else "decline"

    user = User(decide)
    async with connected(transport, mode, locks(transport, broker.port), elicitation_callback=user) as client:
        await ready(client, broker)
        listed = (await client.call_tool("list_devices", {})).structured_content["devices"]
        assert [(it["id"], it["needApproval"]) for it in listed] == [("back", ["unlock"]), ("front", ["unlock"])]
        declined = await unlock(client, "back")
        assert declined["outcome"] == "notSent"
        assert declined["message"] == "'unlock' was not sent to 'back': it was not approved: a person declined it."
        confirmed = await unlock(client, "front")
        assert confirmed["outcome"] == "confirmed", confirmed
        assert (confirmed["before"]["status"], confirmed["after"]["status"]) == ("locked", "unlocked")
    assert (front.commands, back.commands) == ([{"seconds": 5}], [])
    questions = [question.split("\n") for question in user.asked]
    assert [lines[:3] for lines in questions] == [
        [
            'Send the command "unlock" to the device "back"?',
            'Device: type "lock", location "hall"',
            'Arguments: {"seconds":5}',
        ],
        [
            'Send the command "unlock" to the device "front"?',
            'Device: name "Front door", type "lock", location "hall"',
            'Arguments: {"seconds":5}',
        ],
    ]
    for device, lines in zip(("back", "front"), questions):
        assert lines[3].startswith('Present state: "locked", ')
        assert lines[4:] == [f'Topic: "{UNLOCK.format(device)}" (QoS 1)', 'Payload: {"seconds":5}']


async def test_a_client_that_cannot_ask_is_refused(transport, mode, broker, parts):
    front = lock(broker, parts, "front")
    async with connected(transport, mode, locks(transport, broker.port)) as client:
        await ready(client, broker)
        refused = await unlock(client, "front")
        assert refused["outcome"] == "notSent" and "this client cannot ask one" in refused["message"]
    assert front.commands == []


async def test_what_changes_while_a_person_thinks_counts(mode, broker, parts):
    front = lock(broker, parts, "front")

    async def decide(_question: str) -> str:
        # A second client sees what the gateway sees.
        broker.publish(ALARM, "on", "-r")
        broker.publish(STATE.format("front"), "ajar", "-r")

        async def status():
            return (await other.call_tool("get_device_status", {"device": "front"})).structured_content

        await until("the state", status, lambda it: it["status"] == "ajar")
        return "accept"

    gateway = Gateway(locks("http", broker.port, "name: test\nworkers: 1\n"))
    parts.callback(gateway.stop)
    user = User(decide)
    async with Client(gateway.url, mode=mode) as other, Client(
        gateway.url, mode=mode, elicitation_callback=user
    ) as client:
        await ready(client, broker)
        refused = await unlock(client, "front")
        assert refused["outcome"] == "notSent" and "The alarm is on: " in refused["message"], refused
    assert len(user.asked) == 1 and front.commands == []
    assert gateway.stop() == 0


async def test_a_device_that_changes_while_a_person_thinks_gets_nothing(mode, broker, parts):
    """A device that announces itself replaces the topic of its commands."""
    declared = (
        "declared: { homeAssistant: ha, subscribe: [ z2m/# ], publish: [ z2m/+/set ], "
        "commands: [ { topic: z2m/+/set, approval: required } ] }"
    )
    config = (
        "name: test\nworkers: 1\nbindings:\n"
        + entry("http").replace("mcp0", "mcp_device0")
        + f"  mcp_device0: {{ type: mcp_device, kind: proxy, options: {{ {declared} }}, exit: mqtt_client0 }}\n"
        + "  mqtt_client0: { type: mqtt, kind: client, exit: tcp_client0 }\n"
        + f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {broker.port} }} }}\n"
    )
    heard = broker.subscriber("z2m/#")
    parts.callback(heard.stop)

    def announce(name: str, topic: str) -> None:
        lock = {"name": "Lock", "uniq_id": "lock", "cmd_t": topic, "dev": {"ids": ["lock-1"], "name": name}}
        broker.publish("ha/switch/lock/config", json.dumps(lock), "-r")

    async def listed(client) -> list:
        devices = (await client.call_tool("list_devices", {})).structured_content["devices"]
        return [(it["name"], it["needApproval"]) for it in devices]

    commands = ["lock_turn_on", "lock_turn_off"]

    async def decide(_question: str) -> str:
        announce("New", "z2m/other/set")
        await until("the change", lambda: listed(other), lambda it: it == [("New", commands)])
        return "accept"

    gateway = Gateway(config)
    parts.callback(gateway.stop)
    announce("Old", "z2m/lock/set")
    user = User(decide)
    async with Client(gateway.url, mode=mode) as other, Client(
        gateway.url, mode=mode, elicitation_callback=user
    ) as client:
        await until("the device", lambda: listed(other), lambda it: it == [("Old", commands)])
        result = await client.call_tool("control_device", {"device": "lock-1", "command": "lock_turn_on"})
        content = result.structured_content
        assert content["outcome"] == "notSent" and "has changed, while a person was asked" in content["message"]
    assert len(user.asked) == 1 and "The device announced itself" in user.asked[0]
    assert gateway.stop() == 0
    assert list(heard.lines) == []


def test_a_person_is_asked_from_either_worker(broker, parts):
    """The first worker sends all commands; each request comes over a connection of its own, to either worker."""
    gateway = Gateway(locks("http", broker.port, "name: test\nworkers: 2\n"))
    parts.callback(gateway.stop)
    lock(broker, parts, "front")
    broker.publish(ALARM, "off", "-r")
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "control_device",
    }

    def call(**more) -> dict:
        arguments = {"device": "front", "command": "unlock", "arguments": {"seconds": 5}}
        params = {"name": "control_device", "arguments": arguments, "_meta": meta, **more}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        with httpx.Client() as connection:
            return connection.post(gateway.url, json=body, headers=headers).json()["result"]

    def asked() -> dict | None:
        result = call()
        # Until the alarm is known, nobody is asked.
        return result if result["resultType"] == "input_required" else None

    wait_until("a question", asked)
    outcomes = {}
    # The kernel chooses the worker of a connection.
    for _ in range(200):
        question = call()
        worker = int(question["requestState"].split(".")[1])
        (key,) = question["inputRequests"]
        action = "accept" if worker not in outcomes else "decline"
        answers = {key: {"action": action}}
        result = call(inputResponses=answers, requestState=question["requestState"])["structuredContent"]
        outcomes.setdefault(worker, result["outcome"])
        if action == "decline":
            assert result["outcome"] == "notSent" and "a person declined it" in result["message"], result
        if len(outcomes) == 2:
            break
    assert outcomes == {0: "confirmed", 1: "confirmed"}


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_the_decision_is_on_record(mode, broker, parts, tmp_path):
    path = tmp_path / "audit.jsonl"
    exporter = f"{{ type: audit, options: {{ path: {path}, payload: true }} }}"
    config = locks("http", broker.port, "name: test\nworkers: 1\n") + f"telemetry: {{ exporters: {{ audit0: {exporter} }} }}\n"
    lock(broker, parts, "front")

    async def decide(question: str) -> str:
        return "accept" if '"front"' in question else "decline"

    async with connected("http", mode, config, elicitation_callback=User(decide)) as client:
        await ready(client, broker)
        assert (await unlock(client, "back"))["outcome"] == "notSent"
        assert (await unlock(client, "front"))["outcome"] == "confirmed"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    decided = {line["device"]: line for line in lines if line.get("approval")}
    back, front = decided["back"], decided["front"]
    assert (back["approval"], back["decision"], back["rule"]) == ("declined", "refused", "approval")
    assert (back["command"], back["outcome"], back["answer"]) == ("unlock", "not_sent", "tool_error")
    assert "payload" not in back
    assert (front["approval"], front["outcome"], front["answer"]) == ("approved", "confirmed", "ok")
    assert (front["topic"], front["payload"]["text"]) == (UNLOCK.format("front"), '{"seconds":5}')
