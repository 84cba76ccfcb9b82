"""The hostile clients, by kind. Each kind has an address, connections and sessions of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from soak.hostile.attacker import Attacker
from soak.hostile.bodies import batches, bodies, documents
from soak.hostile.calls import cancels, storms, topics
from soak.hostile.heads import authorities, heads
from soak.hostile.keys import handshakes, keys
from soak.hostile.readers import deaf, streams
from soak.hostile.sessions import sessions, subscriptions
from soak.stage import Stage
from soak.wire import Closed

#: One bout of each kind: bounded in time and in connections.
KINDS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    "heads": heads,
    "authorities": authorities,
    "bodies": bodies,
    "batches": batches,
    "documents": documents,
    "deaf": deaf,
    "streams": streams,
    "sessions": sessions,
    "subscriptions": subscriptions,
    "topics": topics,
    "storms": storms,
    "cancels": cancels,
    "keys": keys,
    "handshakes": handshakes,
}

#: Seconds between two bouts of a kind, at most.
PAUSE = 1.0
#: Longest duration of a bout, in seconds; then it is cancelled.
BOUT = 20.0


async def harass(stage: Stage, kind: str) -> None:
    """Plays bout after bout of a kind until it is cancelled."""
    attacker = Attacker(stage, kind, f"127.0.1.{list(KINDS).index(kind) + 1}")
    while True:
        try:
            async with asyncio.timeout(BOUT):
                await KINDS[kind](attacker)
        except (Closed, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            # The treatment of hostile clients is not checked.
            attacker.saw(type(error).__name__)
        finally:
            attacker.leave()
        stage.tally.bouts[kind] += 1
        await asyncio.sleep(attacker.rng.uniform(0.2, PAUSE))
