"""A legacy session of an authenticated client, with requests that arrive on both workers."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from conftest import Process, wait_until
from guarded import POLICY, apikey, url_of

REVISION = "2025-11-25"
TYPES = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
INITIALIZE = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
#: Connections that are opened until both workers have accepted one.
CONNECTIONS = 200


class Connections:
    """The kept connections of one client, by the worker that accepted them."""

    def __init__(self, gateway: Process, parts, key: str):
        self.gateway, self.parts, self.key = gateway, parts, key
        self.url = url_of(gateway)
        self.session: str | None = None
        self.of_worker: dict[int, httpx.Client] = {}

    def ask(self, client: httpx.Client, method: str, params: dict | None = None, verb: str = "POST") -> httpx.Response:
        """Sends a request of the session, if there is one."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        return client.request(verb, self.url, headers=self.headers(), content=json.dumps(body) if verb == "POST" else None)

    def headers(self) -> dict[str, str]:
        session = {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": REVISION} if self.session else {}
        return {**TYPES, **session, "X-API-Key": self.key}

    def open(self) -> httpx.Client:
        client = httpx.Client()
        self.parts.callback(client.close)
        return client

    def until_both_workers(self, status: int) -> None:
        """Opens connections until each worker has answered a request on one of them, with this status."""
        for _ in range(CONNECTIONS):
            before = len(self.workers())
            client = self.open()
            answer = self.ask(client, "tools/list")
            assert answer.status_code == status, answer.text
            wait_until("the event of the request", lambda count=before: len(self.workers()) > count)
            self.of_worker.setdefault(self.workers()[before], client)
            if len(self.of_worker) == 2:
                return
        pytest.fail(f"{CONNECTIONS} connections were accepted by one worker")

    def workers(self) -> list[int]:
        """The worker of each request so far: it is the one that has accepted its connection."""
        opened = [line for line in list(self.gateway.lines) if "binding.http.request.opened" in line]
        return [int(re.search(r"worker=(\d+)", line).group(1)) for line in opened]


@pytest.fixture
def gateway(started, broker, keys) -> Process:
    """A gateway with two workers that logs each request."""
    policy = POLICY.replace("GUARD", "staff")
    return started(apikey(keys), "authorization: { staff: {} }", broker.port, policy, more=("--log-level", "debug"))


def test_a_session_is_served_by_both_workers_to_its_owner_alone(gateway, broker, parts, keys):
    olga = Connections(gateway, parts, keys["olga"][0])
    begun = olga.ask(olga.open(), "initialize", INITIALIZE)
    olga.session = begun.headers["mcp-session-id"]
    olga.until_both_workers(200)
    vera = Connections(gateway, parts, keys["vera"][0])
    vera.session = olga.session
    vera.until_both_workers(404)
    for worker, client in olga.of_worker.items():
        publication = {"name": "publish", "arguments": {"topic": f"commands/{worker}", "payload": "on", "qos": 1}}
        answer = olga.ask(client, "tools/call", publication)
        assert not answer.json()["result"].get("isError"), answer.text
        broker.line(rf"Received PUBLISH from \S+ .*'commands/{worker}'")
    for client in vera.of_worker.values():
        for verb in ("POST", "GET", "DELETE"):
            answer = vera.ask(client, "tools/list", verb=verb)
            assert answer.status_code == 404, (verb, answer.text)
    # Nothing of that has ended the session.
    owner = int(olga.session.split(".")[0], 16)
    elsewhere = olga.of_worker[1 - owner]
    assert olga.ask(elsewhere, "ping").status_code == 200
    assert olga.ask(elsewhere, "", verb="DELETE").status_code == 200
    for client in olga.of_worker.values():
        assert olga.ask(client, "tools/list").status_code == 404


def test_an_event_stream_and_a_subscription_of_different_workers_belong_together(gateway, broker, parts, keys):
    for stream_worker in (0, 1):
        olga = Connections(gateway, parts, keys["olga"][0])
        begun = olga.ask(olga.open(), "initialize", INITIALIZE)
        olga.session = begun.headers["mcp-session-id"]
        olga.until_both_workers(200)
        stream = httpx.Request("GET", olga.url, headers=olga.headers())
        events = olga.of_worker[stream_worker].send(stream, stream=True)
        assert events.status_code == 200
        uri = "mqtt://status/lamp"
        other = olga.of_worker[1 - stream_worker]
        assert olga.ask(other, "resources/subscribe", {"uri": uri}).status_code == 200
        broker.publish("status/lamp", "on", "-q", "1")
        data = (line for line in events.iter_lines() if line.startswith("data:"))
        assert json.loads(next(data)[5:])["params"]["uri"] == uri
        assert olga.ask(other, "", verb="DELETE").status_code == 200
        assert not list(data), "the stream ends"
