"""Devices send numbered requests for a tool that must not run twice, while links are cut or the gateway is killed.

Each request must get an answer or an explicit failure in time, and each device its answers in order. While the gateway lives, the
tool runs at most once for each request: the tool server counts. A gateway that was killed does not know what it has executed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from conftest import TIDEGATE, Process
from fault_proxy import FaultProxy
from plain_upstream import Server, listener

from outage.broker import MortalBroker
from outage.plan import Progress, silent
from outage.publisher import Publisher

FAULTS = {"cut": "links to the broker and to the tools cut", "kill": "gateway killed"}
#: Requests of a device that have no answer yet.
WINDOW = 4
#: Time for a request, in seconds: the gateway's `timeout` and `remember`, and some more.
TIMEOUT, REMEMBER = 10, 60
IN_TIME = TIMEOUT + REMEMBER + 20


@dataclass(frozen=True)
class Plan:
    #: Number of requests.
    count: int
    fault: str = "cut"
    version: str = "5"
    seed: int = 1
    #: A fault is injected each time that a random number of requests between these was published.
    every: tuple[int, int] = (200, 400)
    devices: int = 20

    def __str__(self) -> str:
        return f"{FAULTS[self.fault]}, MQTT {self.version}, {self.devices} devices"


@dataclass
class Tally:
    plan: Plan
    strikes: int = 0
    published: int = 0
    #: What became of the requests, by outcome: of the first answer to each.
    outcomes: Counter = field(default_factory=Counter)
    repeated: int = 0
    slowest: float = 0.0
    #: Number of requests that were executed more than once.
    again: int = 0
    faults: list[str] = field(default_factory=list)

    def counts(self) -> str:
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return (
            f"{self.published:,} requests, {self.strikes} faults: {outcomes}; {self.repeated} answers repeated, "
            f"{self.again} requests executed again, slowest {self.slowest:.1f} s"
        )

    def violations(self) -> list[str]:
        return self.faults


class Tools(Server):
    """A tool server that counts how often it was asked for what. `with` serves it."""

    def __init__(self) -> None:
        super().__init__("tools", 0)
        self.executed: Counter = Counter()
        self._lock = threading.Lock()
        self._http = listener(self, 0)
        self.port = self._http.server_address[1]

    def outcome(self, method: str, params: dict) -> dict:
        if method == "tools/call" and params["name"] == "echo":
            with self._lock:
                self.executed[params["arguments"]["text"]] += 1
        return super().outcome(method, params)

    def __enter__(self) -> Tools:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._http.shutdown()
        self._http.server_close()


class Gateway(Process):
    def __init__(self, plan: Plan, broker: MortalBroker, port: int, tools: int) -> None:
        client = f'clientId: outage, version: "{plan.version}", reconnect: {{ min: 10, max: 200 }}'
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
            file.write(
                "name: outage\nbindings:\n  machines0:\n    type: mqtt_mcp\n    kind: proxy\n"
                f"    options: {{ perDevice: 1, timeout: {TIMEOUT * 1000}, remember: {REMEMBER * 1000} }}\n"
                "    exits: { mqtt: mqtt0, mcp: mcp0 }\n"
                '    routes: [ { when: [ { topic: "devices/{device}/call" } ], with: { tool: echo, '
                'arguments: { text: "{{ topic.device }}-{{ payload.id }}" }, answer: { topic: "devices/{device}/answer" } } } ]\n'
                f"  mqtt0: {{ type: mqtt, kind: client, options: {{ {client} }}, exit: tcp0 }}\n"
                f"  tcp0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}\n"
                f"  mcp0: {{ type: mcp, kind: client, options: {{ url: 'http://127.0.0.1:{tools}/mcp', http: {{ proxy: none }} }} }}\n"
            )
        self.path = file.name
        super().__init__([str(TIDEGATE), "start", "--config", self.path])
        broker.line("Sending SUBACK to outage_subscription")

    def replace(self) -> None:
        """Kills it and starts another one."""
        self.child.kill()
        self.child.wait()
        self._start()

    def stop(self) -> int:
        code = super().stop()
        os.unlink(self.path)
        return code


class Devices:
    """What devices have asked, and were told."""

    def __init__(self, tally: Tally, subscriber: Process) -> None:
        self._tally = tally
        self._subscriber = subscriber
        self._read = 0
        self._asked: dict[tuple[int, int], float] = {}
        self._last: Counter = Counter()
        self._answered: set[tuple[int, int]] = set()

    def asked(self, device: int, number: int) -> None:
        self._asked[device, number] = time.monotonic()

    @property
    def waiting(self) -> int:
        return len(self._asked)

    def waits(self, device: int) -> int:
        return sum(of == device for of, _ in self._asked)

    def read(self) -> None:
        """Takes the answers that have come."""
        lines = self._subscriber.lines[self._read :]
        self._read += len(lines)
        for line in lines:
            topic, _, _, payload = line.split("|", 3)
            self._told(int(topic.split("/")[1]), json.loads(payload))
        late = [key for key, since in self._asked.items() if time.monotonic() > since + IN_TIME]
        for key in late:
            self._tally.faults.append(f"request {key[1]} of device {key[0]} got no answer in {IN_TIME} s")
            del self._asked[key]

    def _told(self, device: int, answer: dict) -> None:
        tally, number = self._tally, answer["id"]
        if (device, number) in self._answered:
            tally.repeated += 1
            return
        since = self._asked.pop((device, number), None)
        if since is None:
            tally.faults.append(f"device {device} got an answer to {number}, which it has not asked or given up")
            return
        self._answered.add((device, number))
        tally.slowest = max(tally.slowest, time.monotonic() - since)
        error = answer.get("error")
        tally.outcomes[answer["status"] if error is None else f"{answer['status']} ({error['reason']})"] += 1
        if number < self._last[device]:
            tally.faults.append(f"device {device} got the answer to {number} after that to {self._last[device]}")
        self._last[device] = number


async def run(plan: Plan, progress: Progress = silent) -> Tally:
    rng = random.Random(plan.seed)
    tally = Tally(plan)
    with Tools() as tools:
        async with stage(plan, rng, tools.port) as (broker, strike):
            subscriber = await asyncio.to_thread(broker.subscriber, "devices/+/answer")
            await ask(plan, tally, rng, Devices(tally, subscriber), broker, strike, progress)
            await asyncio.to_thread(subscriber.stop)
        tally.again = sum(count > 1 for count in tools.executed.values())
    if plan.fault == "cut" and tally.again:
        tally.faults.append(f"{tally.again} requests were executed more than once")
    return tally


async def ask(plan, tally, rng, devices, broker, strike, progress) -> None:
    publisher = Publisher(broker.port)
    next_strike = rng.randrange(*plan.every)
    numbers: Counter = Counter()
    while tally.published < plan.count or devices.waiting:
        devices.read()
        device = rng.randrange(plan.devices)
        if tally.published >= plan.count or devices.waits(device) >= WINDOW:
            await asyncio.sleep(0.001)
            continue
        numbers[device] += 1
        devices.asked(device, numbers[device])
        await publisher.publish(f"devices/{device}/call", json.dumps({"id": numbers[device]}))
        tally.published += 1
        if tally.published >= next_strike:
            next_strike += rng.randrange(*plan.every)
            tally.strikes += 1
            await strike()
        progress(tally.published, tally.strikes)
    publisher.close()


@contextlib.asynccontextmanager
async def stage(plan: Plan, rng: random.Random, tools: int) -> AsyncIterator[tuple[MortalBroker, object]]:
    """A broker, a gateway, and what injects a fault."""
    broker = await asyncio.to_thread(MortalBroker)
    link = FaultProxy(("127.0.0.1", broker.port), rng)
    to_tools = FaultProxy(("127.0.0.1", tools), rng)
    async with link, to_tools:
        gateway = await asyncio.to_thread(Gateway, plan, broker, link.port, to_tools.port)

        async def strike() -> None:
            if plan.fault == "kill":
                return await asyncio.to_thread(gateway.replace)
            rng.choice([link, to_tools]).cut_within()

        try:
            yield broker, strike
        finally:
            await asyncio.to_thread(gateway.stop)
    await asyncio.to_thread(broker.stop)
