"""A well-behaved client presents its key, and the judge of the audit log believes its command."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from soak import audit
from soak.audit import Audit
from soak.claims import Claims
from soak.credentials import Credentials
from soak.door import Door, trusting
from soak.wire import post


@pytest.fixture
def binary(tmp_path):
    """Stands for tidegate: what it prints, and its exit code."""

    def make(printed: str, code: int = 0):
        file = tmp_path / "tidegate"
        file.write_text(f"#!/bin/sh\necho '{printed}'\nexit {code}\n")
        file.chmod(0o755)
        return file

    return make


async def test_each_request_of_a_door_has_its_key_and_is_encrypted(binary, tmp_path):
    credentials = await Credentials.make(binary("tg_a_b\n- { id: a }"), tmp_path)
    assert (credentials.key, credentials.line) == ("tg_a_b", "- { id: a }")
    seen: list[bytes] = []

    async def serve(reader, writer):
        for _ in range(2):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(credentials.certificate, credentials.private)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    door = Door(server.sockets[0].getsockname(), trusting(credentials.certificate), credentials.key)
    connection = await door.enter()
    for _ in range(2):
        assert (await connection.exchange(post(b"", {"a": "b"}))).status == 200
    connection.close()
    server.close()
    expected = b"POST /mcp HTTP/1.1\r\nx-api-key: tg_a_b\r\nhost: localhost\r\na: b\r\ncontent-length: 0\r\n\r\n"
    assert seen == [expected, expected]


@pytest.mark.parametrize(
    ("files", "code", "broken"),
    [(["audit.jsonl", "audit.000000000001.jsonl"], 0, 0), (["audit.jsonl", "audit.000000000001.jsonl"], 1, 1), (["audit.jsonl"], 0, 1)],
)
async def test_the_audit_log_must_be_rotated_and_intact(binary, tmp_path, files, code, broken):
    for name in files:
        (tmp_path / name).touch()
    claims, found = Claims(), Audit()
    await audit.judge(found, claims, binary("said", code), tmp_path)
    assert claims.counts.get("recorded", 0) == broken
    assert found == Audit(len(files), ["said"])
