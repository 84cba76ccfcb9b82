"""The faults of the link and the mortal broker, one after the other, with pauses in between."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator

from fault_proxy import FaultProxy

from soak.claims import Claims
from soak.disturbances import RECOVERY, Disturbance, Disturbances
from soak.processes import Broker
from soak.witness import Witness

#: Pauses between faults, in seconds; long ones leave time to check the claims about recovery.
CALMS = (1.0, 3.0, 6.0, 2 * RECOVERY + 6.0)
#: Seconds after which the gateway must detect a silent connection.
FOUND_DEAD = 10.0
#: So often a broker that turns connections away is tried at first, and in each second: one connection after the other
#: of those that were healthy, and then as the config's `reconnect` says.
TRIES, TRIES_A_SECOND = 50, 20


def shuffled(rng: random.Random, kinds: list[str]) -> Iterator[str]:
    """All kinds in one order after the other, so that each comes early and often."""
    while True:
        yield from rng.sample(kinds, len(kinds))


async def disturb_link(
    link: FaultProxy, disturbances: Disturbances, rng: random.Random, without: set[str], claims: Claims
) -> None:
    """Injects faults into a link until cancelled."""

    async def last() -> None:
        await asyncio.sleep(rng.uniform(0.3, 4.0))

    async def close() -> None:
        link.cut(hard=rng.random() < 0.5)

    async def close_often() -> None:
        for _ in range(rng.randrange(3, 12)):
            link.cut(hard=rng.random() < 0.5)
            await asyncio.sleep(rng.uniform(0.05, 0.5))

    async def cut_within() -> None:
        link.cut_within()
        await last()

    async def stall() -> None:
        link.stall()
        await last()

    async def stall_and_close() -> None:
        await stall()
        link.cut(hard=True)

    async def swallow() -> None:
        link.swallow()
        await asyncio.sleep(FOUND_DEAD)
        link.cut(hard=True)

    async def splinter() -> None:
        link.segment = 5
        await last()

    async def delay() -> None:
        link.delay = rng.uniform(0.02, 0.3)
        await last()

    async def refuse() -> None:
        await link.refuse()
        link.cut(hard=True)
        try:
            await last()
        finally:
            await link.open()

    async def turn_away() -> None:
        before, begun = link.turned_away, time.monotonic()
        link.turn_away()
        await last()
        tries, seconds = link.turned_away - before, time.monotonic() - begun
        if tries > TRIES + TRIES_A_SECOND * seconds:
            claims.broken("patient", f"a broker that turned connections away was tried {tries} times in {seconds:.1f} s")

    faults: dict[str, Callable[[], Awaitable[None]]] = {
        "close": close,
        "close often": close_often,
        "cut within a packet": cut_within,
        "stall": stall,
        "stall and close": stall_and_close,
        "swallow": swallow,
        "splinter": splinter,
        "delay": delay,
        "refuse": refuse,
        "turn away": turn_away,
    }
    kinds = [kind for kind in faults if kind not in without]
    calms = itertools.cycle(CALMS)
    for kind in shuffled(rng, kinds) if kinds else ():
        await asyncio.sleep(next(calms) * rng.uniform(0.7, 1.3))
        disturbance = disturbances.begin(kind)
        try:
            await faults[kind]()
        finally:
            link.pass_on()
            disturbance.end()


async def kill_broker(broker: Broker, witness: Witness, disturbances: Disturbances, rng: random.Random) -> None:
    """Kills and restarts a broker until cancelled. A fault lasts until its witness is subscribed again."""
    for hard in itertools.cycle([True, False]):
        await asyncio.sleep(rng.choice(CALMS) + rng.uniform(2.0, 6.0))
        disturbance: Disturbance = disturbances.begin("killed" if hard else "restarted")
        try:
            await broker.stop(hard)
            await asyncio.sleep(rng.uniform(0.2, 3.0))
        finally:
            # Restart it even if the run ends here: the final checks need the broker.
            await asyncio.shield(asyncio.ensure_future(restart(broker, witness)))
            disturbance.end()


async def restart(broker: Broker, witness: Witness) -> None:
    await broker.start()
    await witness.begin()


#: Faults that can be excluded by name.
KINDS = (
    "close",
    "close often",
    "cut within a packet",
    "stall",
    "stall and close",
    "swallow",
    "splinter",
    "delay",
    "refuse",
    "turn away",
    "kill",
)
