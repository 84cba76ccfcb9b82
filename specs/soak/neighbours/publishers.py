"""Neighbours that publish: one message a call, or twenty in a batch."""

from __future__ import annotations

from soak.caller import Caller
from soak.ledger import paddings, payload_of
from soak.stage import Pace, Stage

#: Lengths of payloads in characters, equally frequent.
SIZES = [0, 20, 100, 100, 100, 400, 400, 2_000, 2_000, 30_000]
#: Messages of a batch.
BATCH = 20


async def publisher(stage: Stage, name: str, toolkit: str, revision: str, rate: float) -> None:
    """Publishes at QoS 0, 1 and 2."""
    caller, rng, pace = Caller(stage, name, revision), stage.rng(name), Pace(stage, rate)
    fillings, topic = paddings(rng, SIZES), stage.ledger.topic(toolkit, name)
    while not stage.over.is_set():
        await pace.wait()
        await caller.publish(topic, payload_of(topic.last + 1, rng.choice(fillings)), rng.randrange(3))
    await caller.end()


async def batcher(stage: Stage, name: str, toolkit: str, revision: str, rate: float) -> None:
    """Publishes in batches, as 2025-03-26 allows."""
    caller, rng, pace = Caller(stage, name, revision), stage.rng(name), Pace(stage, rate)
    fillings, topic = paddings(rng, SIZES[:-1]), stage.ledger.topic(toolkit, name)
    while not stage.over.is_set():
        await pace.wait()
        first = topic.last + 1
        await caller.batch(
            topic,
            [(payload_of(first + index, rng.choice(fillings)), rng.randrange(3)) for index in range(BATCH)],
        )
    await caller.end()
