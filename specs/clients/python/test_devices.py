"""Devices over the SDK, against mosquitto: what is listed, known and confirmed, and what is published."""

import asyncio
import contextlib
import json
import socket
import threading

import pytest
from conftest import PATIENCE, connected, entry, free_port, wait_until
from mcp.shared.exceptions import MCPError

DEVICES = """
    options:
      address: plant/{location}/{type}/{device}/{action}
      seen: [ plant/# ]
      types:
        light:
          status: { action: state }
          online: { action: availability }
          commands:
            set:
              arguments:
                properties: { state: { enum: [ "on", "off" ] }, level: { type: integer, minimum: 0, maximum: 100 } }
                additionalProperties: false
              confirm: { within: 1500 }
        sensor:
          reading: { action: temperature, format: number, unit: °C }
      devices:
        lamp-1: { type: light, location: hall, name: Lamp at the gate }
"""

STATE = "plant/hall/light/lamp-1/state"
SET = "plant/hall/light/lamp-1/set"


def devices(transport: str, port: int, client: str = "") -> str:
    return (
        "name: test\nbindings:\n"
        + entry(transport).replace("mcp0", "mcp_device0")
        + "  mcp_device0:\n    type: mcp_device\n    kind: proxy\n"
        + DEVICES.lstrip("\n")
        + "    exit: mqtt_client0\n"
        + f"  mqtt_client0: {{ type: mqtt, kind: client, options: {{ {client} }}, exit: tcp_client0 }}\n"
        + f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}\n"
    )


class Lamp:
    """A simulated lamp: answers each command with a state that `answer` makes of it; `None`: it is silent."""

    def __init__(self, broker, answer):
        self.broker = broker
        self.answer = answer
        self.commands: list[str] = []
        self.subscriber = broker.subscriber(SET)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.over.wait(0.005):
            for line in list(self.subscriber.lines)[len(self.commands) :]:
                payload = line.split("|", 3)[3]
                self.commands.append(payload)
                if (state := self.answer(json.loads(payload))) is not None:
                    self.broker.publish(STATE, json.dumps(state))

    def stop(self) -> None:
        self.over.set()
        self.thread.join()
        self.subscriber.stop()


@pytest.fixture
def lamp(broker, parts):
    def make(answer) -> Lamp:
        made = Lamp(broker, answer)
        parts.callback(made.stop)
        return made

    return make


async def known(client, broker, state: dict) -> None:
    """Waits until the gateway knows the state of the lamp: its subscription is accepted.

    The state is retained, so that a worker whose subscription is accepted later knows it as well.
    """
    while True:
        broker.publish(STATE, json.dumps(state), "-r")
        result = await client.call_tool("get_device_status", {"device": "lamp-1"})
        if not result.is_error and result.structured_content["status"] == state:
            return


def control(client, arguments: dict, **more):
    return client.call_tool("control_device", {"device": "lamp-1", "command": "set", "arguments": arguments, **more})


async def test_devices_are_listed_and_a_seen_one_is_added(transport, mode, broker):
    async with connected(transport, mode, devices(transport, broker.port)) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert tools == ["list_devices", "get_device_status", "control_device", "subscribe_sensor"]
        await known(client, broker, {"state": "off"})
        broker.publish("plant/attic/sensor/t-1/temperature", "21.5", "-r")
        for _ in range(100):
            listed = (await client.call_tool("list_devices", {})).structured_content
            if listed["total"] == 2:
                break
        assert [(it["id"], it["type"], it["location"]) for it in listed["devices"]] == [
            ("lamp-1", "light", "hall"),
            ("t-1", "sensor", "attic"),
        ]
        assert listed["devices"][1]["status"] == 21.5


async def test_a_command_is_confirmed_by_the_state(transport, mode, broker, lamp):
    obedient = lamp(lambda command: {**command, "watts": 7})
    async with connected(transport, mode, devices(transport, broker.port)) as client:
        await known(client, broker, {"state": "off"})
        progress = []

        async def note(done, total, message):
            progress.append(message)

        arguments = {"device": "lamp-1", "command": "set", "arguments": {"state": "on", "level": 40}}
        result = await client.call_tool("control_device", arguments, progress_callback=note)
        content = result.structured_content
        assert not result.is_error and content["outcome"] == "confirmed", content
        assert content["before"]["status"] == {"state": "off"}
        assert content["after"]["status"] == {"state": "on", "level": 40, "watts": 7}
        assert content["message"].startswith("'lamp-1' confirmed 'set' after ")
        assert json.loads(result.content[0].text) == content
        assert "'set' was sent to 'lamp-1'." in progress
        assert len(obedient.commands) == 1


async def test_a_command_is_contradicted_by_the_state(mode, broker, lamp):
    stubborn = lamp(lambda command: {"state": "off", "fault": "bulb"})
    async with connected("http", mode, devices("http", broker.port)) as client:
        await known(client, broker, {"state": "off"})
        result = await control(client, {"state": "on"})
        content = result.structured_content
        assert result.is_error and content["outcome"] == "contradicted"
        assert content["after"]["status"] == {"state": "off", "fault": "bulb"}
        assert "But 'lamp-1' says otherwise" in content["message"]
        assert stubborn.commands == ['{"state":"on"}']


async def test_a_silent_device_leaves_a_command_unconfirmed(mode, broker, lamp):
    silent = lamp(lambda command: None)
    async with connected("http", mode, devices("http", broker.port)) as client:
        await known(client, broker, {"state": "off"})
        result = await control(client, {"state": "on"}, requestId="once")
        content = result.structured_content
        assert result.is_error and content["outcome"] == "unconfirmed"
        assert content["message"].startswith("The broker acknowledged 'set'. 'lamp-1' published no state within ")
        repeated = await control(client, {"state": "on"}, requestId="once")
        assert repeated.structured_content == content
        wait_until("the command", lambda: silent.commands)
        assert silent.commands == ['{"state":"on"}'], "it is not sent twice"


async def test_a_retained_echo_does_not_confirm(broker, lamp):
    lamp(lambda command: None)
    broker.publish(STATE, '{"state":"on"}', "-r")
    async with connected("http", "2026-07-28", devices("http", broker.port)) as client:
        status = await client.call_tool("get_device_status", {"device": "lamp-1"})
        assert status.structured_content["retained"] is True
        result = await control(client, {"state": "on"}, timeout=500)
        assert result.structured_content["outcome"] == "unconfirmed"
        assert "Its state was already the requested one" in result.structured_content["message"]


async def test_a_refused_command_never_reaches_the_broker(mode, broker, lamp):
    idle = lamp(lambda command: None)
    async with connected("http", mode, devices("http", broker.port)) as client:
        await known(client, broker, {"state": "off"})
        result = await control(client, {"state": "bright", "level": 101})
        content = result.structured_content
        assert result.is_error and content["outcome"] == "notSent"
        pointers = [violation["pointer"] for violation in content["violations"]]
        assert sorted(pointers) == ["/level", "/state"]
        broker.publish("plant/hall/light/lamp-1/availability", "offline")
        for _ in range(100):
            result = await control(client, {"state": "on"}, timeout=100)
            if "offline" in result.structured_content["message"]:
                break
            idle.commands.clear()
            idle.subscriber.lines.clear()
        assert result.structured_content["outcome"] == "notSent"
        assert idle.commands == []


async def test_without_a_broker_a_command_is_not_sent_and_a_status_says_why(mode):
    port = free_port()
    async with connected("http", mode, devices("http", port)) as client:
        result = await control(client, {"state": "on"})
        content = result.structured_content
        assert result.is_error and content["outcome"] == "notSent"
        assert f"127.0.0.1:{port}" in content["message"]
        status = await client.call_tool("get_device_status", {"device": "lamp-1"})
        assert status.is_error and status.structured_content["problem"] == "brokerUnreachable"


async def test_a_broker_that_does_not_acknowledge_leaves_a_command_unconfirmed(parts):
    """A broker that accepts the connection and the subscription, and ignores publications."""
    with contextlib.closing(Mute()) as mute:
        async with connected("http", "2026-07-28", devices("http", mute.port)) as client:
            result = await control(client, {"state": "on"})
            content = result.structured_content
            assert result.is_error and content["outcome"] == "unconfirmed", content
            assert "may have been delivered" in content["message"]
            assert mute.publications == 1, "it is not sent twice"


class Mute:
    """An MQTT 5 server that answers CONNECT, SUBSCRIBE and PINGREQ, and nothing else."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.publications = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as packets:
            while header := packets.read(1):
                length, shift = 0, 0
                while True:
                    (byte,) = packets.read(1)
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if not byte & 0x80:
                        break
                body = packets.read(length)
                kind = header[0] >> 4
                if kind == 1:
                    connection.sendall(b"\x20\x03\x00\x00\x00")
                elif kind == 8:
                    connection.sendall(b"\x90" + self._suback(body))
                elif kind == 12:
                    connection.sendall(b"\xd0\x00")
                elif kind == 3:
                    self.publications += 1

    @staticmethod
    def _suback(body: bytes) -> bytes:
        properties = body[2]
        filters, at = 0, 3 + properties
        while at < len(body):
            at += 3 + int.from_bytes(body[at : at + 2], "big")
            filters += 1
        content = body[:2] + b"\x00" + b"\x01" * filters
        return bytes([len(content)]) + content

    def close(self) -> None:
        self.listener.close()


async def test_readings_are_collected(broker):
    async with connected("http", "2026-07-28", devices("http", broker.port)) as client:
        await known(client, broker, {"state": "off"})
        topic = "plant/attic/sensor/t-1/temperature"
        broker.publish(topic, "20")
        while (await client.call_tool("list_devices", {})).structured_content["total"] < 2:
            pass
        progress = []

        async def note(done, total, message):
            progress.append(message)
            if len(progress) == 1:
                broker.publish(topic, "24")

        stop = threading.Event()

        def publish() -> None:
            while not stop.wait(0.05):
                if not progress:
                    broker.publish(topic, "21")

        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        arguments = {"device": "t-1", "duration": 20_000, "count": 2, "minChange": 1}
        result = await client.call_tool("subscribe_sensor", arguments, progress_callback=note)
        stop.set()
        thread.join()
        content = result.structured_content
        assert content["ended"] == "count"
        assert [reading["value"] for reading in content["series"]] == [21, 24]
        assert content["statistics"][0]["mean"] == 22.5
        assert progress == ["t-1: 21 °C", "t-1: 24 °C"]


async def test_a_device_is_a_resource(mode, broker):
    async with connected("http", mode, devices("http", broker.port)) as client:
        await known(client, broker, {"state": "off"})
        resources = (await client.list_resources()).resources
        assert [str(it.uri) for it in resources] == ["device://lamp-1"]
        read = await client.read_resource("device://lamp-1")
        assert json.loads(read.contents[0].text)["status"] == {"state": "off"}


async def test_devices_are_a_toolkit_like_any_other(broker):
    proxy = "  mcp_proxy0: { type: mcp, kind: proxy, routes: [{ when: [{ toolkit: plant }], exit: mcp_device0 }] }\n"
    config = devices("http", broker.port).replace("exit: mcp_device0 }", "exit: mcp_proxy0 }", 1) + proxy
    async with connected("http", "legacy", config) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert "plant__control_device" in tools
        listed = await client.call_tool("plant__list_devices", {})
        assert listed.structured_content["total"] == 1


async def test_updates_of_a_device_reach_a_subscriber(mode, broker):
    uri = "device://lamp-1"
    updated = asyncio.Event()

    async def handler(message) -> None:
        root = getattr(message, "root", message)
        if getattr(root, "method", "") == "notifications/resources/updated":
            updated.set()

    async with connected("http", mode, devices("http", broker.port), message_handler=handler) as client:
        await known(client, broker, {"state": "off"})
        if mode == "legacy":
            while True:
                with contextlib.suppress(MCPError):
                    await client.subscribe_resource(uri)
                    break
            broker.publish(STATE, '{"state":"on"}')
            await asyncio.wait_for(updated.wait(), PATIENCE)
            return
        while True:
            async with client.listen(resource_subscriptions=[uri]) as subscription:
                if not subscription.honored.resource_subscriptions:
                    continue
                broker.publish(STATE, '{"state":"on"}')
                event = await anext(aiter(subscription))
                assert str(event.uri) == uri
                return
