"""The times of injected faults, by toolkit, to judge failed calls."""

from __future__ import annotations

import bisect
import math
import time
from dataclasses import dataclass

#: Within so many seconds after the end of a fault, calls may still fail: the longest wait between two attempts to
#: connect, the time to find out that a silent connection is dead, and as much again for a slow machine.
RECOVERY = 12.0


@dataclass
class Disturbance:
    """A fault, and its first and last moment; without an end while it lasts."""

    kind: str
    begun: float
    ended: float = math.inf

    def end(self) -> None:
        self.ended = time.monotonic()


class Disturbances:
    """The faults of one toolkit's way to its broker, in order."""

    def __init__(self) -> None:
        self.all: list[Disturbance] = []
        self._begun: list[float] = []

    def begin(self, kind: str) -> Disturbance:
        disturbance = Disturbance(kind, time.monotonic())
        self.all.append(disturbance)
        self._begun.append(disturbance.begun)
        return disturbance

    def within(self, since: float, until: float) -> list[Disturbance]:
        """Those that lasted at some moment between two."""
        before = self.all[: bisect.bisect_right(self._begun, until)]
        return [disturbance for disturbance in before[-100:] if disturbance.ended >= since]

    def calm(self, since: float, until: float) -> bool:
        """Whether all faults had been over for the time of recovery, and none began."""
        return not self.within(since - RECOVERY, until)

    @property
    def now(self) -> str:
        """The fault that lasts at this moment."""
        return self.all[-1].kind if self.all and self.all[-1].ended == math.inf else "open"
