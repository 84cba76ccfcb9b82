"""Neighbours that read: a retained message that they have published, and a run of messages with `receive`."""

from __future__ import annotations

import asyncio
import json

from soak.caller import NO_MESSAGE, Caller
from soak.config import STEADY
from soak.ledger import ROOT, number_of, paddings, payload_of
from soak.mcp import Answer
from soak.stage import Pace, Stage

#: A receive asks for so many messages, or for what comes within so many milliseconds.
LIMIT, MILLIS = 10, 8_000
#: Seconds between two messages for it.
APART = 0.03


async def reader(stage: Stage, name: str, toolkit: str, revision: str, rate: float) -> None:
    """Publishes a retained message, and reads it."""
    caller, rng, pace = Caller(stage, name, revision), stage.rng(name), Pace(stage, rate)
    fillings, topic = paddings(rng, [10, 500, 20_000]), stage.ledger.topic(toolkit, name)
    while not stage.over.is_set():
        await pace.wait()
        payload = payload_of(topic.last + 1, rng.choice(fillings))
        published = await caller.publish(topic, payload, 1, retain=True)
        if not published.done:
            continue
        answer = await caller.call(toolkit, "read", "resources/read", {"uri": f"{toolkit}+mqtt://{topic.name}"})
        calm = toolkit == STEADY or stage.disturbances[toolkit].calm(published.begun, answer.ended)
        if answer.done:
            text = answer.result["contents"][0].get("text", "")
            count = number_of(text.encode())
            # Over a faulty link an older message may still have been in transit.
            if count != topic.last and (calm or count is None or count > topic.last):
                description = f"a read of {topic.name} returned message {count}, not {topic.last}"
                stage.claims.broken("fresh", description, text=text[:200], begun=stage.claims.second(answer.begun))
        elif calm and answer.description.startswith(NO_MESSAGE):
            description = f"a read of {topic.name} found no message, and message {topic.last} is retained"
            stage.claims.broken("fresh", description, begun=stage.claims.second(answer.begun))
    await caller.end()


async def receiver(stage: Stage, name: str, toolkit: str, revision: str, rate: float) -> None:
    """Receives from a topic to which the witness publishes continuously."""
    caller, pace = Caller(stage, name, revision), Pace(stage, rate)
    topic, count = f"{ROOT}/{toolkit}/feed-{name}", 0
    arguments = {"topic": topic, "limit": LIMIT, "timeout": MILLIS}
    params = {"name": f"{toolkit}__receive", "arguments": arguments}
    while not stage.over.is_set():
        await pace.wait()
        first = count + 1
        call = asyncio.ensure_future(caller.call(toolkit, "receive", "tools/call", params))
        while not call.done():
            count += 1
            await stage.witnesses[toolkit].publish(topic, payload_of(count, "").encode())
            await asyncio.wait([call], timeout=APART)
        answer = call.result()
        if answer.done:
            check_run(stage, toolkit, topic, answer, first, count)
    await caller.end()


def check_run(stage: Stage, toolkit: str, topic: str, answer: Answer, first: int, last: int) -> None:
    """Whether a receive returned messages one after the other, of those that were published meanwhile."""
    messages = json.loads(answer.result["content"][0]["text"])
    counts = [number_of(message["payload"].encode()) or 0 for message in messages]
    trace = {
        "returned": str(counts),
        "published": f"{first} to {last}",
        "begun": stage.claims.second(answer.begun),
        "ended": stage.claims.second(answer.ended),
    }
    # A message that was on its way when the call began may be the first.
    if counts and not (first - 1 <= counts[0] and counts[-1] <= last) or counts != sorted(set(counts)):
        stage.claims.broken("gapless", f"a receive of {topic} returned what was not published meanwhile", **trace)
        return
    if toolkit != STEADY and not stage.disturbances[toolkit].calm(answer.begun, answer.ended):
        return
    if counts and counts[-1] - counts[0] != len(counts) - 1:
        stage.claims.broken("gapless", f"a receive of {topic} has gaps", **trace)
    if not counts and last - first > 2 * LIMIT:
        stage.claims.broken("gapless", f"a receive of {topic} returned nothing", **trace)
