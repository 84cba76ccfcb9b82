"""What was published, what was answered to it, and what has arrived at the broker: the claims of delivery.

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
#: A message that was answered as done and has not arrived after so many seconds is lost.
OVERDUE = 30.0
#: A message that was done and has arrived is remembered for so many seconds, in case that it arrives again.
SETTLED = 10.0
#: What a broker that is killed had acknowledged within so many seconds before may not have reached the witness.
UNFLUSHED = 3.0


@dataclass(slots=True)
class Entry:
    """One message: the call that published it, its answer, and how often it arrived."""

    call: str
    qos: int
    called: float
    end: End | None = None
    told: str = ""
    answered: float = 0.0
    arrivals: int = 0


@dataclass
class Topic:
    """The messages of one publisher that are not settled yet."""

    name: str
    toolkit: str
    last: int = 0
    open: dict[int, Entry] = field(default_factory=dict)


class Ledger:
    """Everything that was published below ROOT by way of the gateway."""

    def __init__(self, claims: Claims, disturbances: dict[str, Disturbances], untouched: str, mortal: str) -> None:
        self.claims = claims
        self.disturbances = disturbances
        #: The toolkit whose link nobody touches, so that QoS 0 must arrive as well.
        self.untouched = untouched
        #: The toolkit whose broker is killed now and then.
        self.mortal = mortal
        self.topics: dict[str, Topic] = {}
        self.arrived_in_all = self.repeated = self.hostile = self.lost_with_broker = 0
        #: A message of QoS 0 over a faulty link that was done and did not arrive, which is its right.
        self.lost_at_qos_0 = 0

    def topic(self, toolkit: str, name: str) -> Topic:
        full = f"{ROOT}/{toolkit}/{name}"
        return self.topics.setdefault(full, Topic(full, toolkit))

    def called(self, topic: Topic, qos: int, call: str) -> int:
        """Notes that a message is about to be published; its number."""
        topic.last += 1
        topic.open[topic.last] = Entry(call, qos, time.monotonic())
        return topic.last

    def answered(self, topic: Topic, count: int, end: End, told: str) -> None:
        """Notes what the call was answered."""
        entry = topic.open[count]
        entry.end, entry.told, entry.answered = end, told, time.monotonic()
        if end is End.UNSENT and entry.arrivals:
            self._unsent(topic, count, entry)

    def arrived(self, name: str, qos: int, payload: bytes) -> None:
        """Takes a message that the witness was sent."""
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
        """Forgets what is settled, and notes what is lost."""
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
        """How many messages were answered as done and must still arrive."""
        return sum(1 for topic, entry in self._all() if self._due(topic, entry))

    def close(self) -> None:
        """Notes everything that was done and has not arrived as lost; nothing more is to come."""
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
            told = f"message {count} on {topic.name} was answered as done and has not arrived"
            self.claims.broken("arrived", told, **self._trace(topic, entry))
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
        told = f"message {count} on {topic.name} arrived, and its call was answered as not sent"
        self.claims.broken("unsent", told, **self._trace(topic, entry))

    def _trace(self, topic: Topic, entry: Entry) -> dict[str, object]:
        second = self.claims.second
        until = entry.answered or time.monotonic()
        faults = self.disturbances[topic.toolkit].within(entry.called - UNFLUSHED, until + UNFLUSHED)
        return {
            "call": entry.call,
            "qos": entry.qos,
            "called": second(entry.called),
            "answer": entry.end.value if entry.end else "none yet",
            "told": entry.told[:300],
            "answered": second(entry.answered) if entry.answered else None,
            "arrivals": entry.arrivals,
            "faults": [f"{fault.kind} from {second(fault.begun)}" for fault in faults],
        }


#: What payloads are filled with: what JSON must escape, and what UTF-8 needs two to four bytes for.
LETTERS = 'abcdefgh 0123456789"\\\n\t/{}[]:,üß€→漢😀\u2028'


def paddings(rng: random.Random, sizes: list[int]) -> list[str]:
    """Fillings of these sizes, in characters, to choose from."""
    return ["".join(rng.choices(LETTERS, k=size)) for size in sizes]


def payload_of(count: int, padding: str) -> str:
    """A payload that tells its number and whether it is intact."""
    return f"{count} {zlib.crc32(padding.encode()):08x} {padding}"


def number_of(payload: bytes) -> int | None:
    """The number that a payload tells; None if it is not intact."""
    try:
        count, check, padding = payload.split(b" ", 2)
        return int(count) if int(check, 16) == zlib.crc32(padding) else None
    except ValueError:
        return None


#: Chooses the payload of the next message of a publisher.
Filling = Callable[[int], str]
