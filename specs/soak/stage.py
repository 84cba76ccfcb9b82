"""State shared by all actors of a run."""

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
    """Address of the gateway, claims, ledger, counters, and the end of the run."""

    seed: int
    address: tuple[str, int]
    claims: Claims
    disturbances: dict[str, Disturbances]
    ledger: Ledger
    witnesses: dict[str, Witness]
    tally: Tally = field(default_factory=Tally)
    #: Set when neighbours must finish their turn and stop.
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def rng(self, who: str) -> random.Random:
        """A separate random source for an actor, independent of the other actors."""
        return random.Random(f"{self.seed}/{who}")

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
