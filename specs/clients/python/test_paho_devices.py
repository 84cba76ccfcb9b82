"""Machines that call tools: devices made with paho-mqtt, and a server of the official SDK with the tools."""

from __future__ import annotations

import json
import queue
import threading
import uuid

import pytest
from conftest import PATIENCE, Broker
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from test_machines import Machines
from test_upstreams import over_http, upstream  # noqa: F401


class Device:
    """A device that waits for messages on one topic."""

    def __init__(self, broker: Broker, name: str, topic: str, protocol: int = paho.MQTTv5):
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol)
        subscribed = threading.Event()
        self.client.on_message = lambda _client, _data, message: self.messages.put(message)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert subscribed.wait(PATIENCE)

    def ask(self, topic: str, request: dict | bytes, **properties) -> None:
        payload = request if isinstance(request, bytes) else json.dumps(request)
        sent = None
        if properties:
            sent = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(sent, name, value)
        self.client.publish(topic, payload, qos=1, properties=sent).wait_for_publish(PATIENCE)

    def next(self, patience: float = PATIENCE) -> paho.MQTTMessage:
        return self.messages.get(timeout=patience)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def machines(broker, upstream):  # noqa: F811
    gateway = Machines(broker, over_http(upstream.url))
    yield gateway
    assert gateway.stop() == 0, gateway.text()


@pytest.fixture
def device(broker):
    made = []

    def make(*arguments, **options) -> Device:
        made.append(Device(broker, *arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_a_device_of_mqtt_5(machines, device):
    robot = device("robot", "devices/d1/answers/#")
    request = {"tool": "echo", "arguments": {"text": "größe"}}
    robot.ask(
        "devices/d1/call", request, ResponseTopic="devices/d1/answers/7", CorrelationData=b"\x00\xff", MessageExpiryInterval=30
    )
    answer = robot.next()
    assert answer.topic == "devices/d1/answers/7"
    assert answer.properties.CorrelationData == b"\x00\xff"
    assert answer.properties.ContentType == "application/json"
    assert 0 < answer.properties.MessageExpiryInterval <= 30
    assert dict(answer.properties.UserProperty)["status"] == "done"
    assert json.loads(answer.payload)["result"]["content"][0]["text"] == "größe"


def test_a_device_of_mqtt_3_with_a_gateway_of_mqtt_5(machines, device):
    robot = device("robot", "devices/d1/answers/#", protocol=paho.MQTTv311)
    request = {"id": 7, "replyTopic": "devices/d1/answers/7", "tool": "echo", "arguments": {"text": "a"}}
    robot.ask("devices/d1/call", request)
    answer = json.loads(robot.next().payload)
    assert (answer["id"], answer["status"]) == (7, "done")
    robot.ask("devices/d1/call", request)
    assert json.loads(robot.next().payload) == answer, "the same request gets the same answer"


def test_progress_of_a_tool_is_published_as_it_comes(machines, device):
    robot = device("robot", "+/d1")
    robot.ask("work/d1", {"steps": 3}, CorrelationData=b"c")
    messages = []
    while not messages or messages[-1].topic != "worked/d1":
        messages.append(robot.next())
    progress = [json.loads(it.payload) for it in messages if it.topic == "progress/d1"]
    assert [it["progress"] for it in progress] == [1, 2, 3]
    assert progress[0] == {"status": "progress", "progress": 1, "total": 3, "message": "step 1"}
    assert all(it.properties.CorrelationData == b"c" for it in messages if it.topic != "work/d1")
    assert json.loads(messages[-1].payload) == {"said": "done"}


def command(device: Device, request: dict | bytes, **properties) -> dict[str, str]:
    """Invokes a command of Azure IoT Operations, and returns the user properties of its answer."""
    correlation = uuid.uuid4().bytes
    topic = "commands/d1/echo"
    sent = [("__srcId", "invoker"), ("__protVer", "1.0"), ("$partition", "invoker")]
    common = {"ResponseTopic": f"clients/invoker/{topic}", "CorrelationData": correlation, "MessageExpiryInterval": 30}
    device.ask(topic, request, **{**common, "ContentType": "application/json", "UserProperty": sent, **properties})
    answer = device.next()
    assert answer.properties.CorrelationData == correlation
    device.answer = answer
    return dict(answer.properties.UserProperty)


def test_commands_of_azure_iot_operations(machines, device):
    invoker = device("invoker", "clients/invoker/#")
    answer = command(invoker, {"text": "a"})
    assert (answer["__stat"], answer["__protVer"], answer["__srcId"]) == ("200", "1.0", "tidegate")
    millis, counter, node = answer["__ts"].split(":")
    assert len(millis) == 15 and counter.isdigit() and node
    assert json.loads(invoker.answer.payload) == {"result": "a"}
    later = command(invoker, {"text": "b"})["__ts"]
    assert later > answer["__ts"]
    refused = command(invoker, b"no json")
    assert (refused["__stat"], refused["__apErr"]) == ("400", "false") and not invoker.answer.payload
    unsupported = command(invoker, b"{}", ContentType="application/protobuf")
    assert (unsupported["__stat"], unsupported["__propName"]) == ("415", "Content Type")
