"""The certificate of the gateway, and the key of its well-behaved clients: made anew for each run."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Credentials:
    """Where the certificate and its private key are, a key, and its line for the config."""

    certificate: Path
    private: Path
    key: str
    line: str

    @classmethod
    async def make(cls, binary: Path, folder: Path) -> Credentials:
        certificate, private = folder / "tls.crt", folder / "tls.key"
        await output(
            *["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
            *["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            *["-keyout", str(private), "-out", str(certificate)],
        )
        made = await output(str(binary), "genkey", "--identity", "neighbour")
        key, line = re.search(r"tg_\w+", made), re.search(r"- (\{.*\})", made)
        if key is None or line is None:
            raise RuntimeError(f"genkey printed no key: {made}")
        return cls(certificate, private, key[0], line[0])


async def output(*command: str) -> str:
    """What a command prints. Raises RuntimeError if it fails."""
    pipe, error = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    child = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=error)
    printed, _ = await child.communicate()
    if child.returncode != 0:
        raise RuntimeError(f"{command[:2]} ended with {child.returncode}: {printed.decode(errors='replace')}")
    return printed.decode(errors="replace")
