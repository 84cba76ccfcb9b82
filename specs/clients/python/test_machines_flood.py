"""What a device cannot do to a gateway and to other devices: too many requests, and too large ones."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from conftest import PATIENCE, TIDEGATE, Broker, wait_until
from packets import CONNECT, PUBLISH, SUBACK, SUBSCRIBE, Packet, length_of, packet, text
from test_machines import Machines
from test_metrics import ADMIN, families
from test_paho_devices import Device, device  # noqa: F401
from test_upstreams import over_http, upstream  # noqa: F401

#: Requests at once: a debug build takes ten times as long for each.
FLOOD = 100_000 if "release" in TIDEGATE.parts else 20_000
#: Time for what comes behind them, on a machine that is busy with other tests.
FLOOD_PATIENCE = 60.0
RESPONSE_TOPIC, CORRELATION = b"\x08", b"\x09"
ASK = {"tool": "echo", "arguments": {"text": "a"}}


class Noisy:
    """A device `d1` that sends all its requests at once, each with Correlation Data of its own, and reads its answers.

    It has no library: one would be slower than the gateway.
    """

    def __init__(self, port: int) -> None:
        # Without a timeout: the broker takes its time for what it cannot pass on.
        self._link = socket.create_connection(("127.0.0.1", port))
        self._link.sendall(packet(CONNECT, text("MQTT") + b"\x05\x02\x00\x3c\x00" + text("noisy")))
        self._link.sendall(packet(SUBSCRIBE, b"\x00\x01\x00" + text("devices/d1/answers/1") + b"\x00", flags=2))
        self._received = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until("SUBACK", lambda: SUBACK in [it.kind for it in packets(self._received)])

    def _read(self) -> None:
        while some := self._link.recv(1 << 20):
            self._received += some

    def ask(self, count: int) -> threading.Thread:
        """Begins to send so many requests."""
        head = text("devices/d1/call")
        reply = RESPONSE_TOPIC + text("devices/d1/answers/1") + CORRELATION
        ask = json.dumps(ASK).encode()

        def publish(number: int) -> bytes:
            properties = reply + text(number.to_bytes(4))
            return packet(PUBLISH, head + length_of(len(properties)) + properties + ask)

        requests = b"".join(map(publish, range(count)))
        sending = threading.Thread(target=self._link.sendall, args=[requests], daemon=True)
        sending.start()
        return sending

    def answers(self) -> list[tuple[bytes, str]]:
        """The correlation and status of each answer that has come."""
        answers = [it.body for it in packets(self._received) if it.kind == PUBLISH]
        head = len(text("devices/d1/answers/1"))
        found = []
        for body in answers:
            correlation = body.index(CORRELATION + b"\x00\x04", head) + 3
            status = re.search(rb"\x26\x00\x06status\x00.(\w+?)[^\w]", body[head:])
            found.append((body[correlation : correlation + 4], status[1].decode()))
        return found

    def stop(self) -> None:
        self._link.shutdown(socket.SHUT_RDWR)
        self._reader.join(PATIENCE)
        self._link.close()


def packets(received: bytearray) -> Iterator[Packet]:
    """The packets that are complete."""
    data, at = bytes(received), 0
    while at + 2 <= len(data):
        length, shift, begin = 0, 0, at + 1
        while begin < len(data):
            byte = data[begin]
            length |= (byte & 0x7F) << shift
            shift, begin = shift + 7, begin + 1
            if not byte & 0x80:
                break
        if begin + length > len(data):
            return
        yield Packet(data[at] >> 4, data[at] & 15, data[begin : begin + length])
        at = begin + length


def test_a_device_with_many_requests_at_once_does_not_stop_another_one(upstream):  # noqa: F811
    # The broker drops none of them, and logs none.
    broker = Broker(settings="max_queued_messages 0\nmax_inflight_messages 0\nlog_type subscribe", log="information")
    # A tool that is slow because the machine is busy is not what this is about.
    options = f"timeout: {FLOOD_PATIENCE * 1_000:.0f}"
    gateway = Machines(broker, over_http(upstream.url) + ADMIN, options, ready=r"machines_subscription \d devices/\+/call", more=())
    noisy, quiet = Noisy(broker.port), Device(broker, "quiet", "devices/d2/answers/1")

    def ask(number: int) -> None:
        correlation = b"%d" % number
        quiet.ask("devices/d2/call", ASK, ResponseTopic="devices/d2/answers/1", CorrelationData=correlation)
        answer = quiet.next(FLOOD_PATIENCE)
        assert answer.properties.CorrelationData == correlation
        assert json.loads(answer.payload)["status"] == "done"

    def figures(name: str) -> dict[str, int]:
        samples = families(gateway)[name].samples
        return {it.labels.get("outcome") or it.labels["result"]: it.value for it in samples if it.value}

    def ended() -> int:
        return sum(figures("mqtt_mcp_requests").values())

    try:
        sending = noisy.ask(FLOOD)
        wait_until("the first of them", ended)
        asked = 0
        while ended() < FLOOD + asked:
            ask(asked)
            asked += 1
        sending.join()
        assert asked, "the other one has asked meanwhile"
        # Each request has an outcome, and each answer was published, or is counted as dropped.
        wait_until("all answers", lambda: sum(figures("mqtt_mcp_answers").values()) == FLOOD + asked, FLOOD_PATIENCE)
        requests, answers = figures("mqtt_mcp_requests"), figures("mqtt_mcp_answers")
        assert set(answers) <= {"published", "dropped"}
        wait_until("the last answer", lambda: len(noisy.answers()) == answers["published"] - asked, FLOOD_PATIENCE)
        told = noisy.answers()
        assert len(dict(told)) == len(told), "a request is answered once"
        statuses = Counter(status for _, status in told)
        assert statuses["done"] > 0 and statuses["rejected"] > 0
        # Only refusals are dropped.
        dropped = requests.pop("rejected") - statuses.pop("rejected")
        assert statuses == requests | {"done": requests["done"] - asked} and dropped == answers.get("dropped", 0)
    finally:
        quiet.stop()
        noisy.stop()
        code = gateway.stop()
        broker.stop()
    assert code == 0, gateway.text()


@pytest.fixture
def machines(broker, upstream):  # noqa: F811
    gateway = Machines(broker, over_http(upstream.url))
    yield gateway
    assert gateway.stop() == 0, gateway.text()


@pytest.mark.parametrize(
    ("correlation", "payload", "status"),
    [(1_024, 64 << 10, "done"), (1_025, 100, "rejected"), (65_535, 100, "rejected"), (4, (64 << 10) + 1, "rejected"), (65_535, 1 << 20, "rejected")],
)
def test_sizes_at_and_above_the_limits(machines, device, correlation, payload, status):  # noqa: F811
    robot = device("robot", "devices/d1/answers/#")
    around = len(json.dumps({"tool": "echo", "arguments": {"text": ""}}))
    request = {"tool": "echo", "arguments": {"text": "a" * (payload - around)}}
    data = bytes(range(256)) * (correlation // 256 + 1)
    robot.ask("devices/d1/call", request, ResponseTopic="devices/d1/answers/1", CorrelationData=data[:correlation])
    answer = robot.next()
    # The answer says which request it is about, however long its correlation is.
    assert answer.properties.CorrelationData == data[:correlation]
    told = json.loads(answer.payload)
    assert told["status"] == status, told
    if status == "rejected":
        assert (told["error"]["reason"], told["error"]["executed"]) == ("tooLarge", "no")
    else:
        assert told["result"]["structuredContent"] == {"result": request["arguments"]["text"]}
    # The connection has survived it, and the device is served.
    robot.ask("devices/d1/call", {"tool": "echo", "arguments": {"text": "b"}}, ResponseTopic="devices/d1/answers/1", CorrelationData=b"next")
    assert json.loads(robot.next().payload)["status"] == "done"
