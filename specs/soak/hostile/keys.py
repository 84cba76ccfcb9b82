"""Wrong keys, and handshakes that lead nowhere, at the door with TLS."""

from __future__ import annotations

import asyncio
import os
import ssl
import warnings

from soak.door import SECURE
from soak.hostile.attacker import Attacker
from soak.mcp import Stateless
from soak.wire import Connection

#: Requests on one connection.
REQUESTS = 20


def indifferent(protocols: tuple[str, ...] = (), newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """TLS that trusts everybody; with protocols for ALPN, and up to a version."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if newest:
        # What is obsolete is meant here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, newest
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def keys(attacker: Attacker) -> None:
    """Requests with wrong, missing, contradicting and oversized credentials, on connections that are kept."""
    await attacker.together(*(refused(attacker) for _ in range(4)))


async def refused(attacker: Attacker) -> None:
    connection = await attacker.open(door=SECURE, tls=indifferent())
    for _ in range(REQUESTS):
        credentials = wrong(attacker)
        request = Stateless().request(attacker.identify(), "tools/list", {})
        connection.credential = "".join(f"{name}: {value}\r\n" for name, value in credentials).encode()
        connection.send(request)
        if await attacker.read(connection, within=5.0) is None:
            return


def wrong(attacker: Attacker) -> list[tuple[str, str]]:
    """Headers with credentials that nobody has."""
    rng = attacker.rng
    ours = f"tg_{rng.randrange(36**8):08x}"[:11] + f"_{rng.randrange(10**38):038d}"
    other = f"guess-{rng.randrange(10**9)}"
    return rng.choice([
        [],
        [("x-api-key", ours)],
        [("x-api-key", other)],
        [("x-api-key", "guess")],
        [("authorization", f"Bearer {ours}")],
        [("authorization", f"Bearer {other}")],
        [("authorization", f"Basic {other}")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")],
        [("x-api-key", other), ("x-api-key", ours)],
        [("x-api-key", other), ("authorization", f"Bearer {ours}")],
        [("x-api-key", "x" * rng.choice([600, 60_000, 200_000]))],
    ])  # fmt: skip


async def handshakes(attacker: Attacker) -> None:
    """Handshakes that are incomplete, foreign, obsolete or never used, and requests without one."""
    hello = client_hello()
    flipped = bytearray(hello)
    flipped[attacker.rng.randrange(5, len(hello))] ^= 0xFF
    plain = Stateless().request(attacker.identify(), "tools/list", {})
    http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    begun = [hello, hello[: attacker.rng.randrange(1, len(hello))], hello[:5] + b"\xff" * 16_384, b"\x16\x03\x01"]
    await attacker.together(
        *(begin(attacker, attacker.rng.choice(begun)) for _ in range(12)),
        *(asked(attacker, data) for data in [bytes(flipped), plain, http2, os.urandom(2000), hello + hello]),
        *(encrypted(attacker, b"") for _ in range(6)),
        *(encrypted(attacker, data) for data in [os.urandom(500), b"POST /mcp HT", b"\0" * 70_000]),
        encrypted(attacker, http2 + os.urandom(300), indifferent(("h2",))),
        encrypted(attacker, b"", indifferent(("no-such-protocol",))),
        encrypted(attacker, b"", indifferent(newest=ssl.TLSVersion.TLSv1_1)),
    )


def client_hello() -> bytes:
    """The first message of a handshake."""
    outgoing = ssl.MemoryBIO()
    client = indifferent().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise RuntimeError("a handshake without a server")


async def begin(attacker: Attacker, data: bytes) -> None:
    """Sends a part of a handshake, and does not go on."""
    connection = await attacker.open(door=SECURE)
    connection.writer.write(data)


async def asked(attacker: Attacker, data: bytes) -> None:
    """Sends what is no handshake, and reads until the gateway closes."""
    connection = await attacker.open(door=SECURE)
    connection.writer.write(data)
    await drained(connection)
    attacker.saw("closed")


async def encrypted(attacker: Attacker, data: bytes, tls: ssl.SSLContext | None = None) -> None:
    """Completes a handshake and sends no request."""
    connection = await attacker.open(door=SECURE, tls=tls or indifferent())
    connection.writer.write(data)
    attacker.saw("handshake")


async def drained(connection: Connection, within: float = 2.0) -> None:
    async with asyncio.timeout(within):
        while await connection.reader.read(4096):
            pass
