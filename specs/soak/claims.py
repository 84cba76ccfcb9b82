"""The claims of the soak test, and their violations."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

#: Every claim by name. A run fails if one of them is violated.
CLAIMS = {
    "answered": "every call gets a response within its timeout, and its connection stays open",
    "formed": "every response is valid MCP and belongs to its call",
    "untouched": "no call over the link without faults fails, and no call that needs no broker",
    "recovered": "no call fails after the recovery time of a fault",
    "named": "a call that fails because of its broker names the broker as host:port",
    "arrived": "every message confirmed as published arrives at the broker",
    "once": "a message at QoS 0 or 2 arrives at most once",
    "unsent": "a message reported as not sent never arrives",
    "invented": "no message arrives that was not published or is not allowed",
    "intact": "payloads arrive unchanged",
    "fresh": "a read returns the latest retained message",
    "gapless": "a receive returns every message between its first and last one, each once",
    "updates": "a subscription over the link without faults gets an update for each message and does not end",
    "restored": "a subscription over a faulty link does not end, and gets updates again after the fault",
    "patient": "connection attempts to a broker that refuses connections have a bounded rate, at any number of calls",
    "alive": "the gateway runs until the end, and no handler panics",
    "memory": "resident memory is bounded and does not grow under steady load",
    "threads": "the number of threads does not change",
    "descriptors": "all descriptors are closed after all clients have disconnected",
    "log": "the growth of the log is bounded, whatever clients and brokers do",
    "recorded": "the audit log is an intact chain over all its files, and sealed after the stop",
    "counters": "no stream or exchange remains after all clients have disconnected",
    "orderly": "SIGTERM stops the gateway in order, with exit code 0",
}

#: Most violations of a claim that are kept with their traces; all are counted.
KEPT = 25


@dataclass
class Violation:
    """One violation: second of the run, description, and trace."""

    at: float
    description: str
    trace: dict


@dataclass
class Claims:
    """The violations of each claim."""

    begun: float = field(default_factory=time.monotonic)
    counts: dict[str, int] = field(default_factory=dict)
    cases: dict[str, list[Violation]] = field(default_factory=dict)

    def broken(self, claim: str, description: str, /, **trace: object) -> None:
        """Records a violation of a claim."""
        if claim not in CLAIMS:
            raise KeyError(claim)
        self.counts[claim] = self.counts.get(claim, 0) + 1
        cases = self.cases.setdefault(claim, [])
        if len(cases) < KEPT:
            cases.append(Violation(self.second(), description, trace))

    def second(self, moment: float | None = None) -> float:
        """Converts a monotonic time to seconds since the start of the run."""
        return round((time.monotonic() if moment is None else moment) - self.begun, 3)

    @property
    def total(self) -> int:
        return sum(self.counts.values())
