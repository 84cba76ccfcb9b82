"""MQTT packets as bytes, for brokers that tests script."""

from __future__ import annotations

from dataclasses import dataclass

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = range(1, 12)
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14
NAMES = {value: name for name, value in list(globals().items()) if name.isupper() and isinstance(value, int)}


@dataclass
class Packet:
    kind: int
    flags: int
    body: bytes

    def __str__(self) -> str:
        return f"{NAMES.get(self.kind, self.kind)} {self.body.hex(' ')}"

    @property
    def qos(self) -> int:
        return self.flags >> 1 & 3

    @property
    def topic(self) -> str:
        """Of a PUBLISH."""
        length = int.from_bytes(self.body[:2])
        return self.body[2 : 2 + length].decode()

    @property
    def packet_id(self) -> bytes:
        at = 2 + int.from_bytes(self.body[:2]) if self.kind == PUBLISH else 0
        return self.body[at : at + 2]


def length_of(number: int) -> bytes:
    """A variable byte integer (MQTT 5, 1.5.5)."""
    out = b""
    while True:
        number, byte = divmod(number, 128)
        out += bytes([byte | (0x80 if number else 0)])
        if not number:
            return out


def text(value: str | bytes) -> bytes:
    """A string with its length (MQTT 5, 1.5.4)."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2) + data


def packet(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return bytes([kind << 4 | flags]) + length_of(len(body)) + body
