"""Brokers that refer to another server, are busy, know only MQTT 3.1.1, or violate the protocol: scripted ones, and mosquitto."""

from __future__ import annotations

import shutil
import ssl
import tempfile
import threading
from pathlib import Path

import httpx
import pytest
from conftest import Broker, Gateway, federated, free_port, plain, wait_until
from lying import CONNACK, CONNECT, DISCONNECT, PUBLISH, Connection, Lying, length_of, packet
from test_faults import call_publish, modern, request
from test_network import Authority

USE_ANOTHER_SERVER, SERVER_MOVED, SERVER_BUSY = 0x9C, 0x9D, 0x89


def refusal(reason: int, reference: str = "") -> bytes:
    """CONNACK with a Server Reference."""
    properties = b"\x1c" + len(reference).to_bytes(2) + reference.encode() if reference else b""
    return packet(CONNACK, bytes([0, reason]) + length_of(len(properties)) + properties)


@pytest.fixture
def refusing(parts):
    """Starts a broker that refuses each connection."""

    def start(reason: int, reference: str = "", kind=Lying) -> Lying:
        def refuse(connection: Connection, received) -> bool:
            if received.kind == CONNECT:
                connection.send(refusal(reason, reference))
                connection.drop()
            return True

        broker = kind(refuse)
        parts.callback(broker.stop)
        return broker

    return start


@pytest.fixture
def started(parts):
    def start(config: str) -> Gateway:
        gateway = Gateway(config)
        parts.callback(gateway.stop)
        return gateway

    return start


def outcome(gateway: Gateway) -> str:
    answer = call_publish(gateway, qos=1).json()
    result = answer.get("result")
    if result is None:
        return answer["error"]["message"]
    return result["content"][0]["text"] if result.get("isError") else result["structuredContent"]["outcome"]


@pytest.mark.parametrize("reason", [USE_ANOTHER_SERVER, SERVER_MOVED])
def test_an_allowed_reference_is_followed(broker, refusing, started, reason):
    first = refusing(reason, f"elsewhere.test:1 localhost:{broker.port}")
    gateway = started(plain("http", first.port, client="redirects: [ localhost ]"))
    gateway.line(r"^  mqtt_client0 +broker +.* connected$")
    assert outcome(gateway) == "acknowledged"
    broker.line(r"Received PUBLISH from tidegate-")
    gateway.line(r"binding\.mqtt\.connection\.redirected|refers to elsewhere\.test:1 localhost:")


def test_other_references_are_told_and_not_followed(broker, refusing, started):
    reference = f"127.0.0.1:{broker.port}"
    first = refusing(SERVER_MOVED, reference)
    for client, expected in [("", "'."), ("redirects: [ localhost ]", "', which 'redirects' does not allow.")]:
        gateway = started(plain("http", first.port, client=client))
        told = gateway.line(r"mqtt_client0 +broker +(.*)$").group(1)
        assert told.endswith(f"Server moved (0x9D). It refers to '{reference}{expected}"), told
        assert gateway.stop() == 0
    assert "New client connected" not in broker.text()


class Secured(Lying):
    """With TLS in front of it."""

    context: ssl.SSLContext

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(accepted,), daemon=True).start()

    def _run(self, accepted) -> None:
        try:
            accepted = self.context.wrap_socket(accepted, server_side=True)
        except (OSError, ssl.SSLError):
            return
        Connection(self, accepted).run()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")
def test_a_reference_is_followed_over_tls_with_the_name_of_its_host(parts, refusing, started):
    folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
    folder.chmod(0o755)
    authority = Authority(folder)
    authority.sign("server", "serverAuth")
    (folder / "server.key").chmod(0o644)
    tls = free_port()
    broker = Broker(settings=f"listener {tls} 127.0.0.1\ncertfile {folder}/server.crt\nkeyfile {folder}/server.key")
    parts.callback(broker.stop)
    Secured.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    Secured.context.load_cert_chain(folder / "server.crt", folder / "server.key")
    first = refusing(USE_ANOTHER_SERVER, f"localhost:{tls}", Secured)
    # The configured name is that of the first server; the certificate of the second is for its own.
    chain = (
        f"  tls_client0: {{ type: tls, kind: client, options: {{ trust: {folder}/ca.crt, sni: 127.0.0.1 }}, exit: tcp_client0 }}\n"
        f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: localhost, port: {first.port} }} }}\n"
    )
    config = plain("http", first.port, client="redirects: any").split("  tcp_client0:")[0]
    gateway = started(config.replace("exit: tcp_client0", "exit: tls_client0") + chain)
    gateway.line(r"^  mqtt_client0 +broker +.* connected$")
    assert outcome(gateway) == "acknowledged"
    broker.line(r"Received PUBLISH from tidegate-")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")
def test_a_broker_of_mqtt_3_1_1_that_drops_tls_connections_is_asked_in_3_1_1(parts, tmp_path, started):
    authority = Authority(tmp_path)
    authority.sign("server", "serverAuth")
    Secured.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    Secured.context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    def only_3_1_1(connection: Connection, received) -> bool:
        if received.kind == CONNECT:
            if received.body[6] == 5:
                # Without close_notify.
                connection.drop()
            else:
                connection.send(packet(CONNACK, b"\0\0"))
            return True
        if received.kind == PUBLISH:
            connection.send(packet(4, received.packet_id))
            return True
        return False

    broker = Secured(only_3_1_1)
    parts.callback(broker.stop)
    chain = (
        f"  tls_client0: {{ type: tls, kind: client, options: {{ trust: {tmp_path}/ca.crt }}, exit: tcp_client0 }}\n"
        f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: localhost, port: {broker.port} }} }}\n"
    )
    config = plain("http", broker.port).split("  tcp_client0:")[0]
    gateway = started(config.replace("exit: tcp_client0", "exit: tls_client0") + chain)
    gateway.line(r"^  mqtt_client0 +broker +.* connected$")
    gateway.line(r"is used with MQTT 3\.1\.1: it closed the connection or did not answer")
    assert outcome(gateway) == "acknowledged"


@pytest.mark.parametrize("reason", [SERVER_BUSY, 0x88, 0x97])
def test_a_busy_broker_is_left_for_the_next_endpoint(broker, refusing, started, reason):
    busy = refusing(reason)
    config = plain("http", busy.port, client="reconnect: { min: 10, max: 50 }").replace(
        f"host: 127.0.0.1, port: {busy.port}", f"endpoints: [ '127.0.0.1:{busy.port}', '127.0.0.1:{broker.port}' ]"
    )
    gateway = started(config)
    wait_until("a published message", lambda: outcome(gateway) == "acknowledged")
    broker.line(r"Received PUBLISH from tidegate-")


#: Valid packets in wrong states.
UNEXPECTED = {
    "a second CONNACK": packet(CONNACK, b"\0\0\0"),
    "PUBACK for nothing": packet(4, b"\0\x07"),
    "SUBACK for nothing": packet(9, b"\0\x07\0\0"),
    "UNSUBACK for nothing": packet(11, b"\0\x07\0\0"),
    "PINGRESP for nothing": packet(13),
    "AUTH": packet(15, b"\x18\x04\x15\0\x01m"),
    "CONNECT": packet(1, b"\0\x04MQTT\x05\x02\0\0\0\0\x01x"),
    "DISCONNECT of a client": packet(DISCONNECT, b"\x04\0"),
}


def test_a_broker_that_violates_the_protocol_is_told_so_and_harms_no_other(broker, parts, started):
    left: list[str] = list(UNEXPECTED)
    answers: dict[str, bytes] = {}

    def hostile(connection: Connection, received) -> bool:
        name = getattr(connection, "sent", None)
        if received.kind == DISCONNECT:
            answers[name] = received.body
        if received.kind == PUBLISH and name is None:
            connection.sent = left[connection.number % len(left)]
            connection.send(UNEXPECTED[connection.sent])
            return True
        return False

    liar = Lying(hostile)
    parts.callback(liar.stop)
    config = federated("http", {"plant": broker.port, "liar": liar.port}).replace("options: {  }, exit: tcp_client1", "options: { reconnect: { min: 10, max: 20 } }, exit: tcp_client1")
    gateway = started(config)

    def publish(toolkit: str) -> dict:
        body = request("tools/call", name=f"{toolkit}__publish", arguments={"topic": "t", "payload": "p", "qos": 1})
        headers = modern("tools/call", **{"mcp-name": f"{toolkit}__publish"})
        return httpx.post(gateway.url, json=body, headers=headers, timeout=20).json()

    def all_answered() -> bool:
        refused = publish("liar")
        assert refused["result"].get("isError", False), refused
        healthy = publish("plant")
        assert healthy["result"]["structuredContent"]["outcome"] == "acknowledged", healthy
        return set(answers) >= set(UNEXPECTED)

    wait_until("an answer to each packet", all_answered)
    assert all(answers[name][:1] == b"\x82" for name in UNEXPECTED), answers
