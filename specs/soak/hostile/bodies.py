"""Bodies that never end, are too large, or cost more to read than to write."""

from __future__ import annotations

import asyncio
import functools

from soak.hostile.attacker import Attacker
from soak.mcp import BATCHES, HEADERS, LEGACY, MODERN, Session, Stateless, encoded
from soak.wire import post

#: Largest body that the gateway accepts.
LIMIT = 4 << 20
HEAD = post(b"", HEADERS).split(b"content-length")[0]


async def bodies(attacker: Attacker) -> None:
    """Incomplete, slow and oversized bodies, and malformed chunks."""
    chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    half = HEAD + b"content-length: 100000\r\n\r\n" + b'{"jsonrpc":' + b" " * attacker.rng.randrange(50_000)
    await attacker.together(
        *(attacker.send(half) for _ in range(8)),
        *(attacker.send(chunked + b'5\r\n{"a":\r\n') for _ in range(4)),
        attacker.ask(chunked + b"zz\r\nno chunk\r\n", within=3.0),
        attacker.ask(HEAD + b"expect: 100-continue\r\ncontent-length: 1000\r\n\r\n", within=2.0),
        attacker.ask(HEAD + b"content-length: %d\r\n\r\n" % (LIMIT + 1) + b" " * (LIMIT + 1), within=5.0),
        attacker.ask(chunked + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 70 + b"0\r\n\r\n", within=5.0),
        *(drip(attacker) for _ in range(4)),
    )


async def drip(attacker: Attacker) -> None:
    """Sends one byte of a body after the other."""
    connection = await attacker.send(HEAD + b"content-length: 1000\r\n\r\n")
    for _ in range(40):
        connection.writer.write(b" ")
        await asyncio.sleep(0.1)


@functools.cache
def ones() -> bytes:
    return b"[" + b"1," * (LIMIT // 2 - 10) + b"1]"


async def batches(attacker: Attacker) -> None:
    """Batches of a million elements, where batches are served and where they are not; batches within batches."""
    rng = attacker.rng
    session = await attacker.begin(BATCHES)
    if session is None:
        return
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    nested = b"[" * 1000 + b"1" + b"]" * 1000
    everywhere: list[dict[str, str]] = [
        HEADERS,
        session.headers,
        {**HEADERS, "mcp-protocol-version": MODERN, "mcp-method": "tools/list"},
    ]
    bodies = [
        ones(),
        b"[" + b"{}," * (LIMIT // 3 - 10) + b"{}]",
        b"[" + b"[]," * 100_000 + b"[]]",
        nested,
        encoded([ping] * 5_000),
        encoded([{**ping, "id": index} for index in range(20_000)]),
        b"[]",
    ]
    await attacker.together(
        attacker.ask(post(rng.choice(bodies), rng.choice(everywhere))),
        attacker.ask(post(rng.choice(bodies), rng.choice(everywhere))),
        attacker.ask(post(ones(), rng.choice(everywhere))),
    )
    await attacker.ask(session.end())


async def documents(attacker: Attacker) -> None:
    """JSON that is deep, wide, malformed or invalid."""
    rng = attacker.rng
    session = await attacker.begin(LEGACY)
    if session is None:
        return
    deep = rng.choice([100, 10_000, 1_000_000])
    call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"steady__publish","arguments":'

    def arguments(payload: bytes) -> bytes:
        return call + b'{"topic":"hostile/documents","payload":' + payload + b"}}}"

    bodies = [
        b"[" * deep,
        call + b'{"a":' * deep + b"1" + b"}" * deep + b"}}",
        call + b"[" * deep + b"]" * deep + b"}}",
        arguments(b'"' + b"\\u0041" * 500_000 + b'"'),
        arguments(b'"' + b"\\\\" * 1_500_000 + b'"'),
        arguments(b"9" * 1_000_000),
        arguments(b'"\xff\xfe"'),
        arguments(b'"\\ud800"'),
        arguments(b'"a\0b"'),
        arguments(b'"unterminated'),
        call + b'{"topic":"hostile/a","topic":"hostile/b","payload":"x"}}}',
        call + b"{" + b",".join(b'"k%d":1' % index for index in range(200_000)) + b"}}}",
        b'{"jsonrpc":"2.0","id":' + b"1" * 100_000 + b',"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * 1_000_000 + b'"}',
        b" " * 2_000_000 + b"1",
    ]
    for body in rng.sample(bodies, 4):
        headers = rng.choice([session.headers, HEADERS])
        await attacker.ask(post(body, headers))
    modern = Stateless().request(attacker.identify(), "tools/call", {"name": "x" * 100_000, "arguments": {}})
    await attacker.ask(modern)
    await attacker.ask(Session(LEGACY, session.identity).end())
