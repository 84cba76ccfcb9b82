"""Calls with invalid or forbidden topics, and calls that are cancelled."""

from __future__ import annotations

import asyncio
import time

from soak.config import CUT, MORTAL, STEADY, TIMEOUT
from soak.hostile.attacker import Attacker

#: Topics that must never be published. The witness reports their arrival.
FORBIDDEN = [
    "forbidden/topic",
    "hostile2/x",
    "/soak/x",
    "soak /x",
    "$SYS/broker/uptime",
    "$CONTROL/dynamic-security/v1",
    "$share/group/hostile/x",
    "SOAK/steady/x",
]
#: Allowed by the policy but malformed: the broker closes the connection.
MALFORMED = [
    "hostile/\u0001",
    "hostile/a\u001fb",
    "hostile/\u007f",
    "hostile/\u0085",
    "hostile/\ufffe",
    "hostile/\U0001ffff",
    "hostile/\ufdd0",
    "hostile/\0",
    "hostile/" + "/".join("a" * 300),
    "hostile/+/x",
    "hostile/#/x",
    "hostile/" + "x" * 70_000,
    "",
]
#: Filters that are invalid, not allowed, or shared.
FILTERS = [
    "#",
    "+/#",
    "$SYS/#",
    "hostile/#/x",
    "hostile/a+",
    "$share/soak/hostile/#",
    "$share//hostile/#",
    "$share/soak",
    "hostile/" + "+/" * 300 + "#",
]
#: Seconds for which a storm lasts.
STORM = 3.0


async def topics(attacker: Attacker) -> None:
    """Publishes, receives, reads and subscribes where it must not."""
    rng = attacker.rng
    connection = await attacker.open()
    wrong = rng.sample(MALFORMED, 4) + rng.sample(FORBIDDEN, 3)
    requests = [
        attacker.call("publish", {"topic": topic, "payload": "x", "qos": rng.randrange(3), "retain": rng.random() < 0.2})
        for topic in wrong
    ]
    requests += [
        attacker.call("receive", {"topic": topic, "timeout": 100, "limit": 1})
        for topic in rng.sample(FILTERS, 3) + rng.sample(MALFORMED, 2)
    ]
    uris = [f"{STEADY}+mqtt://{topic}" for topic in FORBIDDEN + ["hostile/+", "hostile/%01", "hostile/" + "a/" * 300]]
    for uri in rng.sample(uris, 3):
        requests.append(attacker.request("resources/read", {"uri": uri}))
    rng.shuffle(requests)
    for request in requests:
        try:
            async with asyncio.timeout(10):
                response = await connection.exchange(request)
        except TimeoutError:
            attacker.saw("TimeoutError")
            connection = await attacker.open()
            continue
        attacker.saw("refused" if b"error" in response.body.lower() else "taken")


async def storms(attacker: Attacker) -> None:
    """Publishes as fast as possible over the failing links: refusals are fast."""
    await attacker.together(*(storm(attacker, toolkit) for toolkit in (CUT, MORTAL) for _ in range(3)))


async def storm(attacker: Attacker, toolkit: str) -> None:
    connection = await attacker.open()
    params = {"name": f"{toolkit}__publish", "arguments": {"topic": "hostile/storms", "payload": "x", "qos": 1}}
    until = time.monotonic() + STORM
    while time.monotonic() < until:
        async with asyncio.timeout(TIMEOUT + 5):
            response = await connection.exchange(attacker.request("tools/call", params))
        attacker.saw("refused" if b"rror" in response.body else "taken")


async def cancels(attacker: Attacker) -> None:
    """Begins calls and closes the connection before they are answered."""
    rng, session = attacker.rng, await attacker.begin()
    arguments = {"topic": "hostile/cancels", "timeout": 2_000}
    message = {"topic": "hostile/cancels", "payload": "x" * 1_000}
    await attacker.together(
        *(break_off(attacker, attacker.call("receive", arguments)) for _ in range(6)),
        *(break_off(attacker, attacker.call("publish", {**message, "qos": rng.randrange(3)})) for _ in range(10)),
        *(break_off(attacker, attacker.call("receive", arguments, session)) for _ in range(3)),
        *(break_off(attacker, attacker.call("publish", {**message, "qos": 2}, session)) for _ in range(3)),
        break_off(attacker, attacker.request("resources/read", {"uri": f"{STEADY}+mqtt://hostile/nothing"})),
        break_off(
            attacker,
            attacker.request(
                "subscriptions/listen",
                {"notifications": {"resourceSubscriptions": [f"{STEADY}+mqtt://hostile/cancels"]}},
            ),
        ),
    )


async def break_off(attacker: Attacker, request: bytes) -> None:
    """Sends a request, or most of it, and closes the connection a moment later."""
    cut = len(request) if attacker.rng.random() < 0.8 else attacker.rng.randrange(len(request))
    connection = await attacker.send(request[:cut])
    await asyncio.sleep(attacker.rng.choice([0, 0, 0.001, 0.01, 0.3]))
    if attacker.rng.random() < 0.5:
        connection.reset()
    else:
        connection.close()
