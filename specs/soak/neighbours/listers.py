"""Neighbours that call list methods, and neighbours with a new session each time."""

from __future__ import annotations

from soak.caller import Caller
from soak.config import TOOLKITS
from soak.ledger import payload_of
from soak.mcp import MODERN
from soak.stage import Pace, Stage

# What `mcp_mqtt` offers where every tool is selected.
OFFERED = ("publish", "receive", "read", "query", "list_topics")
TOOLS = {f"{toolkit}__{tool}" for toolkit in TOOLKITS for tool in OFFERED}


async def lister(stage: Stage, name: str, toolkit: str, revision: str, rate: float) -> None:
    """Calls every list method, none of which needs a broker."""
    caller, pace = Caller(stage, name, revision), Pace(stage, rate)
    greeting = "server/discover" if revision == MODERN else "ping"
    while not stage.over.is_set():
        for method in ("tools/list", "resources/list", "resources/templates/list", greeting):
            await pace.wait()
            answer = await caller.call(toolkit, method, method, {}, local=True)
            if method == "tools/list" and answer.done:
                tools = {tool["name"] for tool in answer.result["tools"]}
                if tools != TOOLS:
                    stage.claims.broken("untouched", f"{name} was description of the tools {sorted(tools)} alone")
    await caller.end()


async def churner(stage: Stage, name: str, toolkit: str, revision: str, rate: float) -> None:
    """Begins a session, makes a few calls, and ends it."""
    pace, topic = Pace(stage, rate), stage.ledger.topic(toolkit, name)
    rng, turns = stage.rng(name), 0
    while not stage.over.is_set():
        await pace.wait()
        turns += 1
        caller = Caller(stage, f"{name}-{turns}", revision)
        await caller.publish(topic, payload_of(topic.last + 1, "x" * rng.randrange(100)), 1)
        uri = f"{toolkit}+mqtt://{topic.name}"
        await caller.call(toolkit, "subscribe", "resources/subscribe", {"uri": uri})
        if rng.random() < 0.5:
            await caller.publish(topic, payload_of(topic.last + 1, "y"), 2)
        await caller.end()
