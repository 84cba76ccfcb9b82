"""An independent publisher sends numbered messages to subscribers of the gateway: what is missing, they are told.

`receiving` calls `receive`, whose result says that messages may be missing. `updating` subscribes to a resource and reads
it after each update: it must come to know each value.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from dataclasses import dataclass, field

from conftest import PATIENCE

from outage.calls import Endpoint
from outage.faults import Fault
from outage.plan import Plan, Progress, silent, stage
from outage.publisher import Publisher

#: The result of a `receive` that lasted longer than a connection says so.
GAP = "The connection to the broker was lost for"
#: A subscription that gets nothing of so many times its limit was not restored.
TOO_MANY = 20


@dataclass
class Tally:
    plan: Plan
    strikes: int = 0
    published: int = 0
    received: int = 0
    missing: int = 0
    repeated: int = 0
    #: Number of results that say that messages may be missing.
    gaps: int = 0
    faults: list[str] = field(default_factory=list)

    def counts(self) -> str:
        return (
            f"{self.published:,} messages, {self.received:,} received, {self.strikes} faults: {self.missing} missing, "
            f"{self.gaps} gaps told, {self.repeated} repeated"
        )

    def violations(self) -> list[str]:
        return self.faults


async def receiving(plan: Plan, progress: Progress = silent) -> Tally:
    rng = random.Random(plan.seed)
    tally = Tally(plan)
    async with stage(plan, rng, "receiveTimeout: 60000") as (fault, endpoint):
        publisher = Publisher(fault.broker.port)
        for turn in itertools.count():
            if tally.received >= plan.count or tally.faults:
                break
            await receive(tally, fault, endpoint, publisher, turn, rng)
            tally.strikes = fault.strikes
            progress(tally.received, fault.strikes)
        publisher.close()
    return tally


async def receive(
    tally: Tally, fault: Fault, endpoint: Endpoint, publisher: Publisher, turn: int, rng: random.Random
) -> None:
    """One call, with one fault while it receives."""
    limit = rng.randrange(*tally.plan.every)
    topic = f"feed/{turn}"
    # It begins on a healthy link.
    await fault.over()
    mark = len(fault.broker.lines)
    call = asyncio.create_task(endpoint.call("receive", topic=topic, limit=limit, timeout=60_000))
    async with asyncio.timeout(PATIENCE):
        while not (fault.broker.logged(r"Sending SUBACK to outage", mark) or call.done()):
            await asyncio.sleep(0.005)
    strike = rng.randrange(1, limit)
    for number in itertools.count(1):
        if call.done() or number > TOO_MANY * limit:
            break
        if number == strike:
            fault.strike()
        await publisher.publish(topic, str(number))
        tally.published += 1
    judge(tally, turn, await call)


def judge(tally: Tally, turn: int, answer: dict) -> None:
    """Compares a result with the messages 1, 2, … that were published."""
    plan = tally.plan
    result = answer.get("result")
    if result is None or result.get("isError"):
        tally.faults.append(f"receive {turn} failed: {answer}")
        return
    numbers = [int(it["payload"]) for it in result["structuredContent"]["messages"]]
    told = GAP in json.dumps(result)
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
    repeated = len(numbers) - len(set(numbers))
    tally.received += len(numbers)
    tally.missing += len(missing)
    tally.repeated += repeated
    tally.gaps += told
    if missing and not told and not (plan.kept and plan.kind.goes_back):
        tally.faults.append(f"receive {turn} does not say that messages are missing: {missing[:20]}")
    if plan.is_resumed and (missing or told):
        tally.faults.append(f"receive {turn} of a session that was kept: {missing[:20]}, gap told: {told}")
    if plan.kind.keeps and (repeated or numbers != sorted(numbers)):
        tally.faults.append(f"receive {turn} has repeated messages, or in another order: {numbers}")


URI = "mqtt://feed/value"


async def updating(plan: Plan, progress: Progress = silent) -> Tally:
    rng = random.Random(plan.seed)
    tally = Tally(plan)
    async with stage(plan, rng, "readTimeout: 300") as (fault, endpoint):
        publisher = Publisher(fault.broker.port)
        async with endpoint.listen(URI) as events:
            reader = Reader(endpoint, events)
            following = asyncio.create_task(reader.follow())
            next_strike = rng.randrange(*plan.every)
            for number in range(1, plan.count + 1):
                if number >= next_strike:
                    next_strike += rng.randrange(*plan.every)
                    fault.strike()
                if why := await learns(number, reader, fault, publisher, following):
                    tally.faults.append(f"value {number}: {why}")
                    break
                tally.published += 1
                tally.received += 1
                tally.strikes = fault.strikes
                progress(tally.received, fault.strikes)
            following.cancel()
        publisher.close()
    tally.strikes = fault.strikes
    return tally


class Reader:
    """Reads a resource after each update, until it can be read."""

    def __init__(self, endpoint: Endpoint, events) -> None:
        self.value = 0
        self.updates = 0
        self._endpoint = endpoint
        self._events = events
        self._changed = asyncio.Condition()
        self._updated = asyncio.Event()

    async def follow(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._read())

    async def _listen(self) -> None:
        async for event in self._events:
            if event.get("method") == "notifications/resources/updated":
                self.updates += 1
                self._updated.set()
            elif "method" not in event:
                raise RuntimeError(f"the subscription has ended: {event}")
        raise RuntimeError("the subscription has ended")

    async def _read(self) -> None:
        while True:
            await self._updated.wait()
            self._updated.clear()
            while (text := await self._endpoint.read(URI)) is None and not self._updated.is_set():
                await asyncio.sleep(0.01)
            if text is not None:
                self.value = int(text)
                async with self._changed:
                    self._changed.notify_all()

    async def reaches(self, number: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.value >= number)


async def learns(
    number: int, reader: Reader, fault: Fault, publisher: Publisher, following: asyncio.Task
) -> str | None:
    """Publishes a value, and waits until the reader knows it. Returns why it does not.

    A broker that was killed may have lost the value, so it is published again.
    """
    while True:
        killing = fault.kind.hard and fault.is_striking
        await publisher.publish(URI.removeprefix("mqtt://"), str(number), retain=True)
        reached = asyncio.create_task(reader.reaches(number))
        events = {reached, following}
        if killing:
            events.add(asyncio.create_task(fault.over()))
        await asyncio.wait(events, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            return repr(following.exception())
        if reached.done():
            return None
        reached.cancel()
        if not killing:
            return f"no update within {PATIENCE} s; the last value read is {reader.value}"
