"""A small broker that gives the unacknowledged messages of a shared subscription to another member, as MQTT 5 asks (4.8.2).

    python redelivering.py PORT [--eager] [--dup]

When the session of a member ends, another member gets what it has not acknowledged, and what waited for it. With `--eager`, it gets
that as soon as the connection is lost, which MQTT permits. With `--dup`, what was sent before has the DUP flag. A message of QoS 2
that was sent to a member is not given to another one ([MQTT-4.8.2-5]).

It knows MQTT 5 and 3.1.1, plain and shared subscriptions, sessions and all levels of QoS, and keeps everything in memory. It has no
retained messages, no wills and no limits: it is for tests on one machine.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, replace

from packets import CONNACK, CONNECT, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from packets import SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, length_of, packet, text
from sharing import read_flagged

LISTENS = "the redelivering broker listens"
SESSION_EXPIRY, SUBSCRIPTION_ID, RECEIVE_MAXIMUM = 0x11, 0x0B, 0x21
#: Properties of a fixed width; the others are strings or bytes, user properties two of them, subscription identifiers variable.
WIDTHS = {0x01: 1, 0x02: 4, 0x11: 4, 0x17: 1, 0x19: 1, 0x18: 4, 0x21: 2, 0x22: 2, 0x23: 2, 0x27: 4}
USER_PROPERTY = 0x26


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    properties: bytes
    #: The shared subscription that it is for: its group and filter.
    group: tuple[str, str] | None = None
    identifier: int = 0
    again: bool = False


class Session:
    def __init__(self, broker: Broker, name: str) -> None:
        self.broker, self.name = broker, name
        self.version, self.expiry, self.receive_maximum = 5, 0, 65_535
        #: QoS and subscription identifier of each filter.
        self.filters: dict[str, tuple[int, int]] = {}
        self.waiting: deque[Message] = deque()
        self.sent: OrderedDict[int, Message] = OrderedDict()
        #: Messages of QoS 2 that wait for PUBCOMP, and those that came in.
        self.released: set[int] = set()
        self.received: set[int] = set()
        self.writer: asyncio.StreamWriter | None = None
        self.end: asyncio.TimerHandle | None = None
        self._last = 0

    def send(self, kind: int, body: bytes = b"", flags: int = 0) -> None:
        if self.writer is not None:
            self.writer.write(packet(kind, body, flags))

    def deliver(self, message: Message) -> None:
        self.waiting.append(message)
        self.serve()

    def serve(self) -> None:
        while self.writer is not None and self.waiting:
            if self.waiting[0].qos and len(self.sent) + len(self.released) >= self.receive_maximum:
                return
            message = self.waiting.popleft()
            identifier = 0
            if message.qos:
                while not self._last or self._last in self.sent or self._last in self.released:
                    self._last = self._last % 65_535 + 1
                identifier = self._last
                self._last = self._last % 65_535 + 1
                self.sent[identifier] = message
            self._publish(identifier, message)

    def resume(self) -> None:
        """Sends again what was not acknowledged on the connection before."""
        for identifier, message in self.sent.items():
            self._publish(identifier, replace(message, again=True))
        for identifier in self.released:
            self.send(PUBREL, identifier.to_bytes(2), 2)
        self.serve()

    def _publish(self, identifier: int, message: Message) -> None:
        body = text(message.topic) + (identifier.to_bytes(2) if message.qos else b"")
        if self.version == 5:
            own = bytes([SUBSCRIPTION_ID]) + length_of(message.identifier) if message.identifier else b""
            body += length_of(len(message.properties + own)) + message.properties + own
        self.send(PUBLISH, body + message.payload, (8 if message.again and message.qos else 0) | message.qos << 1)

    def shared(self, dup: bool) -> list[Message]:
        """Removes and returns the messages of groups that another member may get."""
        sent = [replace(it, again=dup or it.again) for it in self.sent.values() if it.group and it.qos == 1]
        waiting = [it for it in self.waiting if it.group]
        self.sent = OrderedDict((key, it) for key, it in self.sent.items() if not it.group or it.qos != 1)
        self.waiting = deque(it for it in self.waiting if not it.group)
        return sent + waiting


class Broker:
    def __init__(self, eager: bool, dup: bool) -> None:
        self.eager, self.dup = eager, dup
        self.sessions: dict[str, Session] = {}
        #: Of each group and filter: what waits for a member, and whose turn it is.
        self.orphans: dict[tuple[str, str], list[Message]] = defaultdict(list)
        self.turns: dict[tuple[str, str], int] = defaultdict(int)

    def publish(self, message: Message) -> None:
        groups = set()
        for session in self.sessions.values():
            for name, (qos, identifier) in session.filters.items():
                group = group_of(name)
                if not matches(group[1] if group else name, message.topic):
                    continue
                if group:
                    groups.add(group)
                else:
                    session.deliver(replace(message, qos=min(qos, message.qos), identifier=identifier))
        for group in groups:
            self.give(group, replace(message, group=group))

    def give(self, group: tuple[str, str], message: Message) -> None:
        """Gives a message to a member: to one that is connected, if there is one."""
        name = f"$share/{group[0]}/{group[1]}"
        members = [it for it in self.sessions.values() if name in it.filters]
        members = [it for it in members if it.writer] or members
        if not members:
            self.orphans[group].append(message)
            return
        self.turns[group] += 1
        member = members[self.turns[group] % len(members)]
        qos, identifier = member.filters[name]
        member.deliver(replace(message, qos=min(qos, message.qos), identifier=identifier))

    def redeliver(self, session: Session) -> None:
        for message in session.shared(self.dup):
            self.give(message.group, message)

    def lost(self, session: Session) -> None:
        """The connection of a session is closed."""
        session.writer = None
        if session.expiry == 0:
            self.over(session)
            return
        session.end = asyncio.get_running_loop().call_later(min(session.expiry, 86_400), self.over, session)
        if self.eager:
            self.redeliver(session)

    def over(self, session: Session) -> None:
        if self.sessions.get(session.name) is session:
            del self.sessions[session.name]
        self.redeliver(session)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = None
        try:
            while True:
                kind, flags, body = await read_flagged(reader)
                if kind == CONNECT:
                    session = self.connect(writer, body)
                elif kind == DISCONNECT:
                    break
                else:
                    self.handle(session, kind, flags, body)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            if session is not None and session.writer is writer:
                self.lost(session)

    def connect(self, writer: asyncio.StreamWriter, body: bytes) -> Session:
        at = 2 + int.from_bytes(body[:2])
        version, clean = body[at], body[at + 1] & 2
        at += 4
        known = {}
        if version == 5:
            known, at = properties(body, at)
        length = int.from_bytes(body[at : at + 2])
        name = body[at + 2 : at + 2 + length].decode()
        old = self.sessions.get(name)
        if old is not None:
            if old.writer is not None:
                old.writer.close()
                old.writer = None
            if old.end is not None:
                old.end.cancel()
            if clean:
                self.over(old)
                old = None
        session = old or Session(self, name)
        self.sessions[name] = session
        session.version, session.writer = version, writer
        session.expiry = int.from_bytes(known.get(SESSION_EXPIRY, b"\0")) if version == 5 else (0 if clean else 1 << 31)
        session.receive_maximum = int.from_bytes(known.get(RECEIVE_MAXIMUM, b"\xff\xff"))
        session.send(CONNACK, bytes([old is not None, 0]) + (b"\0" if version == 5 else b""))
        session.resume()
        return session

    def handle(self, session: Session, kind: int, flags: int, body: bytes) -> None:
        identifier = int.from_bytes(body[:2])
        if kind == PUBLISH:
            self.received(session, flags, body)
        elif kind in (PUBACK, PUBCOMP):
            session.sent.pop(identifier, None)
            session.released.discard(identifier)
        elif kind == PUBREC:
            if session.sent.pop(identifier, None) is not None:
                session.released.add(identifier)
            session.send(PUBREL, body[:2], 2)
        elif kind == PUBREL:
            session.received.discard(identifier)
            session.send(PUBCOMP, body[:2])
        elif kind == SUBSCRIBE:
            self.subscribe(session, body)
        elif kind == UNSUBSCRIBE:
            at = 2 if session.version == 4 else properties(body, 2)[1]
            codes = b""
            while at < len(body):
                length = int.from_bytes(body[at : at + 2])
                session.filters.pop(body[at + 2 : at + 2 + length].decode(), None)
                codes, at = codes + b"\0", at + 2 + length
            session.send(UNSUBACK, body[:2] + (b"\0" + codes if session.version == 5 else b""))
        elif kind == PINGREQ:
            session.send(PINGRESP)
        session.serve()

    def received(self, session: Session, flags: int, body: bytes) -> None:
        qos, at = flags >> 1 & 3, 2 + int.from_bytes(body[:2])
        topic, identifier = body[2:at].decode(), body[at : at + 2]
        at += 2 if qos else 0
        passed = b""
        if session.version == 5:
            start = at
            at = properties(body, at)[1]
            passed = body[start + len(length_of(at - start - 1)) : at]
        known = qos == 2 and int.from_bytes(identifier) in session.received
        if not known:
            self.publish(Message(topic, body[at:], qos, passed))
        if qos == 1:
            session.send(PUBACK, identifier)
        elif qos == 2:
            session.received.add(int.from_bytes(identifier))
            session.send(PUBREC, identifier)

    def subscribe(self, session: Session, body: bytes) -> None:
        known, at = properties(body, 2) if session.version == 5 else ({}, 2)
        codes = b""
        while at < len(body):
            length = int.from_bytes(body[at : at + 2])
            name, qos = body[at + 2 : at + 2 + length].decode(), body[at + 2 + length] & 3
            session.filters[name] = (qos, known.get(SUBSCRIPTION_ID, 0))
            codes, at = codes + bytes([qos]), at + 3 + length
        session.send(SUBACK, body[:2] + (b"\0" if session.version == 5 else b"") + codes)
        for name in list(session.filters):
            if (group := group_of(name)) and self.orphans[group]:
                for message in self.orphans.pop(group):
                    self.give(group, message)


def group_of(name: str) -> tuple[str, str] | None:
    if not name.startswith("$share/"):
        return None
    _, group, name = name.split("/", 2)
    return group, name


def matches(name: str, topic: str) -> bool:
    levels = topic.split("/")
    for at, level in enumerate(name.split("/")):
        if level == "#":
            return True
        if at >= len(levels) or level not in ("+", levels[at]):
            return False
    return len(levels) == at + 1


def number(body: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer, and where it ends."""
    value = shift = 0
    while True:
        value |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if body[at - 1] < 0x80:
            return value, at


def properties(body: bytes, at: int) -> tuple[dict, int]:
    """Those of fixed width, and the subscription identifier; and where they end."""
    length, at = number(body, at)
    end, found = at + length, {}
    while at < end:
        kind, at = body[at], at + 1
        if kind == SUBSCRIPTION_ID:
            found[kind], at = number(body, at)
        elif kind in WIDTHS:
            found[kind], at = body[at : at + WIDTHS[kind]], at + WIDTHS[kind]
        else:
            for _ in range(2 if kind == USER_PROPERTY else 1):
                at += 2 + int.from_bytes(body[at : at + 2])
    return found, end


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--dup", action="store_true")
    options = parser.parse_args()
    broker = Broker(options.eager, options.dup)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", options.port)
    print(LISTENS, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
