"""Each call publishes a numbered message. Its outcome is compared with what the broker received and a subscriber got."""

from __future__ import annotations

import asyncio
import collections
import random
from dataclasses import dataclass, field

from conftest import Subscriber, wait_until

from outage.broker import MortalBroker
from outage.calls import Endpoint
from outage.plan import Plan, Progress, silent, stage

CALLERS = 16


@dataclass
class Tally:
    """What callers were told, and what became of each message."""

    plan: Plan
    strikes: int = 0
    outcomes: dict[int, str] = field(default_factory=dict)
    #: How often the subscriber got it.
    arrived: collections.Counter = field(default_factory=collections.Counter)
    #: How often the broker received it, apart from what is marked as sent again. Known only where the broker ends.
    received: collections.Counter = field(default_factory=collections.Counter)
    sent_again: collections.Counter = field(default_factory=collections.Counter)
    #: How often the broker sent it to the subscriber as a new message.
    forwarded: collections.Counter = field(default_factory=collections.Counter)

    def counts(self) -> str:
        counts = collections.Counter(self.outcomes.values())
        words = ", ".join(f"{counts[word]:,} {word}" for word in ("done", "not sent", "unconfirmed"))
        twice = sum(count > 1 for count in self.arrived.values())
        text = f"{len(self.outcomes):,} calls, {self.strikes} faults: {words}; {twice} arrived more than once"
        missing = sum(outcome == "done" and not self.arrived[number] for number, outcome in self.outcomes.items())
        return f"{text}; {missing} done that the subscriber did not get" if missing else text

    def violations(self) -> list[str]:
        return [
            f"message {number} {why}"
            for number in range(self.plan.count)
            for why in self._violations(number, self.outcomes.get(number, "nothing"))
        ]

    def _violations(self, number: int, outcome: str) -> list[str]:
        arrived, received = self.arrived[number], self.received[number]
        reached = arrived if self.plan.kind.keeps else received + self.sent_again[number]
        faults = []
        if outcome not in ("done", "not sent", "unconfirmed"):
            faults.append(f"was answered with {outcome}")
        if outcome == "done" and not reached:
            faults.append("was done, and did not arrive")
        if outcome == "not sent" and (reached or arrived):
            faults.append("was not sent, and arrived")
        if self.plan.qos == 2 and received > 1:
            faults.append(f"was sent {received} times as a new message of QoS 2")
        # While mosquitto restarts, its subscriber may get a message twice that it has only once.
        copies = self.forwarded[number] if self.plan.kind.ends else arrived
        if self.plan.qos == 2 and copies > 1 and not self.plan.kind.goes_back:
            faults.append(f"arrived {copies} times at QoS 2")
        return faults


async def publish(endpoint: Endpoint, plan: Plan, number: int | str) -> str:
    """The outcome of a call. Where the broker ends, each message has a topic of its own, which the broker logs."""
    topic = f"outage/{plan.qos}/{number}" if plan.kind.ends else f"outage/{plan.qos}"
    answer = await endpoint.call("publish", topic=topic, payload=str(number), qos=plan.qos)
    result = answer.get("result")
    if result is None:
        return str(answer)
    if not result.get("isError"):
        return "done"
    told = result["content"][0]["text"]
    if "was not published" in told:
        return "not sent"
    return "unconfirmed" if "was not confirmed" in told else told


async def run(plan: Plan, progress: Progress = silent) -> Tally:
    rng = random.Random(plan.seed)
    tally = Tally(plan)
    async with stage(plan, rng) as (fault, endpoint):
        watcher = await asyncio.to_thread(watch, fault.broker)
        try:
            numbers = iter(range(plan.count))
            next_strike = rng.randrange(*plan.every)

            async def call() -> None:
                nonlocal next_strike
                for number in numbers:
                    if number >= next_strike:
                        next_strike = number + rng.randrange(*plan.every)
                        fault.strike()
                    outcome = await publish(endpoint, plan, number)
                    tally.outcomes[number] = outcome
                    progress(len(tally.outcomes), fault.strikes)
                    if outcome == "not sent":
                        # Otherwise the calls would be over before the outage is.
                        await fault.over()

            await asyncio.gather(*(call() for _ in range(CALLERS)))
            await fault.over()
            # Behind everything that the session still sends again.
            while await publish(endpoint, plan, "end") != "done":
                pass
            await asyncio.to_thread(settle, fault.broker, watcher)
            tally.strikes = fault.strikes
            count(tally, fault.broker, watcher)
        finally:
            await asyncio.to_thread(watcher.stop)
    return tally


def watch(broker: MortalBroker) -> Subscriber:
    """It has a session, which a broker with persistence keeps. With 3.1.1 no broker tells it to leave: it comes back."""
    return broker.subscriber("outage/#", "-c", version="311")


def settle(broker: MortalBroker, watcher: Subscriber) -> None:
    """Waits until the subscriber has got everything: a last message, which is repeated until it is subscribed again."""

    def last() -> bool:
        broker.publish("outage/last", "last", "-q", "2")
        return any(it.endswith("|last") for it in list(watcher.lines))

    wait_until("the last message", last)


def count(tally: Tally, broker: MortalBroker, watcher: Subscriber) -> None:
    for it in watcher.lines:
        payload = it.rpartition("|")[2]
        if payload.isdigit():
            tally.arrived[int(payload)] += 1
    prefix = f"outage/{tally.plan.qos}"
    for again, name in broker.messages("Received PUBLISH from outage", prefix):
        if name.isdigit():
            (tally.sent_again if again else tally.received)[int(name)] += 1
    for again, name in broker.messages("Sending PUBLISH to sub-", prefix):
        if name.isdigit() and not again:
            tally.forwarded[int(name)] += 1
