"""The ways into the gateway: without TLS and without credentials, or over TLS with a key."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from soak.wire import Connection

#: The names of the doors.
OPEN, SECURE = "open", "secure"


@dataclass
class Door:
    """An address of the gateway, and what a well-behaved client needs there."""

    address: tuple[str, int]
    tls: ssl.SSLContext | None = None
    key: str = ""

    async def enter(self) -> Connection:
        """A connection whose requests are accepted."""
        connection = await Connection.open(self.address, tls=self.tls)
        if self.key:
            connection.credential = f"x-api-key: {self.key}\r\n".encode()
        return connection


def trusting(certificate: Path) -> ssl.SSLContext:
    """What clients use that trust this certificate."""
    return ssl.create_default_context(cafile=str(certificate))
