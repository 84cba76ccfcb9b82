"""Base of hostile clients: closes connections after each bout and counts responses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from soak.config import STEADY
from soak.door import OPEN
from soak.mcp import LEGACY, Session, Stateless
from soak.stage import Stage
from soak.wire import Closed, Connection, Response


class Attacker:
    """One kind of hostile clients, with its own loopback address."""

    def __init__(self, stage: Stage, kind: str, source: str) -> None:
        self.stage = stage
        self.kind = kind
        self.rng = stage.rng(f"hostile/{kind}")
        self._source = source
        self._connections: list[Connection] = []
        self._calls = 0

    async def open(self, receive_buffer: int = 0, door: str = OPEN, tls: ssl.SSLContext | None = None) -> Connection:
        """A connection, without a credential. It speaks TLS only where it is told how."""
        address = self.stage.doors[door].address
        connection = await Connection.open(address, self._source, receive_buffer, tls)
        self._connections.append(connection)
        return connection

    def leave(self) -> None:
        """Closes all connections of the bout, some of them with RST."""
        for connection in self._connections:
            if self.rng.random() < 0.3:
                connection.reset()
            else:
                connection.close()
        self._connections.clear()

    def saw(self, what: object) -> None:
        """Counts a reaction of the gateway."""
        self.stage.tally.saw[self.kind][str(what)] += 1

    async def send(self, data: bytes, receive_buffer: int = 0) -> Connection:
        """Sends bytes on a new connection without waiting for a response."""
        connection = await self.open(receive_buffer)
        connection.writer.write(data)
        return connection

    async def ask(self, data: bytes, within: float = 10.0) -> Response | None:
        """Sends bytes on a new connection and reads the response."""
        connection = await self.send(data)
        return await self.read(connection, within)

    async def read(self, connection: Connection, within: float = 10.0) -> Response | None:
        """Reads a response, if any."""
        try:
            async with asyncio.timeout(within):
                response = await connection.exchange(b"")
        except (Closed, TimeoutError, ValueError) as error:
            self.saw(type(error).__name__)
            return None
        self.saw(response.status)
        return response

    def identify(self) -> str:
        self._calls += 1
        return f"hostile-{self.kind}#{self._calls}"

    def call(self, tool: str, arguments: Mapping[str, Any], session: Session | None = None) -> bytes:
        """A tool call over the link without faults, where effects on others would be detected."""
        params = {"name": f"{STEADY}__{tool}", "arguments": arguments}
        return self.request("tools/call", params, session)

    def request(self, method: str, params: Mapping[str, Any], session: Session | None = None) -> bytes:
        return (session or Stateless()).request(self.identify(), method, params)

    async def begin(self, revision: str = LEGACY) -> Session | None:
        """Begins a session, on a connection that is closed again."""
        response = await self.ask(Session.initialize(self.identify(), revision))
        if response is None or not (identity := response.headers.get("mcp-session-id")):
            return None
        return Session(revision, identity)

    async def together(self, *things: Any) -> None:
        """Runs several actions concurrently; failures are independent."""
        for outcome in await asyncio.gather(*things, return_exceptions=True):
            if isinstance(outcome, BaseException):
                if not isinstance(outcome, (Closed, OSError, TimeoutError, asyncio.IncompleteReadError)):
                    raise outcome
                self.saw(type(outcome).__name__)
