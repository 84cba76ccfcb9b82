"""Writes docs/broker-table.md: what each broker passes, of what `peers.py` declares and test_surface.py checks."""

from __future__ import annotations

import datetime
import re

from conftest import ROOT
from peers import PEERS, Known, Peer
from surface import ROWS

PAGE = ROOT / "docs" / "broker-table.md"

INTRODUCTION = """# What works with which broker

Each row is a test with the official MCP SDK, tidegate and the broker, with mosquitto's clients as the devices
(`specs/clients/python/surface.py`). A row that does not pass is declared with its reason (`specs/clients/python/peers.py`), and the test
fails if it passes, or fails otherwise. This page is made of these declarations by:

```sh
scripts/brokers
```

CI tests mosquitto, Aedes, aMQTT and the embedded broker; and mosquitto also over TLS, mutual TLS and WebSocket, with a password file
and an ACL, and with dynamic security, where the same rows pass. The services of clouds were not reachable:
[brokers.md](brokers.md#brokers-of-clouds) says what is known about them.

✓ passes · – not supported by the broker or by this version of MQTT · ≠ deviates; the numbers refer to the notes.
"""

MARKS = {"not supported": "–", "deviates": "≠"}


def columns() -> list[tuple[type[Peer], str]]:
    return [(peer, version) for peer in PEERS for version in peer.versions]


def notes() -> list[Known]:
    """What does not pass, in the order of the table, each text once."""
    found: dict[str, Known] = {}
    for row in ROWS:
        for peer, version in columns():
            if version in row.versions and (known := peer.known_of(row.name, version)):
                found.setdefault(known.why, known)
    return list(found.values())


def cell(row, peer: type[Peer], version: str, numbers: dict[str, int]) -> str:
    if version not in row.versions:
        return ""
    known = peer.known_of(row.name, version)
    return f"{MARKS[known.kind]} {numbers[known.why]}" if known else "✓"


def render(releases: dict[str, str], date: str) -> str:
    lines = [INTRODUCTION, f"| broker | version | from | tested on {date} with |", "|---|---|---|---|"]
    for peer in PEERS:
        spoken = " and ".join(f"MQTT {version}" for version in peer.versions)
        lines.append(f"| {peer.name} | {releases[peer.name]} | {peer.source} | {spoken} |")
    heads = [f"{peer.short or peer.name} {version}" for peer, version in columns()]
    lines += ["", "| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    numbers = {known.why: index for index, known in enumerate(notes(), 1)}
    for row in ROWS:
        cells = [cell(row, peer, version, numbers) for peer, version in columns()]
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"{index}. {known.why}" for index, known in enumerate(notes(), 1)]
    for peer in PEERS:
        if peer.loses:
            lines += ["", peer.loses]
    return "\n".join(lines) + "\n"


def written() -> tuple[dict[str, str], str]:
    """The releases and the date that the page has."""
    text = PAGE.read_text()
    date = re.search(r"tested on (\S+) with", text).group(1)
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \| MQTT [^|]+ \|$", text, re.MULTILINE)
    return dict(rows), date


if __name__ == "__main__":
    missing = [peer.name for peer in PEERS if not peer.is_installed()]
    if missing:
        raise SystemExit(f"not written: {', '.join(missing)} not installed; run scripts/brokers without --installed")
    PAGE.write_text(render({peer.name: peer.release() for peer in PEERS}, datetime.date.today().isoformat()))
    print(f"wrote {PAGE.relative_to(ROOT)}")
