"""Kills upstreams of a federation again and again while callers call all of them, and checks that no other toolkit notices.

`scripts/kills` runs it for 10,000 calls and ten kills. A failed call is excused only if its own upstream was dead
for a part of it: from a kill until the first call of that upstream that succeeds again.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from conftest import PATIENCE, Gateway, Process, entry, free_port, wait_until

PLAIN = Path(__file__).with_name("plain_upstream.py")
#: Upstreams over HTTP and as a process of the gateway, which are killed, and one of each kind that is not.
TOOLKITS = ("web", "child", "web-spared", "child-spared")
VICTIMS = ("web", "child")
VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class PlainUpstream(Process):
    """A `plain_upstream.py` over HTTP."""

    def __init__(self, name: str, port: int | None = None, delay: float = 0.0):
        self.port = port or free_port()
        self.name = name
        arguments = [str(self.port), "--name", name, "--delay", str(delay)]
        super().__init__([sys.executable, str(PLAIN), *arguments])
        self.line("listening")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


@dataclasses.dataclass
class Outage:
    """The time in which calls of a toolkit may fail."""

    toolkit: str
    since: float
    until: float = float("inf")


@dataclasses.dataclass
class Failed:
    toolkit: str
    since: float
    until: float
    why: str

    def is_excused(self, outages: list[Outage]) -> bool:
        of_it = (it for it in outages if it.toolkit == self.toolkit)
        return any(self.since <= it.until and it.since <= self.until for it in of_it)


class Caller:
    """A connection to the gateway."""

    def __init__(self, url: str):
        self.authority = url.removeprefix("http://").split("/")[0]
        self.connection = http.client.HTTPConnection(self.authority, timeout=PATIENCE)

    def call(self, tool: str, arguments: dict) -> str:
        """The text of the result; fails if there is none."""
        params = {"name": tool, "arguments": arguments, "_meta": META}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": VERSION,
            "mcp-method": "tools/call",
            "mcp-name": tool,
        }
        self.connection.request("POST", "/mcp", json.dumps(message), headers)
        answer = json.loads(self.connection.getresponse().read())
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer["result"]["content"][0]["text"]


class Run:
    """A federation, its callers, and what has happened."""

    def __init__(self, calls: int, kills: int, callers: int = 4):
        self.calls, self.kills, self.callers = calls, kills, callers
        self.numbers = itertools.count()
        self.done = 0
        self.answered = dict.fromkeys(TOOLKITS, 0)
        self.failed: list[Failed] = []
        self.outages: list[Outage] = []
        self.lock = threading.Lock()

    def play(self) -> None:
        self.web = {name: PlainUpstream(name) for name in TOOLKITS if name.startswith("web")}
        try:
            self.gateway = Gateway(config({name: it.url for name, it in self.web.items()}))
            try:
                self.drive()
            finally:
                code = self.gateway.stop()
            assert code == 0, self.gateway.text()
        finally:
            for upstream in self.web.values():
                upstream.stop()

    def drive(self) -> None:
        # The processes are started by their first calls.
        probe = Caller(self.gateway.url)
        for toolkit in TOOLKITS:
            assert probe.call(f"{toolkit}__echo", {"text": "a"}) == f"{toolkit}: a"
        threads = [threading.Thread(target=self.call_all, daemon=True) for _ in range(self.callers)]
        for thread in threads:
            thread.start()
        for kill in range(self.kills):
            due = self.calls * (kill + 1) // (self.kills + 1)
            wait_until(f"{due} calls", lambda due=due: self.done >= due, 60 * PATIENCE)
            self.kill(probe, VICTIMS[kill % len(VICTIMS)])
        for thread in threads:
            thread.join()

    def call_all(self) -> None:
        caller = Caller(self.gateway.url)
        while (number := next(self.numbers)) < self.calls:
            toolkit = TOOLKITS[number % len(TOOLKITS)]
            since = time.monotonic()
            try:
                text = caller.call(f"{toolkit}__echo", {"text": str(number)})
                failure = None if text == f"{toolkit}: {number}" else f"it answered {text!r}"
            except (RuntimeError, OSError, http.client.HTTPException) as error:
                failure = str(error)
                # What is left of the response must not be read as another one.
                caller = Caller(self.gateway.url)
            with self.lock:
                self.done += 1
                if failure is None:
                    self.answered[toolkit] += 1
                else:
                    self.failed.append(Failed(toolkit, since, time.monotonic(), failure))

    def kill(self, probe: Caller, toolkit: str) -> None:
        """Kills an upstream, and waits until its toolkit answers again."""
        pid = int(probe.call(f"{toolkit}__pid", {}))
        outage = Outage(toolkit, time.monotonic())
        self.outages.append(outage)
        os.kill(pid, signal.SIGKILL)
        if upstream := self.web.get(toolkit):
            upstream.child.wait()
            upstream.__init__(upstream.name, upstream.port)

        def is_back() -> bool:
            try:
                return int(probe.call(f"{toolkit}__pid", {})) != pid
            except RuntimeError:
                return False

        wait_until(f"the return of {toolkit}", is_back, 3 * PATIENCE)
        outage.until = time.monotonic()

    def unexcused(self) -> list[Failed]:
        return [it for it in self.failed if not it.is_excused(self.outages)]

    def check(self) -> None:
        assert self.unexcused() == [], self.unexcused()
        assert len(self.outages) == self.kills and self.done == self.calls
        assert all(self.answered.values()), self.answered

    def report(self) -> str:
        lines = [f"{self.done:,} calls, {len(self.outages)} kills"]
        for toolkit in TOOLKITS:
            failed = sum(it.toolkit == toolkit for it in self.failed)
            of_it = [it.until - it.since for it in self.outages if it.toolkit == toolkit]
            away = f", away for at most {max(of_it):.2f} s" if of_it else ""
            lines.append(f"  {toolkit:13} {self.answered[toolkit]:6,} answered, {failed} failed{away}")
        lines.append(f"{len(self.unexcused())} calls failed whose upstream was not killed")
        return "\n".join(lines)


def config(urls: dict[str, str]) -> str:
    """A federation of the upstreams."""
    text = "name: test\nworkers: 1\nbindings:\n" + entry("http").replace("mcp0", "mcp_proxy0")
    routes = ", ".join(f"{{ when: [ {{ toolkit: {name} }} ], exit: {name}0 }}" for name in TOOLKITS)
    text += f"  mcp_proxy0: {{ type: mcp, kind: proxy, routes: [ {routes} ] }}\n"
    for name in TOOLKITS:
        if url := urls.get(name):
            text += over_http(name, url)
        else:
            program = f"command: '{sys.executable}', stdio: {{ args: ['{PLAIN}', stdio, --name, {name}] }}"
            text += f"  {name}0: {{ type: mcp, kind: client, options: {{ {program} }} }}\n"
    return text


def over_http(name: str, url: str) -> str:
    """An `mcp · client` for a URL."""
    return f"  {name}0: {{ type: mcp, kind: client, options: {{ url: '{url}', http: {{ proxy: none }} }} }}\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description="Kills upstreams while their toolkits are called.")
    arguments.add_argument("--calls", type=int, default=10_000, help="number of calls (default: 10,000)")
    arguments.add_argument("--kills", type=int, default=10, help="number of kills (default: 10)")
    arguments.add_argument("--callers", type=int, default=4, help="callers at the same time (default: 4)")
    asked = arguments.parse_args()
    run = Run(asked.calls, asked.kills, asked.callers)
    run.play()
    print(run.report())
    run.check()


if __name__ == "__main__":
    main()
