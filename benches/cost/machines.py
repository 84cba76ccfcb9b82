"""A gateway whose machines call a tool, and one of those machines: a device that speaks MQTT 5."""

import contextlib
import json

from gateway import PAYLOAD, Gateway, connect

TOPIC = "bench/cost"
# The first byte of the packets that the device reads (MQTT 5.0, 2.1.2), without their flags.
CONNACK, PUBLISH, PUBACK, SUBACK = 0x20, 0x30, 0x40, 0x90


def config(broker_port, upstream_port):
    return {
        "name": "cost",
        "workers": 1,
        "bindings": {
            "machines0": {
                "type": "mqtt_mcp",
                "kind": "proxy",
                "exits": {"mqtt": "mqtt_client0", "mcp": "mcp_client0"},
                "routes": [
                    {
                        "when": [{"topic": TOPIC + "/{device}/call", "qos": 1}],
                        "with": {
                            "tool": "echo",
                            "arguments": "{{ payload }}",
                            "answer": {"topic": TOPIC + "/{device}/answer"},
                        },
                    }
                ],
            },
            "mcp_client0": {
                "type": "mcp",
                "kind": "client",
                "options": {"url": f"http://127.0.0.1:{upstream_port}/mcp"},
            },
            "mqtt_client0": {"type": "mqtt", "kind": "client", "exit": "tcp_client0"},
            "tcp_client0": {
                "type": "tcp",
                "kind": "client",
                "options": {"host": "127.0.0.1", "port": broker_port},
            },
        },
    }


class Machines(Gateway):
    """tidegate under callgrind between the broker and the upstream, and a device at the broker."""

    header = None

    def __init__(self, binary, directory, broker_port, upstream_port, wrapper):
        self.broker_port = broker_port
        path = directory / "machines.yaml"
        path.write_text(json.dumps(config(broker_port, upstream_port)))
        self.command = [*wrapper, binary, "start", "--config", path]

    def __enter__(self):
        self.start()
        self.connection = connect(self.broker_port, self.process)
        self.device = Device(self.connection)
        return self

    def drive(self, calls):
        """One request after the other, each with its answer."""
        for number in range(calls):
            self.device.request(number)


class Device:
    """An MQTT 5 client that publishes requests with QoS 1 and takes their answers."""

    def __init__(self, connection):
        self.connection = connection
        self.received, self.kept = b"", []
        self.send(0x10, text("MQTT") + bytes([5, 2, 0, 0, 0]) + text("cost-device"))
        self.expect(CONNACK)
        self.send(0x82, bytes([0, 1, 0]) + text(f"{TOPIC}/d0/answer") + bytes([1]))
        self.expect(SUBACK)

    def request(self, number):
        """Publishes until the gateway has subscribed, and takes the answer."""
        correlation = b"%08d" % number
        properties = bytes([9]) + len(correlation).to_bytes(2, "big") + correlation
        payload = json.dumps({"text": PAYLOAD, "count": 1}, separators=(",", ":")).encode()
        message = text(f"{TOPIC}/d0/call") + (2).to_bytes(2, "big") + bytes([len(properties)]) + properties + payload
        while True:
            self.send(0x32, message)
            # Reason code 0x10: no subscriber; the gateway is about to be one (MQTT 5.0, 3.4.2.1).
            puback = self.expect(PUBACK)
            if puback[2:3] != b"\x10":
                break
        answer = self.expect(PUBLISH)
        if PAYLOAD.encode() not in answer or correlation not in answer:
            raise RuntimeError(f"a request was answered: {answer}")
        topic = int.from_bytes(answer[:2], "big")
        self.send(0x40, answer[2 + topic : 4 + topic])

    def expect(self, kind):
        """The next packet of this kind; an answer may come before the acknowledgement of its request."""
        for place, (first, packet) in enumerate(self.kept):
            if first & 0xF0 == kind:
                del self.kept[place]
                return packet
        while True:
            first, packet = self.packet()
            if first & 0xF0 == kind:
                return packet
            self.kept.append((first, packet))

    def packet(self):
        while True:
            with contextlib.suppress(IndexError):
                length, at = remaining_length(self.received)
                if len(self.received) >= at + length:
                    first, packet = self.received[0], self.received[at : at + length]
                    self.received = self.received[at + length :]
                    return first, packet
            more = self.connection.recv(65536)
            if not more:
                raise RuntimeError("the broker has closed the connection")
            self.received += more

    def send(self, first, packet):
        # A packet of the device has less than 16,384 bytes.
        length = bytes([len(packet)]) if len(packet) < 128 else bytes([len(packet) % 128 | 128, len(packet) // 128])
        self.connection.sendall(bytes([first]) + length + packet)


def text(value):
    return len(value).to_bytes(2, "big") + value.encode()


def remaining_length(received):
    """A variable byte integer, and where it ends (MQTT 5.0, 1.5.5). IndexError if there is more to come."""
    value, shift, at = 0, 0, 1
    while True:
        byte = received[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at
