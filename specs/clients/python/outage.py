"""Publishes through a link that is cut again and again, and compares what callers were told with what arrived.

Each call publishes a numbered message. Its outcome is *done*, *not sent* or *unconfirmed*; a subscriber that is connected
to the broker directly counts what arrives. `scripts/outage` runs this with many calls, `test_outage.py` with few.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import itertools
import random
import sys
from dataclasses import dataclass, field

import httpx
from conftest import Broker, Gateway, plain, wait_until

#: A broker that drops no message, however many wait for the subscriber.
ROOMY = "max_queued_messages 0\nmax_inflight_messages 0\nmax_queued_bytes 0"
CLIENT = "clientId: outage, reconnect: { min: 10, max: 200 }"
#: Sessions survive the cuts, and calls wait for the broker.
KEPT = ", sessionExpiry: 300, offlineQueue: 1000"
CALLERS = 16
#: The link is cut each time that a random number of calls between these has begun.
CUT_AFTER = (200, 400)


class Proxy:
    """Forwards bytes to the broker, until it cuts all connections."""

    def __init__(self, port: int, rng: random.Random):
        self.target = port
        self.cuts = 0
        self._rng = rng
        self._writers: set[asyncio.StreamWriter] = set()
        #: The number of bytes to forward until the cut, if one is due.
        self._left: int | None = None
        self._away = False

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()
        self._cut()

    def cut_soon(self) -> None:
        """Cuts the link behind the next bytes, most likely within a packet."""
        self._left = self._rng.randrange(1, 400)

    def away(self) -> None:
        """Cuts the link, and every further one at once."""
        self._away = True
        self._cut()

    def back(self) -> None:
        self._away = False

    def _cut(self) -> None:
        self._left = None
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            writer.transport.abort()
            return
        try:
            onward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, onward[1]}
        self._writers |= pair
        try:
            await asyncio.gather(self._forward(reader, onward[1]), self._forward(onward[0], writer))
        except asyncio.CancelledError:
            pass  # the loop ends
        finally:
            self._writers -= pair
            for side in pair:
                side.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if self._left is not None and self._left <= len(data):
                    writer.write(data[: self._left])
                    with contextlib.suppress(ConnectionError):
                        await writer.drain()
                    self.cuts += 1
                    self._cut()
                    return
                if self._left is not None:
                    self._left -= len(data)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@dataclass
class Tally:
    """What callers were told, and how often each message arrived."""

    qos: int
    outcomes: dict[int, str] = field(default_factory=dict)
    arrived: collections.Counter = field(default_factory=collections.Counter)
    cuts: int = 0

    def counts(self) -> str:
        counts = collections.Counter(self.outcomes.values())
        twice = sum(1 for count in self.arrived.values() if count > 1)
        told = ", ".join(f"{counts[word]} {word}" for word in ("done", "not sent", "unconfirmed"))
        return f"QoS {self.qos}: {len(self.outcomes)} calls, {self.cuts} cuts: {told}; {twice} arrived more than once"

    def faults(self, calls: int) -> list[str]:
        faults = [f"call {number} was not answered" for number in range(calls) if number not in self.outcomes]
        for number, outcome in sorted(self.outcomes.items()):
            times = self.arrived[number]
            if outcome not in ("done", "not sent", "unconfirmed"):
                faults.append(f"call {number} failed otherwise: {outcome}")
            if outcome == "done" and times == 0:
                faults.append(f"message {number} was done and did not arrive")
            if outcome == "not sent" and times > 0:
                faults.append(f"message {number} was not sent and arrived {times} times")
            if self.qos == 2 and times > 1:
                faults.append(f"message {number} arrived {times} times at QoS 2")
        return faults


def outcome(answer: dict) -> str:
    result = answer.get("result")
    if result is None:
        return str(answer)
    if not result.get("isError"):
        return "done"
    text = result["content"][0]["text"]
    if "was not published" in text:
        return "not sent"
    return "unconfirmed" if "was not confirmed" in text else text


async def publish(http: httpx.AsyncClient, url: str, qos: int, payload: str) -> str:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    arguments = {"topic": f"outage/{qos}", "payload": payload, "qos": qos}
    params = {"name": "publish", "arguments": arguments, "_meta": meta}
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "publish",
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = await http.post(url, json=body, headers=headers)
    return outcome(answer.json())


async def run(calls: int, qos: int, seed: int, client: str = "", settings: str = "", cut_after=CUT_AFTER) -> Tally:
    """Makes this many calls; `client` and `settings` are further options of `mqtt · client` and of the broker."""
    rng = random.Random(seed)
    tally = Tally(qos)
    broker = Broker(settings=f"{ROOMY}\n{settings}")
    with contextlib.ExitStack() as stack:
        stack.callback(broker.stop)
        subscriber = broker.subscriber("outage/#")
        stack.callback(subscriber.stop)
        async with Proxy(broker.port, rng) as proxy, httpx.AsyncClient(timeout=60) as http:
            gateway = Gateway(plain("http", proxy.port, client=f"{CLIENT}{client}"))
            stack.callback(gateway.stop)
            await asyncio.to_thread(gateway.probed)
            numbers = iter(range(calls))
            cuts = 0
            next_cut = rng.randrange(*cut_after)

            async def call() -> None:
                nonlocal next_cut, cuts
                for number in numbers:
                    if number >= next_cut:
                        next_cut += rng.randrange(*cut_after)
                        proxy.cut_soon()
                    tally.outcomes[number] = await publish(http, gateway.url, qos, str(number))

            await asyncio.gather(*(call() for _ in range(CALLERS)))
            tally.cuts = proxy.cuts
            # Behind everything that the session still sends again.
            while await publish(http, gateway.url, qos, "end") != "done":
                pass
            await asyncio.to_thread(subscriber.line, r"\|end$")
        broker.publish("outage/last", "last", "-q", "2")
        wait_until("the last message", lambda: any(line.endswith("|last") for line in subscriber.lines))
        for line in subscriber.lines:
            payload = line.rpartition("|")[2]
            if payload.isdigit():
                tally.arrived[int(payload)] += 1
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="number of calls at each QoS")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failed = False
    for qos, version, kept in itertools.product((1, 2), ("5", "3.1.1"), (KEPT, "")):
        client = f'{kept}, version: "{version}"'
        tally = asyncio.run(run(arguments.calls, qos, arguments.seed, client))
        sessions = "kept" if kept else "not kept"
        print(f"MQTT {version}, sessions {sessions}, {tally.counts()}", flush=True)
        for fault in tally.faults(arguments.calls):
            failed = True
            print(f"  {fault}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
