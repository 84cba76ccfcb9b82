"""The audit log, judged with the command that users have for that."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from soak.claims import Claims


@dataclass
class Audit:
    """The number of files, and what `tidegate audit verify` printed about them."""

    files: int = 0
    printed: list[str] = field(default_factory=list)


async def judge(audit: Audit, claims: Claims, binary: Path, folder: Path) -> None:
    """Checks the files of a gateway that has stopped."""
    files = sorted(folder.glob("audit*.jsonl"))
    child = await asyncio.create_subprocess_exec(
        str(binary), "audit", "verify", "--sealed", *map(str, files),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await child.communicate()
    audit.files = len(files)
    audit.printed = printed.decode(errors="replace").splitlines()
    if child.returncode != 0:
        claims.broken("recorded", f"{len(files)} files are not an intact chain", printed=audit.printed[:20])
    if len(files) < 2:
        claims.broken("recorded", "the file was never rotated")
