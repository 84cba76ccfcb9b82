"""State shared by all actors of a run."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field, replace

from soak.claims import Claims
from soak.disturbances import Disturbances
from soak.door import OPEN, Door
from soak.ledger import Ledger
from soak.tally import Tally
from soak.wire import Connection
from soak.witness import Witness


@dataclass
class Stage:
    """The doors of the gateway, claims, ledger, counters, and the end of the run."""

    seed: int
    doors: dict[str, Door]
    claims: Claims
    disturbances: dict[str, Disturbances]
    ledger: Ledger
    witnesses: dict[str, Witness]
    tally: Tally = field(default_factory=Tally)
    #: Set when neighbours must finish their turn and stop.
    over: asyncio.Event = field(default_factory=asyncio.Event)
    #: The door through which an actor comes.
    door: str = OPEN

    def rng(self, who: str) -> random.Random:
        """A separate random source for an actor, independent of the other actors."""
        return random.Random(f"{self.seed}/{who}")

    def through(self, door: str) -> Stage:
        """The same stage for an actor that comes through another door."""
        return replace(self, door=door)

    async def enter(self) -> Connection:
        """A connection through the actor's door."""
        return await self.doors[self.door].enter()

    async def pause(self, seconds: float) -> None:
        """Waits for a time, or until the end of the run."""
        try:
            async with asyncio.timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            return


class Pace:
    """A fixed number of turns per second; late turns are skipped."""

    def __init__(self, stage: Stage, rate: float) -> None:
        self._stage = stage
        self._period = 1 / rate
        self._next = time.monotonic()

    async def wait(self) -> None:
        """Waits for the time of the next turn."""
        now = time.monotonic()
        self._next = max(self._next + self._period, now)
        if self._next > now:
            await self._stage.pause(self._next - now)
        else:
            # Yield to the other actors.
            await asyncio.sleep(0)
