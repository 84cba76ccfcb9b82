"""Counts, outcomes and latencies of calls."""

from __future__ import annotations

import collections
import math
from dataclasses import dataclass, field

#: Buckets of latency: each is this much wider than the one before, from 50 µs on.
FACTOR, FIRST = 1.25, 50e-6


@dataclass
class Latencies:
    """A histogram with buckets of equal ratio."""

    buckets: collections.Counter[int] = field(default_factory=collections.Counter)
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds)
        self.buckets[max(0, math.ceil(math.log(max(seconds, FIRST) / FIRST, FACTOR)))] += 1

    def quantile(self, share: float) -> float:
        """The upper bound of the bucket in which that share of all is reached."""
        wanted = share * self.buckets.total()
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(self.longest, FIRST * FACTOR**bucket)
        return 0.0


@dataclass
class Row:
    """The calls of one operation over one toolkit."""

    calls: int = 0
    ends: collections.Counter[str] = field(default_factory=collections.Counter)
    latencies: Latencies = field(default_factory=Latencies)


class Tally:
    """Statistics of neighbours and hostile clients."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = collections.defaultdict(Row)
        self.bouts: collections.Counter[str] = collections.Counter()
        self.saw: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)

    def add(self, toolkit: str, operation: str, end: str, seconds: float, calls: int = 1) -> None:
        row = self.rows[toolkit, operation]
        row.calls += calls
        row.ends[end] += calls
        row.latencies.add(seconds)

    @property
    def calls(self) -> int:
        return sum(row.calls for row in self.rows.values())

    def failed(self, toolkit: str) -> int:
        """The number of calls of a toolkit that did not succeed."""
        return sum(row.calls - row.ends["done"] for (of, _), row in self.rows.items() if of == toolkit)
