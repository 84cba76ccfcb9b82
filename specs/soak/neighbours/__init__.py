"""The well-behaved clients: who they are, over which toolkit, and how often they call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from soak.config import TOOLKITS
from soak.door import OPEN, SECURE
from soak.mcp import BATCHES, LEGACY, MODERN
from soak.neighbours.listers import churner, lister
from soak.neighbours.publishers import batcher, publisher
from soak.neighbours.readers import reader, receiver
from soak.neighbours.subscribers import listener, subscriber
from soak.stage import Stage

#: A neighbour, by stage, name, toolkit, revision and turns a second: it plays until the run is over.
Neighbour = Callable[[Stage, str, str, str, float], Coroutine[Any, Any, None]]

#: Kind, door, revision, what it does, how many there are for each toolkit, and turns a second of each.
ROSTER: list[tuple[str, str, str, Neighbour, int, float]] = [
    ("publisher", OPEN, MODERN, publisher, 4, 30.0),
    ("session-publisher", OPEN, LEGACY, publisher, 2, 15.0),
    ("batcher", OPEN, BATCHES, batcher, 2, 10.0),
    ("reader", OPEN, MODERN, reader, 2, 6.0),
    ("session-reader", OPEN, LEGACY, reader, 1, 6.0),
    ("receiver", OPEN, MODERN, receiver, 2, 2.0),
    ("session-receiver", OPEN, LEGACY, receiver, 1, 2.0),
    ("subscriber", OPEN, LEGACY, subscriber, 2, 8.0),
    ("listener", OPEN, MODERN, listener, 2, 8.0),
    ("lister", OPEN, MODERN, lister, 1, 10.0),
    ("session-lister", OPEN, LEGACY, lister, 1, 10.0),
    ("churner", OPEN, LEGACY, churner, 1, 4.0),
    ("keyed-publisher", SECURE, MODERN, publisher, 1, 15.0),
    ("keyed-subscriber", SECURE, LEGACY, subscriber, 1, 4.0),
    ("keyed-listener", SECURE, MODERN, listener, 1, 4.0),
    ("keyed-churner", SECURE, LEGACY, churner, 1, 2.0),
]


def neighbours(stage: Stage, load: float) -> list[Coroutine[Any, Any, None]]:
    """All of them, `load` times as often as the roster says."""
    return [
        neighbour(stage.through(door), f"{toolkit}-{kind}-{index}", toolkit, revision, rate * load)
        for toolkit in TOOLKITS
        for kind, door, revision, neighbour, count, rate in ROSTER
        for index in range(count)
    ]
