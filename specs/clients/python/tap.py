"""A link to a broker that reads the MQTT packets it carries, and can be cut.

It sees what a log of the broker would show: the versions of CONNECT, and which topic filters SUBACK has granted. So tests
can wait for a subscription at brokers without such a log.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from packets import CONNACK, CONNECT, SUBACK, SUBSCRIBE, Packet

#: Reason codes of SUBACK from here on are refusals (MQTT 5.0, 3.9.3).
REFUSED = 0x80


def packets(data: bytearray) -> Iterator[Packet]:
    """Removes the complete packets from the front of the data."""
    while len(data) >= 2:
        length = shift = 0
        for at in range(1, min(len(data), 5)):
            length |= (data[at] & 0x7F) << shift
            shift += 7
            if data[at] < 0x80:
                break
        else:
            return
        end = at + 1 + length
        if len(data) < end:
            return
        yield Packet(data[0] >> 4, data[0] & 15, bytes(data[at + 1 : end]))
        del data[:end]


def number(body: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer, and where it ends."""
    value = shift = 0
    while True:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            return value, at


class Link:
    """One connection: a socket of the client and one of the broker."""

    def __init__(self, relay: "Relay", client: socket.socket, broker: socket.socket):
        self.sockets = (client, broker)
        for end in self.sockets:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target, read in zip(self.sockets, reversed(self.sockets), relay.readers(), strict=True):
            threading.Thread(target=self._carry, args=(source, target, read), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, read) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                read(data)
                target.sendall(data)
        self.cut()

    def cut(self) -> None:
        for end in self.sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Relay:
    """Carries connections to a port of this machine, and can cut them."""

    def __init__(self, port: int):
        self.target = port
        self._links: list[Link] = []
        self._away = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def readers(self) -> tuple:
        """What reads the bytes of a new connection: those of the client, and those of the broker."""
        return (lambda data: None, lambda data: None)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._away:
                    raise ConnectionRefusedError
                broker = socket.create_connection(("127.0.0.1", self.target))
                self._links.append(Link(self, client, broker))
            except OSError:
                client.close()

    def away(self) -> None:
        """Cuts the connections, and refuses further ones."""
        self._away = True
        for link in self._links:
            link.cut()
        self._links.clear()

    def back(self) -> None:
        self._away = False

    def stop(self) -> None:
        self._listener.close()
        self.away()


class Tap(Relay):
    """A relay that reads MQTT packets."""

    def __init__(self, port: int):
        #: Protocol levels of the CONNECTs: 4 is MQTT 3.1.1, 5 is MQTT 5.
        self.versions: list[int] = []
        #: The number of CONNACKs.
        self.accepted = 0
        #: The filters that were granted, in order; a filter that is subscribed to again is here twice.
        self.granted: list[str] = []
        super().__init__(port)

    def readers(self) -> tuple:
        reader = Reader(self)
        return (reader.of(reader.sent), reader.of(reader.answered))


class Reader:
    """Reads the packets of one connection."""

    def __init__(self, tap: Tap):
        self.tap = tap
        self.version = 0
        #: The filters of SUBSCRIBEs without a SUBACK, by packet identifier.
        self.asked: dict[bytes, list[str]] = {}

    def of(self, read):
        """Collects bytes to packets."""
        collected = bytearray()

        def collect(data: bytes) -> None:
            collected.extend(data)
            for packet in packets(collected):
                read(packet)

        return collect

    def _behind_properties(self, body: bytes, at: int) -> int:
        if self.version == 5:
            length, at = number(body, at)
            at += length
        return at

    def sent(self, packet: Packet) -> None:
        if packet.kind == CONNECT:
            # Behind the name of the protocol.
            self.version = packet.body[2 + int.from_bytes(packet.body[:2])]
            self.tap.versions.append(self.version)
        if packet.kind == SUBSCRIBE:
            at = self._behind_properties(packet.body, 2)
            filters = []
            while at < len(packet.body):
                end = at + 2 + int.from_bytes(packet.body[at : at + 2])
                filters.append(packet.body[at + 2 : end].decode())
                at = end + 1
            self.asked[packet.body[:2]] = filters

    def answered(self, packet: Packet) -> None:
        if packet.kind == CONNACK:
            self.tap.accepted += 1
        if packet.kind == SUBACK:
            at = self._behind_properties(packet.body, 2)
            filters = self.asked.pop(packet.body[:2], [])
            granted = zip(filters, packet.body[at:], strict=False)
            self.tap.granted += [name for name, code in granted if code < REFUSED]
