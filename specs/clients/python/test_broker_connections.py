"""Brokers over TLS, WebSocket and Unix sockets, and several endpoints, with mosquitto."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest
from bridge import Bridge
from conftest import MOSQUITTO, PATIENCE, TIDEGATE, Broker, Gateway, Process, connected, entry, free_port, wait_until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from test_faults import call_publish
from test_network import KEY, Authority

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")

OPEN = 'subscribe: [ "#" ], publish: [ "#" ]'


def by_url(url: str, more: str = "", transport: str = "http") -> str:
    """A config whose broker is a URL."""
    return (
        "name: test\nworkers: 1\nbindings:\n"
        + entry(transport).replace("mcp0", "mcp_mqtt0")
        + f"  mcp_mqtt0: {{ type: mcp_mqtt, kind: proxy, options: {{ {OPEN} }}, exit: mqtt_client0 }}\n"
        + f'  mqtt_client0: {{ type: mqtt, kind: client, options: {{ url: "{url}", {more} }} }}\n'
    )


@pytest.fixture
def folder(parts) -> Path:
    """A folder that mosquitto may read: it drops root privileges before it reads certificates."""
    folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
    folder.chmod(0o755)
    return folder


@pytest.fixture
def authority(folder) -> Authority:
    authority = Authority(folder)
    authority.sign("server", "serverAuth")
    authority.sign("agent", "clientAuth")
    for key in folder.glob("*.key"):
        key.chmod(0o644)
    return authority


@pytest.fixture
def secured(parts, folder, authority):
    """Starts brokers with a port for the tests' own clients, and one with TLS (`broker.tls`)."""

    def start(settings: str = "", certificate: str = "server") -> Broker:
        tls = free_port()
        files = f"certfile {folder}/{certificate}.crt\nkeyfile {folder}/{certificate}.key"
        broker = Broker(settings=f"listener {tls} 127.0.0.1\n{files}\n{settings}")
        broker.tls = tls
        parts.callback(broker.stop)
        return broker

    return start


@pytest.fixture
def started(parts):
    def start(config: str, **options) -> Gateway:
        gateway = Gateway(config, **options)
        parts.callback(gateway.stop)
        return gateway

    return start


def state(gateway: Gateway) -> str:
    return gateway.line(r"^  mqtt_client0 +broker +(.*)$").group(1)


def succeeds(gateway: Gateway) -> bool:
    """Whether a call to publish is acknowledged."""
    answer = call_publish(gateway, qos=1).json()
    return "result" in answer and not answer["result"].get("isError", False)


async def everything_works(config: str, broker: Broker, parts) -> None:
    """Publishes at each QoS, a message of a megabyte too, and receives."""
    subscriber = broker.subscriber("up/#")
    parts.callback(subscriber.stop)
    async with connected("http", "2026-07-28", config) as client:
        for qos in (0, 1, 2):
            payload = "x" * 1_000_000 if qos == 1 else f"qos {qos}"
            result = await client.call_tool("publish", {"topic": f"up/{qos}", "payload": payload, "qos": qos})
            assert not result.is_error, result
            seen = subscriber.message(rf"^up/{qos}\|(?P<qos>\d)\|0\|(?P<payload>.*)$")
            assert (seen["qos"], seen["payload"]) == (str(qos), payload)
        arguments = {"topic": "down/+", "limit": 2, "timeout": 15000}
        call = asyncio.create_task(client.call_tool("receive", arguments))
        await asyncio.to_thread(broker.line, r"down/\+ \(QoS 1\)")
        large = json.dumps({"value": "y" * 300_000})
        for payload in ("small", large):
            await asyncio.to_thread(broker.publish, "down/a", payload, "-q", "1")
        result = await asyncio.wait_for(call, PATIENCE)
    assert [it["payload"] for it in result.structured_content["messages"]] == ["small", large]


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
async def test_everything_works_over_tls(secured, folder, parts, version):
    broker = secured(f"tls_version {version}")
    config = by_url(f"mqtts://localhost:{broker.tls}", f"tls: {{ trust: {folder}/ca.crt }}")
    await everything_works(config, broker, parts)


async def test_everything_works_over_mutual_tls(secured, folder, parts):
    broker = secured(f"cafile {folder}/ca.crt\nrequire_certificate true\nuse_identity_as_username true")
    tls = f"tls: {{ trust: [ {folder}/ca.crt ], certificate: {folder}/agent.crt, key: {folder}/agent.key }}"
    await everything_works(by_url(f"mqtts://127.0.0.1:{broker.tls}", tls), broker, parts)
    broker.line(r"as tidegate-\w+ \(p5, c1, k30, u'agent'\)")


def test_a_broker_that_requires_a_certificate_is_reported(secured, folder, started):
    for version in ("tlsv1.2", "tlsv1.3"):
        broker = secured(f"cafile {folder}/ca.crt\nrequire_certificate true\ntls_version {version}")
        gateway = started(by_url(f"mqtts://localhost:{broker.tls}", f"tls: {{ trust: {folder}/ca.crt }}"))
        told = state(gateway)
        refused = f"NOT connected: The broker localhost:{broker.tls} cannot be reached: no TLS connection: it "
        assert told.startswith(refused) and told.endswith("set 'certificate' and 'key' of tls · client."), told


def test_a_certificate_that_cannot_be_verified_is_reported(secured, folder, authority, started):
    other = folder / "other"
    other.mkdir()
    Authority(other)
    # Renamed, so that it is not one that has the name of the right authority.
    Authority.openssl(
        authority, "req", "-x509", *KEY, "-days", "2", "-subj", "/CN=stranger",
        "-keyout", "stranger.key", "-out", "stranger.crt",
    )
    broker = secured()
    localhost = f"mqtts://localhost:{broker.tls}"
    for url, trust, expected in [
        (localhost, "", "not signed by an authority that the system trusts; set 'trust'"),
        (localhost, f"tls: {{ trust: {folder}/stranger.crt }}", "not signed by an authority in 'trust'"),
        (localhost, f"tls: {{ trust: {other}/ca.crt }}", "names a trusted authority that did not sign it"),
        (localhost, f"tls: {{ trust: {folder}/ca.crt, sni: plant.example }}", "its certificate is for localhost, 127.0.0.1, not for plant.example"),
    ]:
        gateway = started(by_url(url, trust))
        told = state(gateway)
        assert told.startswith("NOT connected: ") and expected in told, told
        assert gateway.stop() == 0


def test_an_expired_certificate_is_reported(secured, folder, authority, started):
    pem = serialization.Encoding.PEM
    issuer = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    key = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now - datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    (folder / "expired.crt").write_bytes(certificate.public_bytes(pem))
    shutil.copy(folder / "server.key", folder / "expired.key")
    (folder / "expired.key").chmod(0o644)
    broker = secured(certificate="expired")
    gateway = started(by_url(f"mqtts://localhost:{broker.tls}", f"tls: {{ trust: {folder}/ca.crt }}"))
    told = state(gateway)
    assert "its certificate expired at 2" in told and "; renew the certificate" in told, told


def test_a_port_without_tls_is_reported(broker, started):
    gateway = started(by_url(f"mqtts://localhost:{broker.port}"))
    assert "check that the port expects TLS" in state(gateway)


def test_renewed_files_are_used_for_the_next_connection(secured, folder, authority, started):
    authority.openssl("req", "-x509", *KEY, "-days", "2", "-subj", "/CN=old", "-keyout", "old.key", "-out", "trust.crt")
    broker = secured()
    gateway = started(by_url(f"mqtts://localhost:{broker.tls}", f"tls: {{ trust: {folder}/trust.crt }}"))
    assert "not signed by an authority in 'trust'" in state(gateway)
    (folder / "trust.crt").write_text("no certificate")
    gateway.line(r"WARN .*certificates not reloaded, the previous ones stay in use: cannot use trust ")
    shutil.copy(folder / "ca.crt", folder / "trust.crt")
    gateway.line(r"binding\.tls\.reloaded")

    wait_until("a connection with the new authority", lambda: succeeds(gateway))


def test_a_broker_that_is_killed_is_reached_again_over_tls(secured, folder, started):
    broker = secured()
    gateway = started(by_url(f"mqtts://localhost:{broker.tls}", f"tls: {{ trust: {folder}/ca.crt }}, reconnect: {{ min: 50, max: 200 }}"))
    gateway.probed()
    wait_until("a published message", lambda: succeeds(gateway))
    broker.child.kill()
    gateway.line(r"broker connection failed|binding\.mqtt\.connection\.lost")
    assert not succeeds(gateway)
    again = Process([MOSQUITTO, "-c", str(Path(broker.folder, "mosquitto.conf"))])
    try:
        wait_until("a published message", lambda: succeeds(gateway))
        again.line(r"Received PUBLISH from tidegate-")
    finally:
        again.stop()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_everything_works_over_websocket(broker, folder, authority, parts, scheme):
    context = None
    if scheme == "wss":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
    bridge = Bridge(broker.port, context)
    parts.callback(bridge.stop)
    tls = f"tls: {{ trust: {folder}/ca.crt }}" if scheme == "wss" else ""
    await everything_works(by_url(f"{scheme}://localhost:{bridge.port}/mqtt", tls), broker, parts)
    # The message of a megabyte was cut.
    assert max(bridge.frames) == 65_536


def test_a_websocket_listener_that_refuses_is_reported(broker, parts, started):
    bridge = Bridge(broker.port, credentials="Basic Z2F0ZTp3b3Jk")
    parts.callback(bridge.stop)
    at = f"ws://localhost:{bridge.port}"
    for url, more, expected in [
        (f"{at}/other", "", "HTTP status 404; check 'path' of ws · client"),
        (f"{at}/mqtt", "", "HTTP status 401; check the credentials in 'headers'"),
        (f"{at}/mqtt", "ws: { headers: { authorization: Basic Z2F0ZTp3b3Jk } }", "connected"),
        (f"{at}/mqtt", "ws: { headers: { authorization: Basic Z2F0ZTp3b3Jk }, subprotocol: other }", "HTTP status 400"),
        (f"ws://localhost:{broker.port}/mqtt", "", "check that the port is a WebSocket listener"),
    ]:
        gateway = started(by_url(url, more))
        told = state(gateway)
        assert expected in told, told
        assert gateway.stop() == 0
        assert "Z2F0ZTp3b3Jk" not in gateway.text()


async def test_everything_works_over_a_unix_socket(parts, folder):
    folder.chmod(0o777)
    path = folder / "mqtt.sock"
    broker = Broker(settings=f"listener 0 {path}")
    parts.callback(broker.stop)
    wait_until("the socket", path.exists)
    if os.getuid() == 0:
        path.chmod(0o777)
    await everything_works(by_url(f"unix:{path}"), broker, parts)


def endpoints(*ports: int) -> str:
    places = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    return (
        "name: test\nworkers: 1\nbindings:\n"
        + entry("http").replace("mcp0", "mcp_mqtt0")
        + f"  mcp_mqtt0: {{ type: mcp_mqtt, kind: proxy, options: {{ {OPEN} }}, exit: mqtt_client0 }}\n"
        + "  mqtt_client0: { type: mqtt, kind: client, options: { reconnect: { min: 50, max: 200 } }, exit: tcp_client0 }\n"
        + f"  tcp_client0: {{ type: tcp, kind: client, options: {{ endpoints: [ {places} ], returnAfter: 0 }} }}\n"
    )


def test_calls_go_to_the_next_endpoint_and_return(parts, started):
    first, second = Broker(), Broker()
    parts.callback(second.stop)
    gateway = started(endpoints(first.port, second.port))

    def published(broker: Broker) -> None:
        """A call is answered by this broker."""
        wait_until("a published message", lambda: succeeds(gateway))
        broker.line(r"Received PUBLISH from tidegate-")

    published(first)
    first.stop()
    published(second)
    back = Broker(port=first.port)
    parts.callback(back.stop)
    # Its connection to the second broker stays, until that is lost.
    second.stop()
    published(back)


def test_a_config_with_a_url_is_written_out(tmp_path):
    config = tmp_path / "gateway.yaml"
    config.write_text(by_url("wss://gate:word@broker.example/mqtt", "tls: { trust: ca.crt }"))
    command = [str(TIDEGATE), "validate", "--config", str(config), "--expanded"]
    written = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "word" not in written.replace("PASSWORD", "").replace("password", "")
    again = tmp_path / "again.yaml"
    again.write_text(written)
    command[3:] = [str(again)]
    valid = subprocess.run(command, env={**os.environ, "MQTT_PASSWORD": "word"}, check=True, capture_output=True, text=True)
    assert valid.stdout == f"{again} is valid: 7 bindings\n"
