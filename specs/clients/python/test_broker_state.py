"""Broker states at the start, logged outages, and the warning about plain-text passwords."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import Broker, Gateway, free_port, plain
from lying import Lying
from packets import CONNECT
from test_faults import call_publish

CHECK = "check that the port is an MQTT port without TLS"


@pytest.fixture
def started(parts):
    """Starts gateways with one worker and stops them."""

    def start(config: str) -> Gateway:
        gateway = Gateway("workers: 1\n" + config)
        parts.callback(gateway.stop)
        return gateway

    return start


def state(gateway: Gateway) -> str:
    return gateway.line(r"^  mqtt_client0 +broker +(.*)$").group(1)


def test_a_broker_that_accepts_is_connected(broker, started):
    gateway = started(plain("http", broker.port))
    assert state(gateway) == f"127.0.0.1:{broker.port} connected"
    broker.line(r"Received DISCONNECT from tidegate-")
    assert "binding.mqtt" not in gateway.text()


def test_a_wrong_password_is_reported_at_the_start(parts, started):
    broker = Broker(password=("gate", "right"))
    parts.callback(broker.stop)
    gateway = started(plain("http", broker.port, client="username: gate, password: wrong"))
    refused = f"The broker 127.0.0.1:{broker.port} refused the connection: Not authorized (0x87)."
    assert state(gateway) == f"NOT connected: {refused}"
    gateway.line(r"WARN .*binding\.mqtt\.connection\.lost")
    right = started(plain("http", broker.port, client="username: gate, password: right"))
    assert state(right) == f"127.0.0.1:{broker.port} connected"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_tls_port_is_reported_at_the_start(parts, started):
    # mosquitto drops root privileges before it reads them.
    folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
    folder.chmod(0o755)
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    key.chmod(0o644)
    broker = Broker(settings=f"certfile {certificate}\nkeyfile {key}")
    parts.callback(broker.stop)
    told = state(started(plain("http", broker.port)))
    assert told.startswith(f"NOT connected: The broker 127.0.0.1:{broker.port} "), told
    assert CHECK in told or "answered with TLS" in told


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (bytes.fromhex("15030300020246"), "answered with TLS; use a tls · client"),
        (bytes.fromhex("20020001"), "answered in MQTT 3.1.1 to CONNECT of MQTT 5"),
        (bytes.fromhex("20020000"), "answered in MQTT 3.1.1 to CONNECT of MQTT 5"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answered with HTTP"),
        (b"", CHECK),
    ],
    ids=["TLS alert", "3.1.1 refuses", "3.1.1 accepts", "HTTP", "closed at once"],
)
def test_a_server_without_mqtt_5_is_reported(parts, started, answer, told):
    def reply(connection, received):
        if received.kind == CONNECT:
            connection.send(answer)
            connection.drop()
        return True

    broker = Lying(reply)
    parts.callback(broker.stop)
    assert told in state(started(plain("http", broker.port, client="version: 5")))


def test_a_silent_broker_is_reported_at_the_start(parts, started):
    broker = Lying(lambda connection, received: True)
    parts.callback(broker.stop)
    told = state(started(plain("http", broker.port, client="connectTimeout: 200")))
    assert f"did not answer CONNECT within 200 ms; {CHECK}" in told


def test_an_outage_is_logged_when_it_begins_and_ends(parts, started):
    port = free_port()
    gateway = started(plain("http", port, client="reconnect: { min: 1, max: 1 }"))
    assert "connection refused" in state(gateway)
    for _ in range(50):
        assert "connection refused" in call_publish(gateway).text
    broker = Broker(port=port)
    parts.callback(broker.stop)
    while "connection refused" in call_publish(gateway).text:
        pass
    gateway.line(rf"INFO .*broker 127\.0\.0\.1:{port} connected again after")
    told = [line for line in gateway.lines if "binding.mqtt." in line]
    assert len(told) == 2, gateway.text()
    assert "binding.mqtt.connection.lost" in told[0] and "WARN" in told[0]
    assert "binding.mqtt.connection.restored" in told[1]


def test_a_password_that_crosses_a_network_as_plain_text_is_warned_of(started):
    config = plain("http", 1883, client="username: gate, password: secret, connectTimeout: 1")
    gateway = started(config.replace("host: 127.0.0.1", "host: broker.invalid"))
    gateway.line(r"WARN .*mqtt_client0: the password is sent to broker\.invalid:1883 in plain text")
    assert "NOT connected" in state(gateway)
    assert "secret" not in gateway.text()


def test_a_password_file_is_read_for_each_connection(parts, started, tmp_path):
    broker = Broker(password=("gate", "second-token"))
    parts.callback(broker.stop)
    token = tmp_path / "token"
    token.write_text("first-token\n")
    client = f"username: gate, password: {{ file: {token} }}, reconnect: {{ min: 1, max: 1 }}"
    gateway = started(plain("http", broker.port, client=client))
    assert "Not authorized (0x87)" in state(gateway)
    token.write_text("second-token\n")
    while "Not authorized" in call_publish(gateway).text:
        pass
    assert '"outcome":"sent"' in call_publish(gateway).text
    assert "-token" not in gateway.text().replace(str(token), "")
