"""Clients that do not read, or send incomplete requests: limits, and effects on other clients."""

import json
import socket

import httpx
from conftest import PATIENCE, Gateway, plain
from test_faults import call_publish, modern, request


def gateway_with(broker, parts, options: str) -> Gateway:
    """A gateway of one worker with these options of its `http · server`."""
    config = plain("http", broker.port)
    config = config.replace("name: test", "name: test\nworkers: 1\nshutdownTimeout: 60000")
    gateway = Gateway(config.replace("listen: 127.0.0.1:0", f"listen: 127.0.0.1:0, {options}"))
    parts.callback(gateway.stop)
    return gateway


def connect(gateway: Gateway) -> socket.socket:
    url = httpx.URL(gateway.url)
    connection = socket.create_connection((url.host, url.port))
    connection.settimeout(PATIENCE)
    return connection


def message(method: str, body: bytes) -> bytes:
    headers = {"host": "localhost", "content-length": str(len(body)), **modern(method)}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body


def test_clients_with_pipelined_lists_that_never_read_lose_their_places(broker, parts):
    gateway = gateway_with(broker, parts, "maxConnections: 2, writeTimeout: 500")
    lists = message("tools/list", json.dumps(request("tools/list")).encode()) * 200
    deaf = [connect(gateway) for _ in range(2)]
    for connection in deaf:
        connection.settimeout(0.3)
        try:
            while True:
                connection.sendall(lists)
        except TimeoutError:
            pass
    assert call_publish(gateway, qos=1).json()["result"]["content"] == []
    for connection in deaf:
        connection.close()


def test_half_a_body_does_not_hold_a_stop(broker, parts):
    gateway = gateway_with(broker, parts, "bodyTimeout: 60000")
    body = json.dumps(request("tools/list")).encode()
    half = connect(gateway)
    half.sendall(message("tools/list", body)[:-10])
    assert call_publish(gateway, qos=1).json()["result"]["content"] == []
    gateway.child.terminate()
    answer = half.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 503") and "The gateway is stopping" in answer
    # A second signal would stop it immediately.
    assert gateway.child.wait(PATIENCE) == 0, gateway.text()
    half.close()
