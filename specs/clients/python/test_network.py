"""Unix sockets, TLS and the status page, with curl, openssl and the official SDK."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from pathlib import Path

import httpx
import httpx2
import pytest
from conftest import TIDEGATE, Broker, Process, free_port, toolkit, wait_until
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")

REVISION = "2026-07-28"
META = {f"io.modelcontextprotocol/{key}": value for key, value in [("protocolVersion", REVISION), ("clientCapabilities", {})]}
LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}})
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": REVISION,
    "Mcp-Method": "tools/list",
}


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.openssl("req", "-x509", *KEY, "-days", "2", "-subj", "/CN=authority", *out("ca"))

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def sign(self, name: str, usage: str) -> None:
        """Writes NAME.crt and NAME.key."""
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={usage}\n")
        self.openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key.new", "-out", f"{name}.csr")
        self.openssl(
            *["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"],
            *["-days", "2", "-extfile", extensions.name, "-out", f"{name}.crt.new"],
        )
        for kind in ("crt", "key"):
            (self.folder / f"{name}.{kind}.new").rename(self.folder / f"{name}.{kind}")

    def context(self) -> ssl.SSLContext:
        """What a client with a certificate of this authority uses."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        context.load_cert_chain(self.folder / "agent.crt", self.folder / "agent.key")
        return context


KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def out(name: str) -> list[str]:
    return ["-keyout", f"{name}.key", "-out", f"{name}.crt"]


@pytest.fixture
def authority(tmp_path) -> Authority:
    authority = Authority(tmp_path)
    authority.sign("server", "serverAuth")
    authority.sign("agent", "clientAuth")
    return authority


@pytest.fixture
def started(parts, tmp_path):
    """Starts gateways with options of http · server, in the folder of the test."""

    def start(broker_port: int, options: str) -> Process:
        config = tmp_path / "gateway.yaml"
        config.write_text(
            "name: test\nworkers: 2\nbindings:\n"
            f"  http0: {{ type: http, kind: server, options: {{ {options} }}, exit: mcp_server0 }}\n"
            "  mcp_server0: { type: mcp, kind: server, exit: mcp_mqtt0 }\n" + toolkit(0, broker_port)
        )
        command = f"cd {tmp_path} && exec {TIDEGATE} start --config gateway.yaml"
        gateway = Process(["bash", "-c", command], env={"TIDEGATE_LOG": "info,tidegate::event=debug"})
        parts.callback(gateway.stop)
        gateway.line(r"listening ")
        return gateway

    return start


def curl(folder: Path, *arguments: str) -> str:
    headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    command = ["curl", "-sS", "--max-time", "20", *headers, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


MUTUAL = (
    "listen: 127.0.0.1:0, tls: { certificate: server.crt, key: server.key, "
    "clientCertificates: required, trust: ca.crt }"
)


def test_curl_uses_a_unix_socket_with_both_versions_of_http(broker, started, tmp_path):
    gateway = started(broker.port, "listen: unix:mcp.sock, status: /status")
    gateway.line(r"listening   unix:mcp\.sock \(path /mcp\)")
    for version in ("--http1.1", "--http2-prior-knowledge"):
        over = ["--unix-socket", "mcp.sock", version, "-w", " %{http_version}"]
        answer, used = curl(tmp_path, *over, "http://localhost/mcp", "-d", LIST).rsplit(" ", 1)
        assert json.loads(answer)["result"]["tools"]
        assert used == {"--http1.1": "1.1"}.get(version, "2")
    assert gateway.stop() == 0
    assert not (tmp_path / "mcp.sock").exists()


def test_a_killed_gateway_leaves_a_socket_that_the_next_one_replaces(broker, started, tmp_path):
    first = started(broker.port, "listen: unix:mcp.sock")
    first.child.kill()
    first.child.wait()
    assert (tmp_path / "mcp.sock").is_socket()
    second = started(broker.port, "listen: unix:mcp.sock")
    second.line("replacing a Unix socket that no process listens on")
    answer = curl(tmp_path, "--unix-socket", "mcp.sock", "http://localhost/mcp", "-d", LIST)
    assert json.loads(answer)["result"]["tools"]


async def test_the_sdk_calls_over_mutual_tls(broker, started, authority):
    gateway = started(broker.port, MUTUAL)
    url = gateway.line(r"https://\S+").group(0)
    async with httpx2.AsyncClient(verify=authority.context()) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            result = await client.call_tool("publish", {"topic": "a/b", "payload": "secure"})
            assert not result.is_error, result
    broker.line(r"Received PUBLISH from \S+ .*'a/b'")
    gateway.line(r"binding\.http\.request\.opened.* address=\"127\.0\.0\.1:\d+\" certified=true")
    with pytest.raises(httpx.TransportError):
        trusting = ssl.create_default_context(cafile=str(authority.folder / "ca.crt"))
        httpx.post(url, content=LIST, headers=HEADERS, verify=trusting)
    gateway.line(r"binding\.http\.tls\.handshake\.failed")
    plain = httpx.post(url.replace("https", "http"), content=LIST, headers=HEADERS)
    assert (plain.status_code, plain.text) == (400, "This port requires TLS; use https.")


def test_no_call_fails_while_the_certificate_is_replaced(broker, started, authority):
    gateway = started(broker.port, MUTUAL)
    url = gateway.line(r"https://\S+").group(0)
    stopping, failures, calls = threading.Event(), [], []

    def call() -> None:
        """One call on a kept connection and one on a new one, until the end."""
        context = authority.context()
        with httpx.Client(verify=context) as kept:
            while not stopping.is_set():
                for post in (kept.post, lambda *a, **k: httpx.post(*a, verify=context, **k)):
                    try:
                        answer = post(url, content=LIST, headers=HEADERS)
                        calls.append(answer.json()["result"]["tools"])
                    except Exception as error:
                        failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    authority.sign("server", "serverAuth")
    gateway.line(r"binding\.http\.tls\.reloaded")
    answered = len(calls)
    wait_until("calls after the reload", lambda: len(calls) > answered + 20)
    stopping.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    # A file that cannot be used is reported once, and the last good one stays.
    (authority.folder / "server.crt").write_text("no certificate")
    gateway.line(r"WARN .*certificates not reloaded, the previous ones stay in use: cannot use tls\.certificate")
    answer = httpx.post(url, content=LIST, headers=HEADERS, verify=authority.context())
    assert answer.json()["result"]["tools"]


def test_the_status_follows_an_outage_without_calls(parts, started):
    port = free_port()
    gateway = started(port, "listen: 127.0.0.1:0, status: /status")
    url = gateway.line(r"http://\S+").group(0).replace("/mcp", "/status")

    def status() -> dict:
        response = httpx.get(url)
        assert response.headers["cache-control"] == "no-store"
        return response.json()

    def expected(connected: bool) -> dict:
        brokers = [{"name": "mqtt_client0", "connected": connected}]
        return {"running": True, "mqtt_connected": connected, "brokers": brokers}

    assert status() == expected(False)
    for _ in range(2):
        broker = Broker(port)
        parts.callback(broker.stop)
        wait_until("the broker", lambda: status() == expected(True), 60)
        broker.stop()
        wait_until("the outage", lambda: status() == expected(False))
    assert gateway.stop() == 0


def test_a_network_address_without_authentication_is_refused(tmp_path):
    config = tmp_path / "gateway.yaml"
    open_to_all = "listen: 0.0.0.0:0"
    for options, code in [(open_to_all, 1), (f"{open_to_all}, unguarded: true", 0)]:
        config.write_text(
            "name: test\nbindings:\n"
            f"  http0: {{ type: http, kind: server, options: {{ {options} }}, exit: mcp_server0 }}\n"
            "  mcp_server0: { type: mcp, kind: server, exit: mcp_mqtt0 }\n"
            + toolkit(0, 1, 'subscribe: ["#"], publish: ["#"]')
        )
        done = subprocess.run([TIDEGATE, "validate", "--config", config], capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        if code:
            assert "no authentication on 0.0.0.0:0: anyone who can reach this address" in done.stderr
            assert "unguarded: true" in done.stderr
