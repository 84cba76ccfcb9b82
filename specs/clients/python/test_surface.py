"""The whole surface with each broker and each protocol version (docs/broker-table.md)."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

import pytest
from broker_table import PAGE, render, written
from peers import PEERS, Peer
from surface import ROWS, SHARED, Case, Row, opened
from variations import VARIATIONS

#: `scripts/brokers` tests all that are installed; CI those that start quickly.
EVERY = os.environ.get("TIDEGATE_EVERY_BROKER") == "1"
TESTED = [peer for peer in [*PEERS, *VARIATIONS] if peer.is_installed() and (EVERY or peer.quick)]
COLUMNS = [(peer, version) for peer in TESTED for version in peer.versions]


@pytest.fixture(scope="module", params=COLUMNS, ids=lambda it: f"{it[0].__name__}-{it[1]}")
def column(request) -> Iterator[Case]:
    """A broker with a gateway, which the rows share."""
    peer, version = request.param
    with contextlib.ExitStack() as parts:
        broker = peer(version)
        parts.callback(broker.stop)
        yield opened(broker, version, parts)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_row(row: Row, column: Case) -> None:
    peer, version = type(column.peer), column.version
    if version not in row.versions:
        pytest.skip("MQTT 5 only")
    known = peer.known_of(row.name, version)
    if known and known.sometimes and not EVERY:
        pytest.skip(known.why)
    with contextlib.ExitStack() as parts:
        case = Case(column.peer, version, column.tap, column.gateway, parts)
        if row.disruptive:
            case = own_broker(peer, version, parts)
        elif known:
            # The gateway leaves a broker that violates the protocol alone for a while.
            case = case.other(SHARED)
        if known is None:
            try:
                await row.check(case)
            except Exception:
                if not peer.loses:
                    raise
                await row.check(own_broker(peer, version, parts))
            return
        try:
            await row.check(case)
        except Exception as failed:
            told = sentences(failed)
            assert re.search(known.shown, told), f"fails otherwise than known: {told}"
        else:
            assert known.sometimes, f"passes, which the table denies: {known.why}"


def sentences(error: BaseException) -> str:
    """What an error, or those of a group, say."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(sentences(it) for it in error.exceptions)
    return str(error)


def own_broker(peer: type[Peer], version: str, parts: contextlib.ExitStack) -> Case:
    broker = peer(version)
    parts.callback(broker.stop)
    return opened(broker, version, parts)


def test_the_table_is_what_is_tested() -> None:
    releases, date = written()
    assert PAGE.read_text() == render(releases, date), "run scripts/brokers"
