"""Hostile bodies and sessions, and requests during a stop, over real sockets."""

import json
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from conftest import PATIENCE, Broker, Gateway, plain
from test_faults import HEADERS, modern, request

MIB = 1024 * 1024


@pytest.fixture
def gateway(broker, parts) -> Gateway:
    gateway = Gateway(plain("http", broker.port))
    parts.callback(gateway.stop)
    return gateway


def peak_mib(gateway: Gateway) -> float:
    status = Path(f"/proc/{gateway.child.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def session(gateway: Gateway, version: str = "2025-11-25") -> str:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    return httpx.post(gateway.url, json=body, headers=HEADERS).headers["mcp-session-id"]


def test_a_body_of_many_values_takes_no_more_than_its_size_asks_for(gateway):
    size = 4 * MIB - 1_000
    ones = "1," * (size // 2) + "1"
    call = json.dumps(request("tools/call", name="publish", arguments={"a": "ones"})).replace('"ones"', f"[{ones}]")
    batching = session(gateway, "2025-03-26")
    bodies = [
        (f"[{ones}]", modern("tools/call"), 400),
        (f"[{ones}]", {**HEADERS, "mcp-session-id": batching}, 400),
        (call, modern("tools/call", **{"mcp-name": "publish"}), 200),
    ]
    before = peak_mib(gateway)

    def post(number: int) -> tuple[int, int]:
        body, headers, expected = bodies[number % len(bodies)]
        return httpx.post(gateway.url, content=body, headers=headers, timeout=PATIENCE).status_code, expected

    at_a_time = 8
    with ThreadPoolExecutor(at_a_time) as pool:
        statuses = list(pool.map(post, range(3 * at_a_time)))
    assert all(status == expected for status, expected in statuses), statuses
    # Four times their total size, if all are held at the same time.
    assert peak_mib(gateway) - before <= at_a_time * 4 * 4


def test_subscriptions_are_bounded_in_bytes(gateway):
    def subscribe(session: str, number: int) -> httpx.Response:
        uri = f"mqtt://{number:05}/" + "x" * 4_000
        body = {"jsonrpc": "2.0", "id": number, "method": "resources/subscribe", "params": {"uri": uri}}
        return httpx.post(gateway.url, json=body, headers={**HEADERS, "mcp-session-id": session})

    before = peak_mib(gateway)
    for _ in range(4):
        one = session(gateway)
        answers = [subscribe(one, number) for number in range(70)]
        refused = [answer for answer in answers if answer.status_code == 503]
        # 65 URIs of 4,013 bytes are within 256 KiB.
        assert len(refused) == 5
        assert "maxSessionBytes" in refused[0].json()["error"]["message"]
    assert peak_mib(gateway) - before < 32


def half(gateway: Gateway, body: bytes, headers: dict[str, str]) -> socket.socket:
    """Sends a request except for its last byte."""
    url = urlsplit(gateway.url)
    connection = socket.create_connection((url.hostname, url.port), PATIENCE)
    lines = [f"POST {url.path} HTTP/1.1", f"host: {url.netloc}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body[:-1])
    return connection


def finished(connection: socket.socket, body: bytes) -> tuple[int, dict]:
    """Sends the last byte and reads the response."""
    connection.sendall(body[-1:])
    with connection.makefile("rb") as file:
        text = file.read()
    head, content = text.split(b"\r\n\r\n", 1)
    return int(head.split()[1]), json.loads(content)


def test_a_client_of_a_session_is_told_that_the_gateway_stops(broker: Broker, parts):
    gateway = Gateway("workers: 2\n" + plain("http", broker.port))
    parts.callback(gateway.stop)
    # Sessions of both workers; the kernel chooses the worker of a connection.
    by_worker: dict[str, str] = {}
    while len(by_worker) < 2:
        one = session(gateway)
        by_worker.setdefault(one.split(".")[0], one)
    # A call is in progress when the stop begins; from then on, partly received requests count too.
    waits = request("tools/call", name="receive", arguments={"topic": "end", "limit": 1, "timeout": 60_000})
    with ThreadPoolExecutor(1) as pool:
        headers = modern("tools/call", **{"mcp-name": "receive"})
        waiting = pool.submit(httpx.post, gateway.url, json=waits, headers=headers, timeout=PATIENCE)
        broker.line(r"Sending SUBACK")
        ping = json.dumps({"jsonrpc": "2.0", "id": "late", "method": "ping"}).encode()
        late = [half(gateway, ping, {**HEADERS, "mcp-session-id": one}) for one in by_worker.values() for _ in range(6)]
        gateway.child.send_signal(signal.SIGTERM)
        gateway.line(r"stopping")
        for connection in late:
            status, answer = finished(connection, ping)
            assert status == 503, answer
            assert answer["id"] == "late"
            assert answer["error"]["message"] == "The gateway is stopping; retry later."
        assert waiting.result().json()["result"]["structuredContent"]["messages"] == []
