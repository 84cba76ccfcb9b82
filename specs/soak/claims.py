"""What is claimed, and what was seen to break it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

#: Every claim by its name. A run fails when one of them was broken.
CLAIMS = {
    "answered": "every call is answered within its timeout, and its connection stays open",
    "formed": "every answer is one of MCP's, and belongs to its call",
    "untouched": "no call over the untouched link fails, and none that needs no broker",
    "recovered": "no call fails once a fault has been over for the time of recovery",
    "named": "a call that fails for its broker names the broker as host:port",
    "arrived": "what was answered as published has arrived at the broker",
    "once": "what was published at QoS 0 or 2 has arrived no more than once",
    "unsent": "what was answered as not sent has not arrived",
    "invented": "nothing arrives that nobody published, and nothing outside the policy",
    "intact": "a payload arrives as it was published",
    "fresh": "a read returns the retained message that was published last",
    "gapless": "a receive returns every message between its first and its last, each once",
    "updates": "a subscription over the untouched link is told of each message, and lasts",
    "restored": "a subscription over a faulty link lasts, and is told of messages again once the fault is over",
    "patient": "a broker that turns connections away is tried at a bounded rate, however many calls come",
    "alive": "the gateway runs to the end, and no handler of it panics",
    "memory": "resident memory does not grow once the load is steady, and is bounded at any time",
    "threads": "the number of threads stays what it was at the start",
    "descriptors": "all descriptors are closed once all clients are gone",
    "log": "the log does not grow without a limit, whatever clients and brokers do",
    "counters": "no stream and no exchange is left once all clients are gone",
    "orderly": "SIGTERM ends the gateway in order, with exit code 0",
}

#: So many cases of one claim are kept with their traces; all are counted.
KEPT = 25


@dataclass
class Broken:
    """One case: what was seen, at which second of the run, and its trace."""

    at: float
    told: str
    trace: dict


@dataclass
class Claims:
    """The cases that broke each claim."""

    begun: float = field(default_factory=time.monotonic)
    counts: dict[str, int] = field(default_factory=dict)
    cases: dict[str, list[Broken]] = field(default_factory=dict)

    def broken(self, claim: str, told: str, /, **trace: object) -> None:
        """Notes that a claim does not hold."""
        if claim not in CLAIMS:
            raise KeyError(claim)
        self.counts[claim] = self.counts.get(claim, 0) + 1
        cases = self.cases.setdefault(claim, [])
        if len(cases) < KEPT:
            cases.append(Broken(self.second(), told, trace))

    def second(self, moment: float | None = None) -> float:
        """A moment as a second of the run."""
        return round((time.monotonic() if moment is None else moment) - self.begun, 3)

    @property
    def total(self) -> int:
        return sum(self.counts.values())
