"""A scripted MQTT 5 broker: it can omit responses, close connections, and send slowly."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field

from packets import (
    CONNACK, CONNECT, DISCONNECT, PINGRESP, PUBACK, PUBLISH, SUBACK, UNSUBACK, Packet, length_of, packet
)  # fmt: skip


@dataclass(eq=False)
class Connection:
    """One connection of the gateway."""

    broker: "Lying"
    socket: socket.socket
    #: In the order of their CONNECT packets.
    number: int = -1
    #: Subscriptions and their identifiers.
    filters: dict[str, bytes] = field(default_factory=dict)
    received: list[Packet] = field(default_factory=list)
    closed: bool = False

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True

    def drop(self, reason: int | None = None) -> None:
        """Closes it, with a DISCONNECT if there is a reason."""
        # Before the peer notices: messages published from now on are for the next connection.
        self.closed = True
        if reason is not None:
            self.send(packet(DISCONNECT, bytes([reason])))
        self.socket.shutdown(socket.SHUT_RDWR)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _read(self) -> Packet:
        first = self._exactly(1)[0]
        length = shift = 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        return Packet(first >> 4, first & 15, self._exactly(length))

    def run(self) -> None:
        try:
            while True:
                received = self._read()
                if received.kind == CONNECT:
                    self.broker.arrived(self)
                self.received.append(received)
                if not self.broker.on_packet(self, received):
                    self.answer(received)
        except (OSError, EOFError):
            pass
        finally:
            self.closed = True
            self.socket.close()

    def answer(self, received: Packet) -> None:
        """Responds as a broker does."""
        match received.kind:
            case 1:
                self.send(packet(CONNACK, b"\0\0" + length_of(len(self.broker.granted)) + self.broker.granted))
            case 3 if received.qos == 1:
                self.send(packet(PUBACK, received.packet_id))
            case 8:
                properties = received.body[3 : 3 + received.body[2]]
                rest = received.body[3 + len(properties) :]
                name = rest[2 : 2 + int.from_bytes(rest[:2])].decode()
                self.filters[name] = properties
                self.send(packet(SUBACK, received.packet_id + b"\0\0"))
            case 10:
                self.send(packet(UNSUBACK, received.packet_id + b"\0\0"))
            case 12:
                self.send(packet(PINGRESP))


class Lying:
    """Responds as a broker does, unless `on_packet` handles the packet and returns true."""

    def __init__(self, on_packet=lambda connection, received: False, granted: bytes = b""):
        self.on_packet = on_packet
        #: Properties of CONNACK.
        self.granted = granted
        self.connections: list[Connection] = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.name = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A connection without data is a port check.
            threading.Thread(target=Connection(self, accepted).run, daemon=True).start()

    def arrived(self, connection: Connection) -> None:
        with self.lock:
            connection.number = len(self.connections)
            self.connections.append(connection)

    def subscribed(self, filter: str) -> list[Connection]:
        """The connections currently subscribed to a filter."""
        return [it for it in list(self.connections) if filter in it.filters and not it.closed]

    def publish(self, topic: str, payload: str) -> None:
        """Sends a message at QoS 0 to each connection subscribed to exactly this topic."""
        name = len(topic).to_bytes(2) + topic.encode()
        for connection in self.subscribed(topic):
            properties = connection.filters[topic]
            body = name + length_of(len(properties)) + properties + payload.encode()
            connection.send(packet(PUBLISH, body))

    def stop(self) -> None:
        self.listener.close()
        for connection in self.connections:
            if not connection.closed:
                connection.drop()
