"""What all actors of a run share."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

from soak.claims import Claims
from soak.disturbances import Disturbances
from soak.ledger import Ledger
from soak.tally import Tally
from soak.witness import Witness


@dataclass
class Stage:
    """The gateway's address, what is claimed, noted and counted, and the end of the run."""

    seed: int
    address: tuple[str, int]
    claims: Claims
    disturbances: dict[str, Disturbances]
    ledger: Ledger
    witnesses: dict[str, Witness]
    tally: Tally = field(default_factory=Tally)
    #: Set when neighbours are to finish what they do, and to stop.
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def rng(self, who: str) -> random.Random:
        """A random source of that actor's own, so that it does the same whoever else is there."""
        return random.Random(f"{self.seed}/{who}")

    async def pause(self, seconds: float) -> None:
        """Waits so long, or until the run is over."""
        try:
            async with asyncio.timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            return


class Pace:
    """So many turns a second: each at its time, and none to make up for those that came late."""

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
            # Others have to come to their turn as well.
            await asyncio.sleep(0)
