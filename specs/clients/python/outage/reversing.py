"""Devices send numbered requests for a tool that must not run twice, while links are cut, and the gateway and the tool server killed.

Each request must get an answer or an explicit failure in time, and each device its answers in order. The tool runs at most once
for each request, as the tool server counts, unless the gateway is killed and has no queue: then it does not know what it has
executed. Of several gateways, each takes some requests of a device, so their answers have no order; and with QoS 1, a broker that
redelivers may give one of them what another has executed.

Some devices do not wait in silence: they send a request that has no answer yet again, with the same correlation. It is still
executed at most once. Several gateways do not know each other's requests, so nothing is sent again to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from conftest import TIDEGATE, Process
from fault_proxy import FaultProxy

from outage.asking import DEVICES
from outage.broker import MortalBroker, OtherBroker
from outage.plan import Progress, silent
from outage.tool_server import ToolServer


@dataclass(frozen=True)
class Kind:
    """What fails, and what must hold nevertheless."""

    words: str
    #: What is killed in turn, in random order.
    deck: tuple[str, ...] = ()
    #: Whether links are cut: on a schedule of their own, as often as something is killed.
    cuts: bool = False
    queue: bool = False
    gateways: int = 1
    #: Whether a tool may run twice for a request, with any broker.
    again: bool = False

    @property
    def strikes(self) -> list[str]:
        """What happens each time that some requests were published."""
        return ["cut"] * self.cuts + ["kill"] * bool(self.deck)

    @property
    def versions(self) -> tuple[str, ...]:
        """MQTT 3.1.1 has no shared subscriptions."""
        return ("5", "3.1.1") if self.gateways == 1 else ("5",)


FAULTS = {
    "cut": Kind("links to the broker and to the tools cut", cuts=True),
    "kill": Kind("gateway killed", ("gateway",), again=True),
    "queue": Kind("links cut, tool server and gateway with a queue killed", ("tools", "gateway"), cuts=True, queue=True),
    "group": Kind("one of two gateways with queues killed", ("gateway",), queue=True, gateways=2),
    "group-cut": Kind("links of two gateways with queues cut, gateways killed", ("gateway",), cuts=True, queue=True, gateways=2),
    "group-kill": Kind("one of two gateways without queues killed", ("gateway",), gateways=2, again=True),
}
MOSQUITTO = "mosquitto"
#: Requests of a device that have no answer yet.
WINDOW = 4
#: Time for a request, in seconds: the gateway's `timeout` and `remember`, and some more.
TIMEOUT, REMEMBER = 10, 60
IN_TIME = TIMEOUT + REMEMBER + 20
#: Of so many requests, one is sent again while it has no answer, and time that it has had then, in seconds.
AGAIN, AGAIN_AFTER = 20, 0.01
#: Time that an answer may take from the broker to the test, in seconds.
ON_ITS_WAY = 2


def devices_of(version: str) -> list[str]:
    """The versions of MQTT that devices may have: a gateway of 3.1.1 does not see properties."""
    return [devices for devices in DEVICES if version == "5" or devices == "3.1.1"]


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
    broker: str = MOSQUITTO
    #: QoS of the requests.
    qos: int = 1
    #: `sessionExpiry` of gateways in a group; mosquitto drops what a member has not acknowledged when its session ends.
    expiry: int = 300
    #: Seconds after which a gateway that was killed is started again.
    pause: float = 0.0
    #: MQTT of the devices, which need not be that of the gateway.
    device_version: str = "3.1.1"

    @property
    def in_time(self) -> float:
        """Time in which a device must have its answer, in seconds."""
        return DEVICES[self.device_version].patience or IN_TIME

    @property
    def kind(self) -> Kind:
        return FAULTS[self.fault]

    @property
    def again(self) -> bool:
        """Whether a tool may run twice for a request.

        A broker that redelivers to another member does so when the acknowledgement of QoS 1 was lost with its gateway.
        """
        redelivers = self.broker != MOSQUITTO and self.kind.gateways > 1
        return self.kind.again or (redelivers and self.qos == 1)

    def __str__(self) -> str:
        group = f", sessionExpiry {self.expiry}" if self.kind.gateways > 1 else ""
        devices = f"{self.devices} devices of MQTT {self.device_version}"
        return f"{self.kind.words}, {self.broker}, MQTT {self.version}, QoS {self.qos}{group}, {devices}"


@dataclass
class Tally:
    plan: Plan
    strikes: int = 0
    #: How often each thing failed.
    struck: Counter = field(default_factory=Counter)
    published: int = 0
    #: What became of the requests, by outcome: of the first answer to each.
    outcomes: Counter = field(default_factory=Counter)
    #: Number of requests that were sent again, and of answers beyond the first to a request.
    sent_again: int = 0
    repeated: int = 0
    slowest: float = 0.0
    #: Number of requests that were executed more than once.
    again: int = 0
    faults: list[str] = field(default_factory=list)

    def counts(self) -> str:
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        struck = ", ".join(f"{count} {what}" for what, count in sorted(self.struck.items()))
        return (
            f"{self.published:,} requests, {self.sent_again} sent again, {self.strikes} faults ({struck}): {outcomes}; "
            f"{self.repeated} answers repeated, "
            f"{self.again} requests executed again, slowest {self.slowest:.1f} s"
        )

    def violations(self) -> list[str]:
        return self.faults


class Gateway(Process):
    """One of the gateways, by its number."""

    def __init__(self, plan: Plan, broker: MortalBroker | OtherBroker, port: int, tools: int, folder: str, number: int) -> None:
        name = "outage" if plan.kind.gateways == 1 else f"outage-{number}"
        client = f'clientId: {name}, version: "{plan.version}", reconnect: {{ min: 10, max: 200 }}'
        options = f"perDevice: 1, timeout: {TIMEOUT * 1000}, remember: {REMEMBER * 1000}"
        devices = DEVICES[plan.device_version]
        if devices.options:
            options = f"{options}, {devices.options}"
        if plan.kind.gateways > 1:
            options = f"{options}, group: outage, sessionExpiry: {plan.expiry}"
        if plan.kind.queue:
            options = f"{options}, queue: {{ path: {folder}/{name}.queue }}"
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
            file.write(
                "name: outage\nbindings:\n  machines0:\n    type: mqtt_mcp\n    kind: proxy\n"
                f"    options: {{ {options} }}\n"
                "    exits: { mqtt: mqtt0, mcp: mcp0 }\n"
                f'    routes: [ {{ when: [ {{ topic: "devices/{{device}}/call", qos: {plan.qos} }} ], ' 'with: { tool: echo, '
                f'arguments: {{ text: "{{{{ topic.device }}}}-{{{{ payload.id }}}}" }}, {devices.route} }} }} ]\n'
                f"  mqtt0: {{ type: mqtt, kind: client, options: {{ {client} }}, exit: tcp0 }}\n"
                f"  tcp0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}\n"
                f"  mcp0: {{ type: mcp, kind: client, options: {{ url: 'http://127.0.0.1:{tools}/mcp', http: {{ proxy: none }} }} }}\n"
            )
        self.path = file.name
        super().__init__([str(TIDEGATE), "start", "--config", self.path])
        self._pause = plan.pause
        broker.subscribed(f"{name}_subscription")

    def replace(self) -> None:
        """Kills it and starts another one."""
        self.child.kill()
        self.child.wait()
        time.sleep(self._pause)
        self._start()

    def stop(self) -> int:
        code = super().stop()
        os.unlink(self.path)
        return code


class Devices:
    """What devices have asked, and were told."""

    def __init__(self, tally: Tally, answers: Callable[[], Iterator[tuple[int, int, dict]]]) -> None:
        self._tally = tally
        self._answers = answers
        #: When each request was sent last.
        self._asked: dict[tuple[int, int], float] = {}
        self._again: set[tuple[int, int]] = set()
        self._last: Counter = Counter()
        self._answered: set[tuple[int, int]] = set()

    def asked(self, device: int, number: int) -> None:
        self._asked[device, number] = time.monotonic()

    @property
    def waiting(self) -> int:
        return len(self._asked)

    def waits(self, device: int) -> int:
        return sum(of == device for of, _ in self._asked)

    def asked_again(self, device: int, number: int) -> None:
        self.asked(device, number)
        self._again.add((device, number))

    def unanswered(self, seconds: float) -> list[tuple[int, int]]:
        """The requests that have no answer for so long."""
        return [key for key, since in self._asked.items() if time.monotonic() > since + seconds]

    def unanswered_once(self, seconds: float) -> list[tuple[int, int]]:
        """Those of them that were not sent again."""
        return [key for key in self.unanswered(seconds) if key not in self._again]

    def read(self) -> None:
        """Takes the answers that have come."""
        for device, number, answer in self._answers():
            self._told(device, number, answer)
        in_time = self._tally.plan.in_time
        for key in self.unanswered(in_time + ON_ITS_WAY):
            self._tally.faults.append(f"request {key[1]} of device {key[0]} got no answer in {in_time} s")
            del self._asked[key]

    def _told(self, device: int, number: int, answer: dict) -> None:
        tally = self._tally
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
        if number < self._last[device] and self._tally.plan.kind.gateways == 1:
            tally.faults.append(f"device {device} got the answer to {number} after that to {self._last[device]}")
        self._last[device] = number


async def run(plan: Plan, progress: Progress = silent) -> Tally:
    rng = random.Random(plan.seed)
    tally = Tally(plan)
    with tempfile.TemporaryDirectory(prefix="tidegate-outage-") as folder:
        tools = await asyncio.to_thread(ToolServer, folder)
        try:
            async with stage(plan, tally, rng, tools, folder) as (broker, strike):
                devices = await asyncio.to_thread(DEVICES[plan.device_version], broker, plan.qos)
                await ask(plan, tally, rng, devices, strike, progress)
                await asyncio.to_thread(devices.close)
        finally:
            await asyncio.to_thread(tools.stop)
        tally.again = sum(count > 1 for count in tools.executed().values())
    if tally.again and not plan.again:
        tally.faults.append(f"{tally.again} requests were executed more than once")
    return tally


async def ask(plan, tally, rng, asking, strike, progress) -> None:
    devices = Devices(tally, asking.answers)
    due = {what: rng.randrange(*plan.every) for what in plan.kind.strikes}
    numbers: Counter = Counter()
    while tally.published < plan.count or devices.waiting:
        devices.read()
        if plan.kind.gateways == 1 and (late := devices.unanswered_once(AGAIN_AFTER)) and rng.randrange(AGAIN) == 0:
            again = rng.choice(late)
            devices.asked_again(*again)
            await asking.ask(*again)
            tally.sent_again += 1
        device = rng.randrange(plan.devices)
        if tally.published >= plan.count or devices.waits(device) >= WINDOW:
            await asyncio.sleep(0.001)
            continue
        numbers[device] += 1
        devices.asked(device, numbers[device])
        await asking.ask(device, numbers[device])
        tally.published += 1
        for what in [what for what, at in due.items() if tally.published >= at]:
            due[what] += rng.randrange(*plan.every)
            tally.strikes += 1
            await strike(what)
        progress(tally.published, tally.strikes)


def deck(plan: Plan, rng: random.Random) -> Iterator[str]:
    """What fails: each of the kind's faults equally often."""
    while True:
        yield from rng.sample(plan.kind.deck, len(plan.kind.deck))


@contextlib.asynccontextmanager
async def stage(
    plan: Plan, tally: Tally, rng: random.Random, tools: ToolServer, folder: str
) -> AsyncIterator[tuple[MortalBroker | OtherBroker, object]]:
    """A broker, the gateways, and what injects a fault."""
    async with contextlib.AsyncExitStack() as stack:

        async def started(make, *arguments):
            made = await asyncio.to_thread(make, *arguments)
            stack.push_async_callback(asyncio.to_thread, made.stop)
            return made

        if plan.broker == MOSQUITTO:
            broker = await started(MortalBroker)
        else:
            broker = await started(OtherBroker, plan.broker)
        to_tools = await stack.enter_async_context(FaultProxy(("127.0.0.1", tools.port), rng))
        # Each gateway has a link of its own.
        links, gateways = [], []
        for number in range(plan.kind.gateways):
            link = await stack.enter_async_context(FaultProxy(("127.0.0.1", broker.port), rng))
            links.append(link)
            gateways.append(await started(Gateway, plan, broker, link.port, to_tools.port, folder, number))
        faults = deck(plan, rng)

        async def strike(what: str) -> None:
            if what == "kill":
                what = next(faults)
            tally.struck[what] += 1
            match what:
                case "gateway":
                    await asyncio.to_thread(rng.choice(gateways).replace)
                case "tools":
                    await asyncio.to_thread(tools.replace)
                case _:
                    rng.choice([*links, to_tools]).cut_within()

        yield broker, strike
