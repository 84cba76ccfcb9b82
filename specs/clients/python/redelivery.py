"""What a broker does with the messages of a shared subscription that a member has not acknowledged when it is killed.

    .venv/bin/python -B specs/clients/python/redelivery.py [NAME…]     the brokers of peers.py with MQTT 5, or those of these classes

Two members share a subscription. `victim` takes three messages at most, and acknowledges none; `other` acknowledges all. Ten
messages are published, so that some are sent to the victim, and others may wait at the broker for it. Then the victim's connection
is cut, and later one more message (m10) is published. What the other member gets after the cut, and what the victim gets when it
comes back, is printed with the DUP flag.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field

from packets import CONNACK, CONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, packet, text
from peers import OWN, PEERS, Peer
from sharing import read_flagged

MESSAGES = 10
RECEIVE_MAXIMUM = 3
#: Seconds after which nothing more is expected.
QUIET = 1.0
TOPIC = "redelivery/jobs"
FILTER = f"$share/group/{TOPIC}"


@dataclass
class Client:
    """An MQTT 5 client that acknowledges what it receives, or nothing."""

    name: str
    qos: int
    acknowledges: bool = True
    #: The payload, the DUP flag, and when it came.
    got: list[tuple[str, bool, float]] = field(default_factory=list)

    async def connect(self, port: int, expiry: int = 0, clean: bool = True) -> bool:
        """Returns whether the broker has continued a session."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        terms = b"\x11" + expiry.to_bytes(4) + b"\x21" + (RECEIVE_MAXIMUM if not self.acknowledges else 100).to_bytes(2)
        head = text("MQTT") + bytes([5, 2 if clean else 0, 0, 60, len(terms)]) + terms
        self._writer.write(packet(CONNECT, head + text(self.name)))
        kind, _, body = await read_flagged(self._reader)
        assert kind == CONNACK and body[1] == 0, body
        self._acknowledged = asyncio.Event()
        self._task = asyncio.create_task(self._read())
        return body[0] == 1

    async def subscribe(self) -> None:
        self._acknowledged.clear()
        self._writer.write(packet(SUBSCRIBE, b"\0\1\0" + text(FILTER) + bytes([self.qos]), 2))
        await asyncio.wait_for(self._acknowledged.wait(), 5)

    async def publish(self, number: int) -> None:
        self._acknowledged.clear()
        body = text(TOPIC) + (number + 1).to_bytes(2) + b"\0" + f"m{number}".encode()
        self._writer.write(packet(PUBLISH, body, self.qos << 1))
        await asyncio.wait_for(self._acknowledged.wait(), 5)

    async def _read(self) -> None:
        try:
            while True:
                self._take(*await read_flagged(self._reader))
        except (asyncio.IncompleteReadError, OSError):
            pass

    def _take(self, kind: int, flags: int, body: bytes) -> None:
        if kind == PUBLISH:
            at = 2 + int.from_bytes(body[:2])
            # The properties of this test are shorter than 128 bytes.
            payload = body[at + 3 + body[at + 2] :].decode()
            self.got.append((payload, bool(flags & 8), time.monotonic()))
            if self.acknowledges:
                self._writer.write(packet(PUBACK if flags >> 1 & 3 == 1 else PUBREC, body[at : at + 2]))
        elif kind == PUBREL:
            self._writer.write(packet(PUBCOMP, body[:2]))
        elif kind == PUBREC:
            self._writer.write(packet(PUBREL, body[:2], 2))
        elif kind in (SUBACK, PUBACK, PUBCOMP):
            assert kind != SUBACK or body[-1] <= 2, f"the broker refuses {FILTER}: {body[-1]:#x}"
            self._acknowledged.set()

    def cut(self) -> None:
        self._writer.transport.abort()
        self._task.cancel()


async def observe(peer: Peer, qos: int, expiry: int, returns: bool) -> str:
    victim, other, publisher = Client("victim", qos, acknowledges=False), Client("other", qos), Client("publisher", qos)
    for member in (victim, other):
        # As the gateway connects: a session that lasts is continued.
        await member.connect(peer.port, expiry, clean=expiry == 0)
        await member.subscribe()
    await publisher.connect(peer.port)
    for number in range(MESSAGES):
        await publisher.publish(number)
    await asyncio.sleep(QUIET)
    sent, taken = [name for name, _, _ in victim.got], len(other.got)
    here = {name for name, _, _ in other.got}
    victim.cut()
    cut = time.monotonic()
    parts = [f"victim had {' '.join(sent) or 'none'}, {MESSAGES - len(here | set(sent))} waited for it"]
    if returns:
        back = Client("victim", qos)
        kept = await back.connect(peer.port, expiry, clean=False)
        await asyncio.sleep(QUIET)
        parts.append(f"it comes back ({'session present' if kept else 'no session'}) and gets {shown(back.got, cut)}")
        here |= {name for name, _, _ in back.got}
        back.cut()
    else:
        await asyncio.sleep(expiry + 2 * QUIET)
    # Some brokers look for what they have to send only when something new comes.
    await publisher.publish(MESSAGES)
    await asyncio.sleep(QUIET)
    again = other.got[taken:]
    parts.append(f"the other gets {shown(again, cut)}")
    here |= {name for name, _, _ in again}
    lost = [f"m{number}" for number in range(MESSAGES) if f"m{number}" not in here]
    parts.append(f"lost: {' '.join(lost) or 'none'}")
    for client in (other, publisher):
        client.cut()
    return "; ".join(parts)


def shown(got: list[tuple[str, bool, float]], since: float) -> str:
    if not got:
        return "nothing"
    names = " ".join(f"{name}{' (DUP)' if again else ''}" for name, again, _ in got)
    return f"{names} after {got[0][2] - since:.1f} s"


CASES = [
    ("session ends with the connection", 0, False),
    ("session lasts 2 s, which pass", 2, False),
    ("session lasts 60 s, victim comes back", 60, True),
]


def main() -> None:
    wanted = sys.argv[1:]
    for made in [*PEERS, *OWN]:
        if "5" not in made.versions or (wanted and made.__name__ not in wanted) or not made.is_installed():
            continue
        for qos in (1, 2):
            for what, expiry, returns in CASES:
                # Each case has a broker without the messages of another.
                peer = made("5")
                try:
                    told = asyncio.run(observe(peer, qos, expiry, returns))
                except (AssertionError, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                    told = f"failed: {error!r}"
                finally:
                    peer.stop()
                print(f"{peer.name} {made.release()}, QoS {qos}, {what}: {told}", flush=True)


if __name__ == "__main__":
    main()
