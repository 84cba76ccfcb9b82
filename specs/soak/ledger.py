"""Published messages, their responses, and their arrival at the broker: the delivery claims.

Each publisher has a topic of its own and numbers its messages, so that a message that arrives names the call that
published it. What is settled is forgotten, so that a run of any length takes as much memory as a short one.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from soak.claims import Claims
from soak.disturbances import Disturbances
from soak.mcp import End

#: Below this level every message is accounted for; below the other one are those of hostile clients.
ROOT, HOSTILE = "soak", "hostile"
#: Seconds after which a confirmed message that has not arrived counts as lost.
OVERDUE = 30.0
#: Seconds for which an arrived message is kept, to detect duplicates.
SETTLED = 10.0
#: Seconds before the kill of a broker in which acknowledged messages may be lost.
UNFLUSHED = 3.0


@dataclass(slots=True)
class Entry:
    """One message: its call, its response, and the number of arrivals."""

    call: str
    qos: int
    called: float
    end: End | None = None
    description: str = ""
    answered: float = 0.0
    arrivals: int = 0


@dataclass
class Topic:
    """The open messages of one publisher."""

    name: str
    toolkit: str
    last: int = 0
    open: dict[int, Entry] = field(default_factory=dict)


class Ledger:
    """All messages published below ROOT through the gateway."""

    def __init__(self, claims: Claims, disturbances: dict[str, Disturbances], untouched: str, mortal: str) -> None:
        self.claims = claims
        self.disturbances = disturbances
        #: The toolkit whose link has no faults, so that QoS 0 must arrive too.
        self.untouched = untouched
        #: The toolkit whose broker is killed from time to time.
        self.mortal = mortal
        self.topics: dict[str, Topic] = {}
        self.arrived_in_all = self.repeated = self.hostile = self.lost_with_broker = 0
        #: Confirmed messages at QoS 0 that were lost over a faulty link, which is allowed.
        self.lost_at_qos_0 = 0

    def topic(self, toolkit: str, name: str) -> Topic:
        full = f"{ROOT}/{toolkit}/{name}"
        return self.topics.setdefault(full, Topic(full, toolkit))

    def called(self, topic: Topic, qos: int, call: str) -> int:
        """Records a message before it is published; returns its number."""
        topic.last += 1
        topic.open[topic.last] = Entry(call, qos, time.monotonic())
        return topic.last

    def answered(self, topic: Topic, count: int, end: End, description: str) -> None:
        """Records the response of the call."""
        entry = topic.open[count]
        entry.end, entry.description, entry.answered = end, description, time.monotonic()
        if end is End.UNSENT and entry.arrivals:
            self._unsent(topic, count, entry)

    def arrived(self, name: str, qos: int, payload: bytes) -> None:
        """Records a message received by the witness."""
        if name.startswith(f"{HOSTILE}/"):
            self.hostile += 1
            return
        self.arrived_in_all += 1
        topic = self.topics.get(name)
        if topic is None:
            self.claims.broken("invented", f"a message on {name[:200]!r}, to which nobody published", qos=qos)
            return
        count = number_of(payload)
        if count is None:
            self.claims.broken("intact", f"a message on {name} is damaged", payload=repr(payload[:200]), qos=qos)
            return
        if not 0 < count <= topic.last:
            self.claims.broken("invented", f"message {count} on {name} was never published", last=topic.last)
            return
        entry = topic.open.get(count)
        if entry is None:
            self._again(topic, count, qos, None)
            return
        entry.arrivals += 1
        if entry.qos != qos:
            self.claims.broken("intact", f"message {count} on {name} came at QoS {qos}", **self._trace(topic, entry))
        if entry.arrivals > 1:
            self._again(topic, count, qos, entry)
        if entry.end is End.UNSENT:
            self._unsent(topic, count, entry)

    def settle(self) -> None:
        """Removes completed messages and records lost ones."""
        now = time.monotonic()
        for topic in self.topics.values():
            for count, entry in list(topic.open.items()):
                if entry.end is not End.DONE or now - entry.answered < SETTLED:
                    continue
                if entry.arrivals:
                    del topic.open[count]
                elif now - entry.answered > OVERDUE:
                    del topic.open[count]
                    self._lost(topic, count, entry)

    def outstanding(self) -> int:
        """The number of confirmed messages that must still arrive."""
        return sum(1 for topic, entry in self._all() if self._due(topic, entry))

    def close(self) -> None:
        """Records all confirmed messages that have not arrived as lost, at the end of the run."""
        for topic in self.topics.values():
            for count, entry in topic.open.items():
                if entry.end is End.DONE and not entry.arrivals:
                    self._lost(topic, count, entry)

    def _all(self) -> Iterator[tuple[Topic, Entry]]:
        for topic in self.topics.values():
            for entry in topic.open.values():
                yield topic, entry

    def _due(self, topic: Topic, entry: Entry) -> bool:
        return (
            entry.end is End.DONE
            and not entry.arrivals
            and (entry.qos > 0 or topic.toolkit == self.untouched)
            and not self._fell_with_broker(topic, entry)
        )

    def _fell_with_broker(self, topic: Topic, entry: Entry) -> bool:
        """Whether the broker that acknowledged a message was killed before the witness can be sure to have it."""
        return topic.toolkit == self.mortal and bool(
            self.disturbances[topic.toolkit].within(entry.called, entry.answered + UNFLUSHED)
        )

    def _lost(self, topic: Topic, count: int, entry: Entry) -> None:
        if self._due(topic, entry):
            description = f"message {count} on {topic.name} was answered as done and has not arrived"
            self.claims.broken("arrived", description, **self._trace(topic, entry))
        elif entry.qos:
            self.lost_with_broker += 1
        else:
            self.lost_at_qos_0 += 1

    def _again(self, topic: Topic, count: int, qos: int, entry: Entry | None) -> None:
        self.repeated += 1
        if qos != 1:
            trace = self._trace(topic, entry) if entry else {}
            self.claims.broken("once", f"message {count} on {topic.name} arrived again at QoS {qos}", **trace)

    def _unsent(self, topic: Topic, count: int, entry: Entry) -> None:
        description = f"message {count} on {topic.name} arrived, and its call was answered as not sent"
        self.claims.broken("unsent", description, **self._trace(topic, entry))

    def _trace(self, topic: Topic, entry: Entry) -> dict[str, object]:
        second = self.claims.second
        until = entry.answered or time.monotonic()
        faults = self.disturbances[topic.toolkit].within(entry.called - UNFLUSHED, until + UNFLUSHED)
        return {
            "call": entry.call,
            "qos": entry.qos,
            "called": second(entry.called),
            "answer": entry.end.value if entry.end else "none yet",
            "description": entry.description[:300],
            "answered": second(entry.answered) if entry.answered else None,
            "arrivals": entry.arrivals,
            "faults": [f"{fault.kind} from {second(fault.begun)}" for fault in faults],
        }


#: Characters of payloads: those that JSON must escape, and those with two to four bytes in UTF-8.
LETTERS = 'abcdefgh 0123456789"\\\n\t/{}[]:,üß€→漢😀\u2028'


def paddings(rng: random.Random, sizes: list[int]) -> list[str]:
    """Fillings of these sizes, in characters, to choose from."""
    return ["".join(rng.choices(LETTERS, k=size)) for size in sizes]


def payload_of(count: int, padding: str) -> str:
    """A payload with its number and a checksum."""
    return f"{count} {zlib.crc32(padding.encode()):08x} {padding}"


def number_of(payload: bytes) -> int | None:
    """The number in a payload; None if the checksum is wrong."""
    try:
        count, check, padding = payload.split(b" ", 2)
        return int(count) if int(check, 16) == zlib.crc32(padding) else None
    except ValueError:
        return None


#: Chooses the payload of the next message of a publisher.
Filling = Callable[[int], str]
