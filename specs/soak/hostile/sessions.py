"""Abandoned and unknown sessions, and sessions with excessive subscriptions."""

from __future__ import annotations

from soak.config import STEADY
from soak.hostile.attacker import Attacker
from soak.mcp import LEGACY, Session
from soak.wire import post

#: Sessions of a bout. They expire by the gateway's own timeout.
MANY = 30
#: Lengths of topics: what is usual, what is long, and nearly as long as a topic can be.
LENGTHS = (40, 3_000, 60_000)


async def sessions(attacker: Attacker) -> None:
    """Begins and abandons many sessions, and uses unknown session ids."""
    for index in range(MANY):
        session = await attacker.begin()
        if session and index % 5 == 0:
            call = attacker.call("publish", {"topic": "hostile/sessions", "payload": "x", "qos": 1}, session)
            await attacker.ask(call)
            forged = Session(LEGACY, session.identity[:-1] + ("a" if session.identity[-1] != "a" else "b"))
            await attacker.ask(attacker.request("ping", {}, forged))
            await attacker.ask(session.end())
            await attacker.ask(session.end())
    for identity in ["", "0", "x" * 5_000, "../../etc", "ffffffff-0000", "-1", '"', "\x7f"]:
        unknown = Session(LEGACY, identity)
        for request in [attacker.request("tools/list", {}, unknown), unknown.events(), unknown.end()]:
            await attacker.ask(request)
    await attacker.ask(post(b"", {"accept": "text/event-stream"}, "GET"))


async def subscriptions(attacker: Attacker) -> None:
    """Subscribes to many resources with names of up to sixty thousand letters, in a session and without one."""
    rng = attacker.rng
    session = await attacker.begin()
    if session is None:
        return

    def uri(index: int) -> str:
        return f"{STEADY}+mqtt://hostile/{index}/" + rng.choice("abc") * rng.choice(LENGTHS)

    await attacker.send(session.events())
    connection = await attacker.open()
    for index in range(25):
        params = {"uri": uri(index)}
        response = await connection.exchange(attacker.request("resources/subscribe", params, session))
        attacker.saw(response.status)
        if index % 3 == 0:
            await connection.exchange(attacker.request("resources/unsubscribe", params, session))
    for _ in range(2):
        notifications = {"resourceSubscriptions": [uri(index) for index in range(50)]}
        await attacker.send(attacker.request("subscriptions/listen", {"notifications": notifications}))
    short = [f"{STEADY}+mqtt://hostile/{index}" for index in range(2_000)]
    await attacker.send(attacker.request("subscriptions/listen", {"notifications": {"resourceSubscriptions": short}}))
    await attacker.together(
        *(
            attacker.ask(attacker.call("receive", {"topic": f"hostile/{'+/' * levels}#", "timeout": 500}))
            for levels in range(6)
        )
    )
    if rng.random() < 0.5:
        await attacker.ask(session.end())
