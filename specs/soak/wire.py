"""A minimal HTTP/1.1 client: raw bytes out, complete responses in, over TCP or TLS."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

#: The longest head or line of a chunk that is read.
LINE_MAX = 1 << 20


class Closed(Exception):
    """The connection was closed before the response was complete."""


@dataclass
class Response:
    """A complete response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def message(self) -> Any:
        """The JSON of the body or, of an event stream, that of its last event. ValueError if there is none."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return json.loads(self.body)
        events = [event for block in self.body.split(b"\n\n") if (event := data_of(block))]
        return json.loads(events[-1]) if events else json.loads(b"")


class Connection:
    """A connection to the gateway; `reader` and `writer` are for raw access."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        #: A header that each request gets.
        self.credential = b""

    @classmethod
    async def open(
        cls,
        address: tuple[str, int],
        source: str | None = None,
        receive_buffer: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> Connection:
        """Connects, optionally from a given loopback address and with TLS."""
        sock = socket.socket()
        sock.setblocking(False)
        try:
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                sock.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(sock, address)
            # With a small receive buffer, disable read-ahead too.
            limit = 1024 if receive_buffer else LINE_MAX
            name = "localhost" if tls else None
            return cls(*await asyncio.open_connection(sock=sock, limit=limit, ssl=tls, server_hostname=name))
        except BaseException:
            sock.close()
            raise

    async def exchange(self, request: bytes) -> Response:
        """Sends a request and reads its whole response."""
        self.send(request)
        try:
            status, headers = await self.head()
            body = b"".join([chunk async for chunk in self.body(status, headers)])
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Closed(str(error) or type(error).__name__) from error
        return Response(status, headers, body)

    def send(self, request: bytes) -> None:
        """Sends a request, with the credential of the connection behind its first line."""
        self.writer.write(request.replace(b"\r\n", b"\r\n" + self.credential, 1) if self.credential else request)

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers, their names in lower case."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first[9:12]), headers

    async def body(self, status: int, headers: dict[str, str]) -> AsyncIterator[bytes]:
        """The body, part by part."""
        if headers.get("transfer-encoding") == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readuntil(b"\r\n")
        elif size := int(headers.get("content-length", 0)):
            yield await self.reader.readexactly(size)

    async def events(self, request: bytes) -> AsyncIterator[Any]:
        """Sends a request that is answered with an event stream: the JSON of each event until the stream ends.

        Raises Closed where the answer is none, or the connection ends before the stream.
        """
        self.send(request)
        try:
            status, headers = await self.head()
            if status != 200 or not headers.get("content-type", "").startswith("text/event-stream"):
                body = b"".join([chunk async for chunk in self.body(status, headers)])
                raise Closed(f"answered {status} instead of an event stream: {body[:300]!r}")
            block = b""
            async for chunk in self.body(status, headers):
                *blocks, block = (block + chunk).split(b"\n\n")
                for whole in blocks:
                    if data := data_of(whole):
                        yield json.loads(data)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Closed(str(error) or type(error).__name__) from error

    def hold(self) -> None:
        """Stops reading from the socket."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Closes the connection with RST; data in transit is lost."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def data_of(block: bytes) -> bytes:
    """The data of an event; empty for a comment."""
    return b"\n".join(line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:"))


def post(body: bytes, headers: dict[str, str], verb: str = "POST") -> bytes:
    """A request to the endpoint."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{verb} /mcp HTTP/1.1\r\nhost: localhost\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body
