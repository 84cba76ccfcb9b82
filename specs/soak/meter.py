"""Resource usage of the gateway, sampled every second, and its limits."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from soak.claims import Claims

MIB = 1 << 20
PAGE = os.sysconf("SC_PAGESIZE")


@dataclass
class Sample:
    """One sample: second of the run, and resource usage."""

    at: float
    resident: int
    threads: int
    descriptors: int
    log: int
    processor: float


#: A run of fewer seconds ends before the allocator has come to its size.
SHORT = 120.0


@dataclass
class Memory:
    """How far resident memory may grow between two parts of a run, and how large it may ever be.

    The first tenth is left out: pools, tables and the allocator's arenas come to their size in it. Of the rest, the
    median of the last third is held against that of the first. Medians, since bodies of 4 MiB come and go within a
    second; thirds, since a short run has a handful of samples in a tenth of it. What is allowed is a tenth and some
    MiB: glibc keeps an arena for each thread, and gives back the pages at its top alone, so that one small allocation
    behind a large body keeps some MiB for a while. A leak of 1 KiB a call at 500 calls a second comes to 180 MiB
    between the thirds of a run of ten minutes.

    The most that it may ever be is what the hostile clients can make it hold at once when each body of theirs takes
    four times its size, and as much again.
    """

    factor: float = 1.10
    slack: int = 12 * MIB
    slack_of_short: int = 48 * MIB
    most: int = 256 * MIB

    def judge(self, claims: Claims, samples: list[Sample]) -> tuple[float, float]:
        """Checks the claim against the samples; returns the two medians, in MiB."""
        rest = samples[len(samples) // 10 :]
        third = max(1, len(rest) // 3)
        before = statistics.median(sample.resident for sample in rest[:third])
        after = statistics.median(sample.resident for sample in rest[-third:])
        peak = max(sample.resident for sample in samples)
        slack = self.slack if samples[-1].at - samples[0].at >= SHORT else self.slack_of_short
        series = [round(sample.resident / MIB, 1) for sample in thinned(samples, 40)]
        if after > before * self.factor + slack:
            description = f"resident memory grew from {before / MIB:.1f} to {after / MIB:.1f} MiB"
            claims.broken("memory", description, series=series)
        if peak > self.most:
            claims.broken("memory", f"resident memory came to {peak / MIB:.1f} MiB", series=series)
        return before / MIB, after / MIB


#: Allowed size of the log: a base, and an increment for each second (about fifty lines).
LOG_BURST, LOG_RATE = 1 * MIB, 16 << 10


def judge_log(claims: Claims, samples: list[Sample]) -> None:
    """Checks the growth of the log."""
    first, last = samples[0], samples[-1]
    allowed = LOG_BURST + LOG_RATE * (last.at - first.at)
    if last.log - first.log > allowed:
        description = f"the log grew by {(last.log - first.log) / MIB:.1f} MiB in {last.at - first.at:.0f} s"
        claims.broken("log", description, allowed=f"{allowed / MIB:.1f} MiB")


def judge_threads(claims: Claims, samples: list[Sample]) -> None:
    """Checks that no threads were added during the run, except a few for name resolution and blocking work."""
    first, most = samples[0].threads, max(sample.threads for sample in samples)
    if most > first + 4:
        claims.broken("threads", f"there were {first} threads at the start and {most} later")


def thinned(samples: list[Sample], most: int) -> list[Sample]:
    """Evenly selected samples."""
    step = max(1, -(-len(samples) // most))
    return samples[::step]


class Meter:
    """Samples a process once a second."""

    def __init__(self, pid: int, log: Path, claims: Claims) -> None:
        self._proc = Path(f"/proc/{pid}")
        self._log = log
        self._claims = claims
        self.samples: list[Sample] = []
        #: Longest delay of the event loop of the soak, in seconds.
        self.late = 0.0

    def look(self) -> Sample:
        """Takes a sample. Raises OSError if the process does not exist."""
        # The name of a process may contain blanks; what follows it does not.
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return Sample(
            at=self._claims.second(),
            resident=int(fields[21]) * PAGE,
            threads=int(fields[17]),
            descriptors=len(os.listdir(self._proc / "fd")),
            log=self._log.stat().st_size,
            processor=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
        )

    async def watch(self) -> None:
        """Takes a sample each second until the process ends."""
        while True:
            due = time.monotonic() + 1
            try:
                self.samples.append(self.look())
            except OSError:
                return
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.late = max(self.late, time.monotonic() - due)
