"""Neighbours that receive updates: in a session with its event stream, and by `subscriptions/listen`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from soak.caller import Caller
from soak.config import STEADY, TIMEOUT
from soak.disturbances import RECOVERY
from soak.ledger import ROOT
from soak.mcp import Stateless
from soak.stage import Pace, Stage
from soak.wire import Closed

#: Seconds without a fault after which an update counts as missing.
SILENCE = 15.0
#: Seconds without an update after which another message is published.
AGAIN = 1.0
#: A session's subscription is given up and made anew after so many updates.
UPDATES = 40


class Subscription:
    """One resource with its numbers of published messages and received updates."""

    def __init__(self, stage: Stage, name: str, toolkit: str) -> None:
        self.stage = stage
        self.name = name
        self.toolkit = toolkit
        self.topic = f"{ROOT}/{toolkit}/feed-{name}"
        self.uri = f"{toolkit}+mqtt://{self.topic}"
        self.claim = "updates" if toolkit == STEADY else "restored"
        self._published = self._told = 0
        self._news = asyncio.Event()

    def updated(self, message: dict[str, Any]) -> None:
        """Takes a notification."""
        if message.get("method") != "notifications/resources/updated" or message["params"].get("uri") != self.uri:
            return
        self._told += 1
        self._news.set()
        # After the loss of a connection, an update says that messages may have been missed.
        if self.toolkit == STEADY and self._told > self._published:
            description = f"{self.name} was told of {self._told} updates, of {self._published} messages"
            self.stage.claims.broken("invented", description)

    async def turn(self) -> bool:
        """Publishes, bypassing the gateway, until an update arrives; returns whether one arrived."""
        stage, begun = self.stage, time.monotonic()
        self._news.clear()
        while True:
            self._published += 1
            await stage.witnesses[self.toolkit].publish(self.topic, f"{self._published}".encode())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN):
                    await self._news.wait()
            now = time.monotonic()
            if self._news.is_set():
                stage.tally.add(self.toolkit, "update", "done", now - begun)
                return True
            calm = self.toolkit == STEADY or stage.disturbances[self.toolkit].calm(now - SILENCE, now)
            if now - begun > SILENCE and calm:
                stage.tally.add(self.toolkit, "update", "missed", now - begun)
                self.broken("no update", since=stage.claims.second(begun), published=self._published)
                return False
            if stage.over.is_set():
                return False

    def broken(self, what: str, **trace: object) -> None:
        """Records a violation by the subscription."""
        faults = self.stage.disturbances[self.toolkit].within(time.monotonic() - 2 * RECOVERY, time.monotonic())
        spans = [f"{fault.kind} {self.stage.claims.second(fault.begun)}" for fault in faults]
        self.stage.claims.broken(self.claim, f"{self.name}: {what}", faults=spans, **trace)


async def follow(subscription: Subscription, events: AsyncIterator[Any], began: asyncio.Future[Any]) -> None:
    """Reads the events of a stream until it ends, which must not happen by itself."""
    description = "its event stream ended"
    try:
        async for event in events:
            if not began.done():
                began.set_result(event)
            subscription.updated(event)
    except Closed as error:
        description = f"its event stream broke: {error}"
    subscription.broken(description)
    if not began.done():
        began.set_result(None)


@contextlib.asynccontextmanager
async def following(
    subscription: Subscription, request: bytes
) -> AsyncIterator[tuple[asyncio.Task[None], asyncio.Future[Any]]]:
    """An event stream that is followed on a connection of its own, and its first event."""
    connection = await subscription.stage.enter()
    began: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(follow(subscription, connection.events(request), began))
    try:
        yield task, began
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        connection.close()


async def subscriber(stage: Stage, name: str, toolkit: str, revision: str, rate: float) -> None:
    """Subscribes to a resource in a session, again and again."""
    caller, pace = Caller(stage, name, revision), Pace(stage, rate)
    subscription = Subscription(stage, name, toolkit)
    params = {"uri": subscription.uri}
    while not stage.over.is_set():
        await pace.wait()
        if not (await caller.call(toolkit, "ping", "ping", {}, local=True)).done or not caller.session:
            continue
        async with following(subscription, caller.session.events()) as (task, _):
            while caller.session and not task.done() and not stage.over.is_set():
                await pace.wait()
                if not (await caller.call(toolkit, "subscribe", "resources/subscribe", params)).done:
                    continue
                for _ in range(UPDATES):
                    await pace.wait()
                    if task.done() or stage.over.is_set() or not await subscription.turn():
                        break
                await caller.call(toolkit, "unsubscribe", "resources/unsubscribe", params, local=True)
    await caller.end()


async def listener(stage: Stage, name: str, toolkit: str, revision: str, rate: float) -> None:
    """Listens to a resource, for as long as the stream lasts."""
    pace, subscription, streams = Pace(stage, rate), Subscription(stage, name, toolkit), 0
    while not stage.over.is_set():
        await pace.wait()
        streams += 1
        params = {"notifications": {"resourceSubscriptions": [subscription.uri]}}
        request = Stateless().request(f"{name}#{streams}", "subscriptions/listen", params)
        async with following(subscription, request) as (task, began):
            if not await acknowledged(subscription, began):
                continue
            for _ in range(UPDATES):
                await pace.wait()
                if task.done() or stage.over.is_set() or not await subscription.turn():
                    break


async def acknowledged(subscription: Subscription, began: asyncio.Future[Any]) -> bool:
    """Whether the first event acknowledges the resource; over a faulty link it may be left out."""
    stage, begun = subscription.stage, time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT + SILENCE):
            first = await began
    except TimeoutError:
        subscription.broken("the subscription was not acknowledged in time")
        return False
    now = time.monotonic()
    if first is None:
        return False
    if subscription.uri in str(first.get("params", {}).get("notifications", {})):
        stage.tally.add(subscription.toolkit, "listen", "done", now - begun)
        return True
    stage.tally.add(subscription.toolkit, "listen", "failed", now - begun)
    if subscription.toolkit == STEADY or stage.disturbances[subscription.toolkit].calm(begun, now):
        subscription.broken(f"the acknowledgement leaves the resource out: {first}")
    return False
