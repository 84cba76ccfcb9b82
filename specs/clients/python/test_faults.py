"""Errors: invalid HTTP, brokers that reject, disconnect or are unreachable."""

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from conftest import Broker, Gateway, connected, free_port, plain, wait_until

HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def modern(method: str, **extra: str) -> dict:
    return {**HEADERS, "mcp-protocol-version": "2026-07-28", "mcp-method": method, **extra}


def request(method: str, id=1, **params) -> dict:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}}


@pytest.fixture
def gateway(broker, parts) -> Gateway:
    gateway = Gateway(plain("http", broker.port))
    parts.callback(gateway.stop)
    return gateway


def call_publish(gateway: Gateway, tool: str = "publish", **arguments) -> httpx.Response:
    body = request("tools/call", name=tool, arguments={"topic": "t", "payload": "p", **arguments})
    return httpx.post(gateway.url, json=body, headers=modern("tools/call", **{"mcp-name": tool}))


def test_a_body_that_is_no_json(gateway):
    answer = httpx.post(gateway.url, content=b"{nonsense", headers=HEADERS)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == -32700
    assert answer.json()["id"] is None


def test_a_batch(gateway):
    answer = httpx.post(gateway.url, json=[request("ping")], headers=modern("ping"))
    assert answer.status_code == 400 and answer.json()["error"]["code"] == -32600


def test_an_unknown_method(gateway):
    answer = httpx.post(gateway.url, json=request("tools/dance"), headers=modern("tools/dance"))
    assert answer.status_code == 404 and answer.json()["error"]["code"] == -32601


def test_an_unknown_tool(gateway):
    body = request("tools/call", name="dance", arguments={})
    answer = httpx.post(gateway.url, json=body, headers=modern("tools/call", **{"mcp-name": "dance"}))
    assert answer.json()["error"]["code"] == -32602


@pytest.mark.parametrize("id", [0, 7, "seven", "with \"quotes\" and ü"])
def test_an_id_of_any_legal_kind_comes_back(gateway, id):
    answer = httpx.post(gateway.url, json=request("tools/list", id=id), headers=modern("tools/list"))
    assert answer.status_code == 200 and answer.json()["id"] == id


def test_members_in_any_order(gateway):
    message = request("tools/list")
    body = json.dumps({key: message[key] for key in ["params", "id", "method", "jsonrpc"]})
    answer = httpx.post(gateway.url, content=body, headers=modern("tools/list"))
    assert "tools" in answer.json()["result"]


def test_another_site_is_refused(gateway):
    headers = {**modern("tools/list"), "origin": "https://evil.example"}
    assert httpx.post(gateway.url, json=request("tools/list"), headers=headers).status_code == 403


def test_a_body_over_the_limit(gateway):
    body = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"' + b"a" * (5 << 20) + b'"}}'
    assert httpx.post(gateway.url, content=body, headers=HEADERS).status_code == 413


def test_a_body_that_never_ends_keeps_nobody_else_waiting(gateway):
    host, port = httpx.URL(gateway.url).host, httpx.URL(gateway.url).port
    slow = [socket.create_connection((host, port)) for _ in range(20)]
    for connection in slow:
        connection.sendall(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n")
        connection.sendall(b"content-type: application/json\r\n\r\n{\"jsonrpc\":")
    assert call_publish(gateway, qos=1).json()["result"]["content"] == []
    for connection in slow:
        connection.close()


def test_a_client_that_never_reads_keeps_nobody_else_waiting(gateway, broker):
    broker.publish("big", b"x" * 200_000, "-r", "-q", "1")
    host, port = httpx.URL(gateway.url).host, httpx.URL(gateway.url).port
    body = json.dumps(request("resources/read", uri="mqtt://big")).encode()
    head = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\n" + b"".join(
        f"{name}: {value}\r\n".encode()
        for name, value in modern("resources/read", **{"mcp-name": "mqtt://big"}).items()
    )
    message = head + f"content-length: {len(body)}\r\n\r\n".encode() + body
    before = gateway.resident_kib()
    deaf = socket.create_connection((host, port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.settimeout(0.5)
    try:
        for _ in range(400):
            deaf.sendall(message)
    except TimeoutError:
        pass
    assert call_publish(gateway, qos=1).json()["result"]["content"] == []
    assert gateway.resident_kib() < before + 64 * 1024
    deaf.close()


def test_a_broker_that_is_not_there_is_named(parts):
    port = free_port()
    gateway = Gateway(plain("http", port))
    parts.callback(gateway.stop)
    result = call_publish(gateway, qos=1).json()["result"]
    assert result["isError"] and f"127.0.0.1:{port}" in result["content"][0]["text"]
    body = request("resources/read", uri="mqtt://t")
    headers = modern("resources/read", **{"mcp-name": "mqtt://t"})
    error = httpx.post(gateway.url, json=body, headers=headers).json()["error"]
    assert f"127.0.0.1:{port}" in error["message"] and "No message received" not in error["message"]


def test_a_broker_that_refuses_the_password_says_so(parts):
    broker = Broker(password=("tidegate", "right"))
    parts.callback(broker.stop)
    gateway = Gateway(plain("http", broker.port, client="username: tidegate, password: wrong"))
    parts.callback(gateway.stop)
    text = call_publish(gateway, qos=1).json()["result"]["content"][0]["text"]
    assert f"127.0.0.1:{broker.port}" in text and "ot authorized" in text


def test_the_right_password_opens_the_broker(parts):
    broker = Broker(password=("tidegate", "right"))
    parts.callback(broker.stop)
    config = plain("http", broker.port, client="username: tidegate, password: '${{env.PASSWORD}}'")
    gateway = Gateway(config, env={"PASSWORD": "right"})
    parts.callback(gateway.stop)
    assert call_publish(gateway, qos=2).json()["result"]["content"] == []


class Dropper:
    """A broker that closes the connection at the first PUBLISH."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.recv(4096)
            connection.sendall(bytes([0x20, 3, 0, 0, 0]))
            connection.recv(4096)
            connection.close()


def test_a_connection_lost_in_the_middle_of_a_call_says_that_it_may_have_been_delivered(parts):
    broker = Dropper()
    parts.callback(broker.listener.close)
    gateway = Gateway(plain("http", broker.port))
    parts.callback(gateway.stop)
    result = call_publish(gateway, qos=1).json()["result"]
    text = result["content"][0]["text"]
    assert result["isError"] and f"127.0.0.1:{broker.port}" in text and "may have" in text


async def test_a_subscription_survives_a_restart_of_its_broker(parts):
    port = free_port()
    broker = Broker(port)
    async with connected("http", "2026-07-28", plain("http", port)) as client:
        async with client.listen(resource_subscriptions=["mqtt://t"]) as subscription:
            updates = aiter(subscription)
            broker.stop()
            broker = Broker(port)
            parts.callback(broker.stop)
            await asyncio.to_thread(broker.line, r"t \(QoS")
            await asyncio.to_thread(broker.publish, "t", "1", "-q", "1")
            assert str((await asyncio.wait_for(anext(updates), 20)).uri) == "mqtt://t"


def test_a_line_of_100_megabytes_on_stdio(broker, tmp_path):
    import subprocess

    from conftest import TIDEGATE

    config = tmp_path / "stdio.yaml"
    config.write_text(plain("stdio", broker.port))
    child = subprocess.Popen(
        [str(TIDEGATE), "start", "--config", str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(100):
        child.stdin.write(b"x" * (1 << 20))
    child.stdin.write(b"\n" + json.dumps(request("tools/list", id="after")).encode() + b"\n")
    child.stdin.flush()
    first, second = json.loads(child.stdout.readline()), json.loads(child.stdout.readline())
    assert first["error"]["code"] == -32600 and first["id"] is None
    assert second["id"] == "after" and "tools" in second["result"]
    with open(f"/proc/{child.pid}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 100 * 1024, "the line was not buffered"
    child.stdin.close()
    assert child.wait(20) == 0
    assert child.stdout.read() == b"", "nothing but messages on standard output"


def test_a_stop_ends_in_order(gateway):
    with httpx.stream(
        "POST",
        gateway.url,
        json=request("subscriptions/listen", notifications={"resourceSubscriptions": ["mqtt://t"]}),
        headers=modern("subscriptions/listen"),
        timeout=20,
    ) as answer:
        lines = answer.iter_lines()
        acknowledged = next(line for line in lines if line.startswith("data:"))
        assert "acknowledged" in acknowledged
        gateway.child.terminate()
        end = next(line for line in lines if line.startswith("data:"))
        assert json.loads(end.removeprefix("data:"))["id"] == 1
    assert gateway.child.wait(20) == 0, gateway.text()


def test_a_stop_answers_what_is_under_way(gateway, broker):
    arguments = {"topic": "late/#", "limit": 2, "timeout": 8000}
    call = request("tools/call", name="receive", arguments=arguments)
    with ThreadPoolExecutor() as threads:
        headers = modern("tools/call", **{"mcp-name": "receive"})
        answer = threads.submit(httpx.post, gateway.url, json=call, headers=headers, timeout=20)
        broker.line(r"Sending SUBACK to (?!sub-)")
        broker.publish("late/news", "in time", "-q", "1")
        broker.line(r"Received PUBACK from (?!sub-)")
        gateway.child.terminate()
        result = answer.result().json()["result"]
        assert [message["payload"] for message in result["structuredContent"]["messages"]] == ["in time"]
    assert gateway.child.wait(20) == 0, gateway.text()


def test_a_port_that_is_taken_and_a_config_that_is_wrong(gateway, broker, tmp_path):
    import subprocess

    from conftest import TIDEGATE

    port = httpx.URL(gateway.url).port
    taken = tmp_path / "taken.yaml"
    taken.write_text(plain("http", broker.port).replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    ended = subprocess.run([TIDEGATE, "start", "--config", taken], capture_output=True, text=True, timeout=20)
    assert ended.returncode != 0 and f"127.0.0.1:{port}" in ended.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(plain("http", broker.port).replace("exit: mqtt_client0", "exit: nowhere").replace("listen", "lisen"))
    ended = subprocess.run([TIDEGATE, "validate", "--config", wrong], capture_output=True, text=True, timeout=20)
    assert ended.returncode != 0
    assert "wrong.yaml:3:" in ended.stderr and "listen" in ended.stderr
    assert "nowhere" in ended.stderr, "all faults at once"
