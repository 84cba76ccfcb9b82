"""Request heads that are incomplete, endless, forged or contradictory."""

from __future__ import annotations

import asyncio
import os

from soak.hostile.attacker import Attacker
from soak.mcp import HEADERS, Stateless

HEAD = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\n"


async def heads(attacker: Attacker) -> None:
    """Incomplete, slow and oversized heads, and data that is not HTTP."""
    rng = attacker.rng
    huge = HEAD + b"x: " + b"y" * 300_000 + b"\r\n\r\n"
    many = HEAD + b"".join(b"x-%d: y\r\n" % index for index in range(5_000)) + b"\r\n"
    client_hello = bytes.fromhex("16030100c8010000c40303") + os.urandom(193)
    nonsense = [b"\0" * 1000, os.urandom(4000), b"\r\n" * 5000, b"GET " + b"/" * 100_000, client_hello]
    stalled = [HEAD, HEAD[: rng.randrange(1, len(HEAD))], b"P", HEAD + b"content-length: "]
    await attacker.together(
        *(attacker.send(rng.choice(stalled)) for _ in range(10)),
        *(drip(attacker, HEAD + b"x: " + b"y" * 100) for _ in range(5)),
        *(attacker.ask(data, within=3.0) for data in [huge, many, *nonsense]),
    )


async def drip(attacker: Attacker, data: bytes) -> None:
    """Sends one byte after the other."""
    connection = await attacker.open()
    for byte in data[:60]:
        connection.writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def authorities(attacker: Attacker) -> None:
    """Forged hosts and origins, and ambiguous framing."""
    request = Stateless().request(attacker.identify(), "tools/list", {})
    head, body = request.split(b"\r\n\r\n", 1)
    length = b"content-length: %d" % len(body)

    def changed(old: bytes, new: bytes) -> bytes:
        return head.replace(old, new) + b"\r\n\r\n" + body

    chunked = b"transfer-encoding: chunked"
    variants = [
        changed(b"host: localhost", b"host: evil.example"),
        changed(b"host: localhost", b"host: localhost\r\nhost: evil.example"),
        changed(b"host: localhost\r\n", b""),
        changed(b"POST /mcp", b"POST http://evil.example/mcp"),
        changed(b"HTTP/1.1", b"HTTP/1.0"),
        changed(b"HTTP/1.1", b"HTTP/9.9"),
        changed(b"POST /mcp", b"POST /mcp/../../etc/passwd"),
        changed(b"POST /mcp", b"CONNECT localhost:1883"),
        changed(length, b"transfer-encoding: gzip"),
        changed(length, b"transfer-encoding: gzip, chunked"),
        changed(length, chunked + b"\r\n" + length),
        changed(length, length + b"\r\n" + length.replace(b": ", b": 1")),
        changed(length, b"content-length: -1"),
        changed(length, b"content-length: 99999999999999999999999"),
        *(
            changed(b"host: localhost", b"host: localhost\r\norigin: " + origin)
            for origin in [b"https://evil.example", b"null", b"file://", b"chrome-extension://x", b"http://localhost.evil"]
        ),
        *(changed(b"POST", verb) for verb in [b"OPTIONS", b"PUT", b"TRACE", b"PATCH", b"G\xc3\xa9T"]),
        changed(HEADERS["accept"].encode(), b"text/html"),
        changed(b"mcp-method: tools/list", b"mcp-method: tools/call"),
    ]
    attacker.rng.shuffle(variants)
    await attacker.together(*(attacker.ask(variant, within=5.0) for variant in variants[:12]))
