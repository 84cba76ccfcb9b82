"""The way to an MCP server: TLS with certificates of both sides, through the proxy that the environment names."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from conftest import PATIENCE, Gateway, entry
from kills import PlainUpstream
from mcp import Client
from test_network import Authority, authority  # noqa: F401

#: It is not looked up: the proxy connects.
HOST = "tools.example"
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(handle: Handle, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def join(near: tuple, port: int) -> None:
    """Passes bytes between a connection and another one, until one of them ends."""
    far = await asyncio.open_connection("127.0.0.1", port)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    await asyncio.gather(copy(near[0], far[1]), copy(far[0], near[1]))


def with_tls(authority: Authority) -> ssl.SSLContext:  # noqa: F811
    """What a server uses that wants a certificate of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / "server.crt", authority.folder / "server.key")
    context.load_verify_locations(authority.folder / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def config(tls: str) -> str:
    return (
        f"name: test\nworkers: 1\nbindings:\n{entry('http').replace('mcp0', 'up0')}"
        f"  up0: {{ type: mcp, kind: client, options: {{ url: 'https://{HOST}/mcp', http: {{ tls: {{ {tls} }} }} }} }}\n"
    )


async def through_proxy(authority: Authority, tls: str, parts, call) -> list[str]:  # noqa: F811
    """Calls a tool of a server behind TLS and a proxy; returns the heads of the requests that the proxy got."""
    upstream = PlainUpstream("far")
    parts.callback(upstream.stop)
    heads: list[str] = []

    async def terminate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join((reader, writer), upstream.port)

    async with listening(terminate, with_tls(authority)) as secure:

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await join((reader, writer), secure)

        async with listening(connect) as proxy:
            variables = {"HTTPS_PROXY": f"http://user:secret@127.0.0.1:{proxy}", "NO_PROXY": ""}
            gateway = await asyncio.to_thread(Gateway, config(tls), variables)
            try:
                async with Client(gateway.url, mode="2026-07-28", read_timeout_seconds=PATIENCE) as client:
                    await call(client)
            finally:
                await asyncio.to_thread(gateway.stop)
            assert "secret" not in gateway.text()
    return heads


async def test_a_server_with_mutual_tls_is_called_through_the_proxy_of_the_environment(authority, parts):  # noqa: F811
    folder = authority.folder

    async def call(client: Client) -> None:
        result = await client.call_tool("echo", {"text": "a"})
        assert result.content[0].text == "far: a"

    certificate = f"certificate: {folder}/agent.crt, key: {folder}/agent.key"
    tls = f"trust: {folder}/ca.crt, sni: localhost, {certificate}"
    heads = await through_proxy(authority, tls, parts, call)
    credentials = base64.b64encode(b"user:secret").decode()
    assert heads[0].startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n"), heads
    assert f"proxy-authorization: basic {credentials}".lower() in heads[0].lower(), heads


@pytest.mark.parametrize(
    ("tls", "why"),
    [
        ("sni: localhost", "certificate"),
        ("trust: '{folder}/ca.crt'", "not valid for name"),
        ("trust: '{folder}/ca.crt', sni: localhost", "certificate"),
    ],
    ids=["unknown-authority", "another-name", "no-certificate"],
)
async def test_what_is_wrong_with_tls_is_told(tls, why, authority, parts):  # noqa: F811
    async def call(client: Client) -> None:
        with pytest.raises(Exception, match=f"(?i){why}") as failed:
            await client.call_tool("echo", {"text": "a"})
        assert HOST in str(failed.value), failed.value

    await through_proxy(authority, tls.format(folder=authority.folder), parts, call)
