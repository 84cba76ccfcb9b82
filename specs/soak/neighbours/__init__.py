"""The well-behaved clients: who they are, over which toolkit, and how often they call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from soak.config import TOOLKITS
from soak.mcp import BATCHES, LEGACY, MODERN
from soak.neighbours.listers import churner, lister
from soak.neighbours.publishers import batcher, publisher
from soak.neighbours.readers import reader, receiver
from soak.neighbours.subscribers import listener, subscriber
from soak.stage import Stage

#: A neighbour, by stage, name, toolkit, revision and turns a second: it plays until the run is over.
Neighbour = Callable[[Stage, str, str, str, float], Coroutine[Any, Any, None]]

#: Kind, revision, what it does, how many there are for each toolkit, and turns a second of each.
ROSTER: list[tuple[str, str, Neighbour, int, float]] = [
    ("publisher", MODERN, publisher, 4, 30.0),
    ("session-publisher", LEGACY, publisher, 2, 15.0),
    ("batcher", BATCHES, batcher, 2, 10.0),
    ("reader", MODERN, reader, 2, 6.0),
    ("session-reader", LEGACY, reader, 1, 6.0),
    ("receiver", MODERN, receiver, 2, 2.0),
    ("session-receiver", LEGACY, receiver, 1, 2.0),
    ("subscriber", LEGACY, subscriber, 2, 8.0),
    ("listener", MODERN, listener, 2, 8.0),
    ("lister", MODERN, lister, 1, 10.0),
    ("session-lister", LEGACY, lister, 1, 10.0),
    ("churner", LEGACY, churner, 1, 4.0),
]


def neighbours(stage: Stage, load: float) -> list[Coroutine[Any, Any, None]]:
    """All of them, `load` times as often as the roster says."""
    return [
        neighbour(stage, f"{toolkit}-{kind}-{index}", toolkit, revision, rate * load)
        for toolkit in TOOLKITS
        for kind, revision, neighbour, count, rate in ROSTER
        for index in range(count)
    ]
