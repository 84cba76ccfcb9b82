"""Thousands of devices that announce themselves, and publish while the gateway starts, with the default options."""

import json
import socket
import threading

from conftest import Broker, connected, entry
from test_home import content, until

DEVICES = 1_500
#: mosquitto keeps 1,000 messages for a client by default, and drops further retained ones, announcements too.
BROKER = "max_queued_messages 0"


def config(port: int) -> str:
    return (
        "name: test\nbindings:\n"
        + entry("http").replace("mcp0", "mcp_device0")
        + f"""
  mcp_device0:
    type: mcp_device
    kind: proxy
    options:
      declared: {{ homeAssistant: homeassistant, homie: homie, subscribe: [ "things/#" ], publish: [ things/+/set ] }}
    exit: mqtt_client0
  mqtt_client0: {{ type: mqtt, kind: client, exit: tcp_client0 }}
  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}
"""
    )


class Things:
    """The devices: a client of MQTT 3.1.1 that publishes at QoS 0."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(b"\x10\x12\x00\x04MQTT\x04\x02\x00\x00\x00\x06things")
        assert self.socket.recv(4) == b"\x20\x02\x00\x00", "mosquitto refuses the connection"
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._publish, daemon=True)

    def announce(self) -> None:
        for number in range(DEVICES):
            topic = f"things/{number}"
            said = {
                "name": f"Thing {number}",
                "unique_id": f"thing-{number}",
                "state_topic": f"{topic}/state",
                "command_topic": f"{topic}/set",
                "device": {"identifiers": [f"thing-{number}"], "manufacturer": "Plant"},
            }
            self.socket.sendall(packet(f"homeassistant/switch/thing-{number}/config", json.dumps(said), retain=True))
        # mosquitto has them all when it answers.
        self.socket.sendall(b"\xc0\x00")
        assert self.socket.recv(2) == b"\xd0\x00", "PINGRESP"

    def start(self) -> None:
        """Publishes the states, again and again."""
        self.thread.start()

    def _publish(self) -> None:
        states = [packet(f"things/{number}/state", "ON", retain=False) for number in range(DEVICES)]
        size = DEVICES // 20
        while True:
            for at in range(0, DEVICES, size):
                self.socket.sendall(b"".join(states[at : at + size]))
                if self.over.wait(0.05):
                    return

    def stop(self) -> None:
        self.over.set()
        self.thread.join()
        self.socket.close()


def packet(topic: str, payload: str, retain: bool) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload.encode()
    head, left = bytearray([0x31 if retain else 0x30]), len(body)
    while True:
        left, digit = divmod(left, 128)
        head.append(digit | (128 if left else 0))
        if not left:
            return bytes(head) + body


async def test_thousands_of_devices_that_announce_themselves_become_known(parts):
    broker = Broker(settings=BROKER)
    parts.callback(broker.stop)
    things = Things(broker.port)
    things.announce()
    things.start()
    parts.callback(things.stop)
    async with connected("http", "2026-07-28", config(broker.port)) as client:
        await until(
            "the devices",
            lambda: content(client, "list_devices", limit=1),
            lambda it: it["total"] == DEVICES,
        )
        status = await content(client, "get_device_status", device=f"thing-{DEVICES - 1}")
        assert status["status"] is True, status
