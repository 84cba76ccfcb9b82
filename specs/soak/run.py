"""Executes a run: starts all processes, plays the actors, and checks the results."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fault_proxy import FaultProxy

from soak import audit, faults, meter
from soak.audit import Audit
from soak.claims import Claims
from soak.config import (
    CUT,
    HEADER_TIMEOUT,
    IDLE_TIMEOUT,
    MORTAL,
    SESSION_TIMEOUT,
    SHUTDOWN_TIMEOUT,
    STEADY,
    TOOLKITS,
    config,
)
from soak.credentials import Credentials
from soak.disturbances import Disturbances
from soak.door import OPEN, SECURE, Door, trusting
from soak.hostile import KINDS, harass
from soak.ledger import Ledger
from soak.meter import Memory, Meter, Sample
from soak.neighbours import neighbours
from soak.processes import Broker, Gateway
from soak.stage import Stage
from soak.witness import Witness

#: Seconds to wait at the end for the last responses and messages, and for descriptors to be closed.
LAST_ANSWERS, LAST_MESSAGES = 60.0, 30.0
CLOSED = SESSION_TIMEOUT + HEADER_TIMEOUT + IDLE_TIMEOUT + 20.0
#: Seconds until abandoned sessions have expired and their connections are closed.
EXPIRED = SESSION_TIMEOUT + IDLE_TIMEOUT + 5.0


@dataclass
class Plan:
    """The parameters of a run."""

    seconds: float
    seed: int
    load: float
    without: set[str]
    binary: Path
    folder: Path


@dataclass
class Outcome:
    """The results of a run."""

    plan: Plan
    stage: Stage
    samples: list[Sample] = field(default_factory=list)
    idle: Sample | None = None
    quiet: Sample | None = None
    resident: tuple[float, float] = (0.0, 0.0)
    late: float = 0.0
    #: The fields of the gateway's `stopping` and `stopped` log lines.
    stopping: dict[str, Any] = field(default_factory=dict)
    stopped: dict[str, Any] = field(default_factory=dict)
    code: int | None = None
    audit: Audit = field(default_factory=Audit)
    #: Number of occurrences of each logged warning and error.
    warnings: dict[str, int] = field(default_factory=dict)


async def run(plan: Plan, progress: Callable[[Outcome, Meter, str], None]) -> Outcome:
    """Executes a plan; all its processes have ended when this returns or raises."""
    async with contextlib.AsyncExitStack() as parts:
        sound, mortal = Broker(plan.folder, "broker"), Broker(plan.folder, "mortal-broker")
        for broker in (sound, mortal):
            parts.push_async_callback(broker.stop)
            await broker.start()
        claims = Claims()
        disturbances = {name: Disturbances() for name in TOOLKITS}
        ledger = Ledger(claims, disturbances, untouched=STEADY, mortal=MORTAL)
        stage = Stage(plan.seed, {}, claims, disturbances, ledger, {})
        link = FaultProxy(("127.0.0.1", sound.port), stage.rng("link"))
        parts.push_async_callback(link.close)
        await link.open()
        ports = {STEADY: sound.port, CUT: link.port, MORTAL: mortal.port}
        credentials = await Credentials.make(plan.binary, plan.folder)
        gateway = Gateway(plan.binary, plan.folder, config(ports, credentials, plan.folder))
        parts.push_async_callback(gateway.kill)
        await gateway.start()
        stage.doors[OPEN] = Door(gateway.address)
        stage.doors[SECURE] = Door(gateway.secure, trusting(credentials.certificate), credentials.key)
        witnesses = Witness(sound, ledger), Witness(mortal, ledger)
        for witness in witnesses:
            parts.callback(witness.close)
            await witness.begin()
        stage.witnesses = {STEADY: witnesses[0], CUT: witnesses[0], MORTAL: witnesses[1]}
        outcome = Outcome(plan, stage)
        watch = Meter(gateway.pid, gateway.log, claims)
        outcome.idle = watch.look()
        claims.begun = time.monotonic()
        await play(plan, outcome, watch, gateway, link, mortal, progress)
        outcome.samples, outcome.late = watch.samples, watch.late
        await finish(outcome, watch, gateway)
    return outcome


async def play(
    plan: Plan,
    outcome: Outcome,
    watch: Meter,
    gateway: Gateway,
    link: FaultProxy,
    mortal: Broker,
    progress: Callable[[Outcome, Meter, str], None],
) -> None:
    """Runs all actors for the duration, then lets the neighbours finish."""
    stage = outcome.stage
    rng = stage.rng("faults")
    disturbing: list[Coroutine[Any, Any, None]] = [
        faults.disturb_link(link, stage.disturbances[CUT], rng, plan.without, stage.claims)
    ]
    if "kill" not in plan.without:
        killing = faults.kill_broker(mortal, stage.witnesses[MORTAL], stage.disturbances[MORTAL], stage.rng("kill"))
        disturbing.append(killing)
    hostile = [harass(stage, kind) for kind in KINDS if kind not in plan.without]
    playing = [] if "neighbours" in plan.without else neighbours(stage, plan.load)
    async with Tasks() as tasks:
        tasks.add(watch.watch(), settle(stage), report(outcome, watch, progress))
        disturbers, attackers = tasks.add(*disturbing), tasks.add(*hostile)
        players = tasks.add(*playing)
        await tasks.during(plan.seconds, lambda: gateway.running)
        stage.over.set()
        await cancelled(attackers + disturbers)
        if not gateway.running:
            stage.claims.broken("alive", "the gateway ended before it was asked to")
            return
        progress(outcome, watch, "finishing")
        await finished(stage, players)
        deadline = time.monotonic() + LAST_MESSAGES
        while stage.ledger.outstanding() and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
    if not stage.witnesses[STEADY].connected:
        raise RuntimeError("the witness lost its connection to a broker that nobody disturbs")
    stage.ledger.settle()
    stage.ledger.close()


async def finished(stage: Stage, players: list[asyncio.Task[None]]) -> None:
    """Waits until the neighbours have finished their turns."""
    if not players:
        return
    _, late = await asyncio.wait(players, timeout=LAST_ANSWERS)
    for task in late:
        stage.claims.broken("answered", f"a neighbour did not come to its end: {task.get_coro()}")
    await cancelled(list(late))


async def finish(outcome: Outcome, watch: Meter, gateway: Gateway) -> None:
    """Waits until all client state is gone, stops the gateway, and checks its resource usage."""
    claims, idle = outcome.stage.claims, outcome.idle
    assert idle is not None
    if gateway.running:
        last = time.monotonic()
        # Sessions do not hold descriptors.
        while (now := watch.look()).descriptors > idle.descriptors or time.monotonic() < last + EXPIRED:
            await asyncio.sleep(0.2)
            if time.monotonic() > last + CLOSED:
                break
        outcome.quiet = now
        if now.descriptors > idle.descriptors:
            description = f"{now.descriptors} descriptors are open, {idle.descriptors} were at the start"
            claims.broken("descriptors", description, open=opened(gateway.pid))
    outcome.code = await gateway.terminate(SHUTDOWN_TIMEOUT + 30)
    read_log(outcome, gateway.log)
    judge_stop(outcome)
    await audit.judge(outcome.audit, claims, outcome.plan.binary, outcome.plan.folder)
    if len(outcome.samples) >= 10:
        outcome.resident = Memory().judge(claims, outcome.samples)
        meter.judge_log(claims, outcome.samples)
        meter.judge_threads(claims, outcome.samples)


def opened(pid: int) -> list[str]:
    """Describes the descriptors of a process."""
    links = []
    for entry in sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda entry: int(entry.name)):
        with contextlib.suppress(OSError):
            links.append(str(entry.readlink()))
    return links


def read_log(outcome: Outcome, path: Path) -> None:
    """Extracts the stop and the warnings from the log of the gateway."""
    claims, panics = outcome.stage.claims, 0
    with path.open(errors="replace") as log:
        for line in log:
            if "panicked" in line:
                panics += 1
                claims.broken("alive", f"a handler panicked: {line[:300]}")
            try:
                entry = json.loads(line)
                fields = entry["fields"]
            except (ValueError, KeyError, TypeError):
                continue
            said = fields.get("message", "")
            if said == "stopping":
                outcome.stopping = fields
            elif said.startswith("stopped"):
                outcome.stopped = fields
            if entry.get("level") in ("WARN", "ERROR"):
                outcome.warnings[said] = outcome.warnings.get(said, 0) + 1


def judge_stop(outcome: Outcome) -> None:
    """Checks that no state remained before the stop, and that the gateway stopped in order."""
    claims, stopping, stopped = outcome.stage.claims, outcome.stopping, outcome.stopped
    if outcome.code != 0:
        how = "had to be killed" if outcome.code is None else f"ended with {outcome.code}"
        claims.broken("orderly", f"the gateway {how} after SIGTERM")
    if stopped.get("streams_cut") != 0:
        claims.broken("orderly", f"the gateway did not stop in order: {stopped or 'no log line'}")
    left = {name: stopping.get(name) for name in ("streams", "exchanges")}
    if any(value != 0 for value in left.values()):
        claims.broken("counters", f"remaining at the stop: {left}")


async def settle(stage: Stage) -> None:
    """Prunes the ledger."""
    while True:
        await asyncio.sleep(5)
        stage.ledger.settle()


async def report(outcome: Outcome, watch: Meter, progress: Callable[[Outcome, Meter, str], None]) -> None:
    while True:
        await asyncio.sleep(5)
        progress(outcome, watch, outcome.stage.disturbances[CUT].now)


async def cancelled(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels tasks and waits until they have ended."""
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
            raise ended


class Tasks:
    """Tasks that are cancelled at the end of a block; the first failure ends it."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancelled(self._tasks)

    def add(self, *coroutines: Coroutine[Any, Any, None]) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
        self._tasks += tasks
        return tasks

    async def during(self, seconds: float, going_on: Callable[[], bool]) -> None:
        """Waits for a time, unless a task fails or ends before."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and going_on():
            ended, _ = await asyncio.wait(self._tasks, timeout=min(left, 1), return_when=asyncio.FIRST_EXCEPTION)
            for task in ended:
                if error := task.exception():
                    raise error
