"""Profiles of cloud brokers, with mosquitto behind limits like theirs, and a TLS listener that records ALPN and SNI."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import ROOT, TIDEGATE, Broker, Gateway, connected, free_port, plain
from lying import PUBLISH, Lying
from test_broker_connections import authority, folder  # noqa: F401
from test_faults import call_publish
from test_network import Authority

OPEN = 'subscribe: [ "#" ], publish: [ "#" ]'


class Door:
    """Accepts TLS in front of a broker, with one application protocol, and records what clients ask for."""

    def __init__(self, broker: int, files: Path, protocol: str | None, with_certificate: bool):
        self.broker = broker
        #: For each connection: the protocol that was agreed on, and the name in SNI.
        self.asked: list[tuple[str | None, str | None]] = []
        self._names: dict[int, str | None] = {}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files / "server.crt", files / "server.key")
        if protocol:
            context.set_alpn_protocols([protocol])
        if with_certificate:
            context.load_verify_locations(files / "ca.crt")
            context.verify_mode = ssl.CERT_REQUIRED
        context.sni_callback = lambda connection, name, _: self._names.update({id(connection): name})
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError), self._context.wrap_socket(accepted, server_side=True) as client:
            self.asked.append((client.selected_alpn_protocol(), self._names.get(id(client))))
            with socket.create_connection(("127.0.0.1", self.broker)) as broker:
                threading.Thread(target=self._carry, args=(broker, client), daemon=True).start()
                self._carry(client, broker)

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._listener.close()


def here(config: str, door: Door, files: Path) -> str:
    """A config of the repository, with a broker and files of the test."""
    text = (ROOT / "config" / config).read_text()
    text = text.replace("ENDPOINT-ats.iot.eu-central-1.amazonaws.com", "localhost").replace("7114", str(free_port()))
    text = text.replace("NAMESPACE.westeurope-1.ts.eventgrid.azure.net", "localhost")
    text = text.replace("localhost:443", f"localhost:{door.port}").replace("localhost:8883", f"localhost:{door.port}")
    text = text.replace("gateway.pem", str(files / "agent"))
    return text.replace("      tls:\n", f"      tls:\n        trust: {files}/ca.crt\n")


@pytest.mark.parametrize(
    ("config", "protocol", "with_certificate"),
    [
        ("aws-iot.yaml", None, True),
        ("aws-iot-port-443.yaml", "x-amzn-mqtt-ca", True),
        ("aws-iot-authorizer.yaml", "mqtt", False),
        ("azure-event-grid.yaml", None, True),
    ],
)
async def test_a_config_connects_as_its_cloud_asks(config, protocol, with_certificate, parts, folder, authority: Authority):  # noqa: F811
    password = None if with_certificate else ("tidegate?x-amz-customauthorizer-name=plant", "the password")
    broker = Broker(password=password, settings="max_qos 1")
    parts.callback(broker.stop)
    door = Door(broker.port, folder, protocol, with_certificate)
    parts.callback(door.stop)
    gateway = Gateway(here(config, door, folder), env={"AWS_IOT_PASSWORD": "the password"})
    parts.callback(gateway.stop)
    gateway.probed()
    answer = call_publish(gateway, topic="commands/pump/set", qos=1).json()["result"]
    assert not answer.get("isError"), answer
    assert set(door.asked) == {(protocol, "localhost")}
    broker.line(r"Received PUBLISH from plant-gateway.*commands/pump/set")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_what_aws_iot_does_not_accept_is_not_sent(version, parts):
    broker = Broker(settings="max_qos 1\nmessage_size_limit 131072\nmax_keepalive 1200")
    parts.callback(broker.stop)
    config = plain("http", broker.port, OPEN, f'profile: aws-iot, version: "{version}"')
    async with connected("http", "2026-07-28", config) as client:
        for arguments, expected in [
            ({"topic": "a/b/c/d/e/f/g/h/i"}, "has 9 levels, but the broker accepts at most 8 (limits.topicLevels)"),
            ({"topic": "a" * 257}, "has 257 bytes, but the broker accepts at most 256 (limits.topicLength)"),
            ({"topic": "a", "qos": 2}, "supports up to QoS 1, but the message has QoS 2"),
            ({"topic": "a", "payload": "x" * 131_073}, "131072"),
        ]:
            result = await client.call_tool("publish", {"payload": "x", "qos": 1, **arguments})
            assert result.is_error and expected in result.content[0].text, result
            assert "not delivered" in result.content[0].text, result
        for arguments in ({"topic": "a/b/c/d/e/f/g/h"}, {"topic": "a" * 256, "payload": "x" * 131_072}):
            result = await client.call_tool("publish", {"payload": "x", "qos": 1, "retain": True, **arguments})
            assert not result.is_error, result
    assert broker.text().count("Received PUBLISH") == 2
    assert ", k60)" in broker.text() or ", k60," in broker.text()


def test_what_a_profile_sets_is_written_out(tmp_path):
    config = tmp_path / "gateway.yaml"
    config.write_text(plain("http", 1883, OPEN, "profile: aws-iot, limits: { subscriptions: 500 }"))
    command = [str(TIDEGATE), "validate", "--config", str(config), "--expanded"]
    written = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in ("keepAlive: 60", "maximumQos: 1", "subscriptions: 500", "topicLevels: 8", "publishRate: 100"):
        assert line in written, written
    assert "profile" not in written


def test_a_broker_that_drops_what_a_policy_denies_is_not_stormed(parts):
    """As AWS IoT Core does: no DISCONNECT, no PUBACK; and other topics work on."""

    def drop(connection, received):
        denied = received.kind == PUBLISH and received.topic.startswith("denied")
        if denied:
            connection.drop()
        return denied

    broker = Lying(drop)
    parts.callback(broker.stop)
    config = "workers: 1\n" + plain("http", broker.port, OPEN, "profile: aws-iot, limits: { publishRate: 1000000 }")
    gateway = Gateway(config)
    parts.callback(gateway.stop)
    gateway.probed()
    succeeded = 0
    for number in range(100):
        denied = call_publish(gateway, topic=f"denied/{number % 3}", qos=1).json()["result"]
        assert denied["isError"], denied
        permitted = call_publish(gateway, topic="permitted", qos=1).json()["result"]
        succeeded += not permitted.get("isError", False)
    assert succeeded >= 80, f"{succeeded} of 100 permitted messages\n{gateway.text()}"
    assert len(broker.connections) <= 30, f"{len(broker.connections)} connections in 200 calls"
