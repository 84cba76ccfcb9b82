"""Clients that send requests and never read."""

from __future__ import annotations

import asyncio

from soak.config import STEADY
from soak.hostile.attacker import Attacker
from soak.wire import post

#: A receive buffer as small as the system allows.
SMALL = 4096
#: Seconds for which a client does not read.
DEAF = 6.0
BIG, BUSY = "hostile/big", "hostile/busy"


async def deaf(attacker: Attacker) -> None:
    """Requests lists and large messages continuously without reading."""
    await attacker.ask(attacker.call("publish", {"topic": BIG, "payload": "x" * 200_000, "retain": True, "qos": 1}))
    read = attacker.request("resources/read", {"uri": f"{STEADY}+mqtt://{BIG}"})
    lists = attacker.request("tools/list", {})
    receive = attacker.call("receive", {"topic": BIG, "limit": 1, "timeout": 1000})
    errors = post(b"{}", {"content-type": "application/json"})
    await attacker.together(
        *(stuff(attacker, data, times) for data, times in [(read, 200), (lists, 400), (receive, 200), (errors, 2000)]),
    )


async def stuff(attacker: Attacker, request: bytes, times: int) -> None:
    """Sends a request many times on one connection, for as long as the other side takes them."""
    connection = await attacker.send(b"", SMALL)
    connection.hold()
    try:
        async with asyncio.timeout(DEAF):
            for _ in range(times):
                connection.writer.write(request)
                await connection.writer.drain()
            await asyncio.sleep(DEAF)
    except TimeoutError:
        attacker.saw("held")


async def streams(attacker: Attacker) -> None:
    """Opens event streams with subscriptions to a busy topic, and does not read them."""
    session = await attacker.begin()
    if session is None:
        return
    uri = f"{STEADY}+mqtt://{BUSY}"
    await attacker.ask(attacker.request("resources/subscribe", {"uri": uri}, session))
    listen = attacker.request("subscriptions/listen", {"notifications": {"resourceSubscriptions": [uri]}})
    silent = [session.events(), session.events(), *[listen] * 6]
    for data in silent:
        (await attacker.send(data, SMALL)).hold()
    await attacker.together(*(keep_busy(attacker) for _ in range(2)))


async def keep_busy(attacker: Attacker) -> None:
    """Publishes to the busy topic as fast as possible."""
    connection = await attacker.open()
    try:
        async with asyncio.timeout(DEAF):
            while True:
                await connection.exchange(attacker.call("publish", {"topic": BUSY, "payload": "x" * 500}))
                await asyncio.sleep(0.02)
    except TimeoutError:
        attacker.saw("held")
