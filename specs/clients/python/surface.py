"""Everything that tools and resources do with a broker: one function for each row of docs/broker-table.md.

A row gets a `Case`: a broker, a protocol version, and a gateway between the official SDK client and the broker, behind a link
that reads packets. Beside it, mosquitto's clients publish and subscribe directly. A row that fails raises an error; what a broker
lacks is stated in `peers.py`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from conftest import PATIENCE, Gateway, wait_until
from mcp import Client
from mcp.shared.exceptions import MCPError
from peers import BOTH, Message, Peer
from tap import Relay

MODERN = ("5",)
OPEN = 'subscribe: [ "#" ], publish: [ "#" ]'
#: Options of the gateway that rows share.
SHARED = f'{OPEN}, readTimeout: 300, observe: true, replyTopic: "replies/{{clientId}}"'
#: Protocol levels in CONNECT.
LEVELS = {"5": 5, "3.1.1": 4}
#: Less than the patience of the clients: what has arrived by then is shown.
WAIT = int(PATIENCE * 1000 * 3 / 4)


@dataclass
class Case:
    peer: Peer
    version: str
    tap: Relay
    gateway: Gateway
    parts: contextlib.ExitStack

    def client(self, mode: str = "2026-07-28", **options) -> Client:
        return Client(self.gateway.url, mode=mode, read_timeout_seconds=PATIENCE, **options)

    def subscriber(self, topic: str, *options: str):
        subscriber = self.peer.subscriber(topic, *options)
        self.parts.callback(subscriber.stop)
        return subscriber

    async def publish(self, topic: str, payload: str | bytes, *options: str) -> None:
        await asyncio.to_thread(self.peer.publish, topic, payload, *options)

    async def publish_each(self, topic: str, payloads: list[str]) -> None:
        """Publishes one message for each payload, over one connection."""
        await asyncio.to_thread(self.peer.publish_each, topic, payloads)

    async def subscribed(self, topic: str, times: int = 1, call: asyncio.Task | None = None) -> None:
        """Waits until the broker has granted a subscription of the gateway so often, or the call that needs it fails."""

        def granted() -> bool:
            assert not (call and call.done()), call.result().content[0].text
            return self.tap.granted.count(topic) >= times

        await asyncio.to_thread(wait_until, f"{times} subscriptions to {topic}: {self.tap.granted}", granted)

    def other(self, options: str = OPEN, client: str = "", version: str | None = None) -> "Case":
        """The same broker with a gateway of its own."""
        return opened(self.peer, version or self.version, self.parts, options, client)


def opened(peer: Peer, version: str, parts: contextlib.ExitStack, options: str = SHARED, client: str = "") -> Case:
    tap = peer.tap()
    parts.callback(tap.stop)
    client = ", ".join(filter(None, (f'version: "{version}"', client)))
    gateway = Gateway(peer.gateway(tap.port, options, client))
    parts.callback(gateway.stop)
    gateway.probed()
    return Case(peer, version, tap, gateway, parts)


Check = Callable[[Case], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    check: Check
    versions: tuple[str, ...]
    #: It stops the broker.
    disruptive: bool


ROWS: list[Row] = []


def row(title: str, versions: tuple[str, ...] = BOTH, disruptive: bool = False):
    def register(check: Check) -> Check:
        ROWS.append(Row(check.__name__, title, check, versions, disruptive))
        return check

    return register


def done(result):
    assert not result.is_error, result.content
    return result.structured_content


def payloads(result) -> list[str]:
    return [message["payload"] for message in done(result)["messages"]]


async def published(case: Case, topic: str, qos: int, payload: str = "on", meta: dict | None = None, **more) -> Message:
    """Publishes, and returns what a subscriber gets."""
    subscriber = case.subscriber(topic)
    arguments = {"topic": topic, "payload": payload, "qos": qos, **more}
    async with case.client() as client:
        result = done(await client.call_tool("publish", arguments, meta=meta))
    assert result["outcome"] == ["sent", "acknowledged", "completed"][qos], result
    if qos and case.version == "3.1.1":
        assert result["reasonCode"] is None, result
    message = await asyncio.to_thread(subscriber.wait, topic)
    assert not message.retain, "arrived as retained"
    return message


@row("publish at QoS 0")
async def publish_qos0(case: Case) -> None:
    assert (await published(case, "publish/0", 0)).payload == b"on"


@row("publish at QoS 1")
async def publish_qos1(case: Case) -> None:
    assert (await published(case, "publish/1", 1)).payload == b"on"


@row("publish at QoS 2")
async def publish_qos2(case: Case) -> None:
    assert (await published(case, "publish/2", 2)).payload == b"on"


@row("messages are delivered at the lower QoS of publisher and subscriber")
async def delivered_qos(case: Case) -> None:
    for qos in (0, 1, 2):
        message = await published(case, f"qos/{qos}", qos)
        assert message.qos == qos, f"QoS {qos} arrived with QoS {message.qos}"
    async with case.client() as client:
        call = asyncio.create_task(client.call_tool("receive", {"topic": "qos/receive", "limit": 3, "timeout": WAIT}))
        await case.subscribed("qos/receive")
        for qos in ("0", "1", "2"):
            await case.publish("qos/receive", qos, "-q", qos)
        # The subscription is of QoS 1.
        arrived = [message["qos"] for message in done(await call)["messages"]]
    assert arrived == [0, 1, 1], f"received with QoS {arrived}"


@row("64 callers at once, each message once (QoS 2)")
async def publish_many(case: Case) -> None:
    # At QoS 0: mosquitto 2.0.11 now and then leaves a part of many messages in its queue for a subscriber at QoS 2.
    subscriber = case.subscriber("many/#", "-q", "0")
    async with case.client() as client:
        calls = [
            client.call_tool("publish", {"topic": f"many/{number}", "payload": str(number), "qos": 2})
            for number in range(64)
        ]
        for result in await asyncio.gather(*calls):
            assert done(result)["outcome"] == "completed"
    expected = sorted(f"many/{number}" for number in range(64))
    arrived = lambda: sorted(message.topic for message in subscriber.messages())  # noqa: E731
    await asyncio.to_thread(wait_until, "64 messages", lambda: len(arrived()) >= 64)
    assert arrived() == expected


@row("empty payload")
async def publish_empty(case: Case) -> None:
    assert (await published(case, "publish/empty", 1, payload="")).payload == b""


@row("binary payload, published and received")
async def binary(case: Case) -> None:
    data = bytes(range(256))
    text = base64.b64encode(data).decode()
    assert (await published(case, "publish/binary", 1, payload=text, encoding="base64")).payload == data
    async with case.client() as client:
        call = asyncio.create_task(client.call_tool("receive", {"topic": "receive/binary", "limit": 1, "timeout": WAIT}))
        await case.subscribed("receive/binary")
        await case.publish("receive/binary", data, "-q", "1")
        [message] = done(await call)["messages"]
    assert (message["payload"], message["encoding"]) == (text, "base64")


@row("payload of 1 MB published, of 300 kB received")
async def large(case: Case) -> None:
    payload = "x" * 1_000_000
    assert len((await published(case, "publish/large", 1, payload=payload)).payload) == len(payload)
    async with case.client() as client:
        call = asyncio.create_task(client.call_tool("receive", {"topic": "receive/large", "limit": 1, "timeout": WAIT}))
        await case.subscribed("receive/large")
        await case.publish("receive/large", "y" * 300_000, "-q", "1")
        assert payloads(await call) == ["y" * 300_000]


@row("topic that is not ASCII")
async def unicode_topic(case: Case) -> None:
    assert (await published(case, "räume/küche/温度", 1)).payload == b"on"


@row("publish retained, read, and remove it")
async def retain(case: Case) -> None:
    async with case.client() as client:
        for topic in ("retain/a", "retain/b"):
            done(await client.call_tool("publish", {"topic": topic, "payload": "kept", "qos": 1, "retain": True}))
        subscriber = case.subscriber("retain/#")
        message = await asyncio.to_thread(subscriber.wait, "retain/a")
        assert message.retain and message.payload == b"kept", message
        contents = (await client.read_resource("mqtt://retain/a")).contents
        assert [content.text for content in contents] == ["kept"]
        assert done(await client.call_tool("read", {"topic": "retain/a"}))["retain"] is True
        done(await client.call_tool("publish", {"topic": "retain/a", "payload": "", "qos": 1, "retain": True}))
        later = case.subscriber("retain/#")
        await asyncio.to_thread(later.wait, "retain/b")
        await case.publish("retain/end", "live")
        await asyncio.to_thread(later.wait, "retain/end")
        assert not [it for it in later.messages() if it.topic == "retain/a"], "the removed message is still there"


@row("a message that nobody subscribes to (reason code 16) is told", MODERN)
async def no_matching_subscribers(case: Case) -> None:
    async with case.client() as client:
        result = done(await client.call_tool("publish", {"topic": "nobody/here", "payload": "x", "qos": 1}))
    assert (result["reasonCode"], result["matched"]) == (16, False), result


@row("publishExpiry is the Message Expiry Interval", MODERN)
async def expiry(case: Case) -> None:
    own = case.other(f"{OPEN}, publishExpiry: 60")
    subscriber = own.subscriber("expiry/+")
    async with own.client() as client:
        done(await client.call_tool("publish", {"topic": "expiry/a", "payload": "x", "qos": 1}))
    message = await asyncio.to_thread(subscriber.wait, "expiry/a")
    assert message.expiry.isdigit() and 1 <= int(message.expiry) <= 60, f"expires in {message.expiry!r}"


@row("user properties: the trace context of a call reaches the devices", MODERN)
async def user_properties(case: Case) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    message = await published(case, "properties/a", 1, meta={"traceparent": trace})
    assert f"traceparent:{trace}" in message.properties.split(), message


@row("receive at QoS 0, 1 and 2")
async def receive(case: Case) -> None:
    async with case.client() as client:
        call = asyncio.create_task(client.call_tool("receive", {"topic": "receive/each", "limit": 3, "timeout": WAIT}))
        await case.subscribed("receive/each")
        for qos in ("0", "1", "2"):
            await case.publish("receive/each", f"qos {qos}", "-q", qos)
        assert payloads(await call) == ["qos 0", "qos 1", "qos 2"]


@row("receive returns without messages after its timeout")
async def receive_nothing(case: Case) -> None:
    async with case.client() as client:
        assert payloads(await client.call_tool("receive", {"topic": "receive/nothing", "timeout": 100})) == []


@row("200 messages in a burst, in order")
async def burst(case: Case) -> None:
    expected = [str(number) for number in range(200)]
    async with case.client() as client:
        call = asyncio.create_task(client.call_tool("receive", {"topic": "burst", "limit": 200, "timeout": WAIT}))
        await case.subscribed("burst")
        await case.publish_each("burst", expected)
        assert payloads(await call) == expected


@row("wildcards + and #")
async def wildcards(case: Case) -> None:
    async with case.client() as client:
        for pattern, topics in [("wild/+/c", ["wild/x/c", "wild/y/c"]), ("wild/#", ["wild", "wild/x/y/z"])]:
            call = asyncio.create_task(client.call_tool("receive", {"topic": pattern, "limit": 2, "timeout": WAIT}))
            await case.subscribed(pattern)
            for topic in ["other/x/c", *topics]:
                await case.publish(topic, "x", "-q", "1")
            assert [message["topic"] for message in done(await call)["messages"]] == topics


@row("overlapping filters: each caller gets each message once")
async def overlapping(case: Case) -> None:
    filters = ["home/#", "home/+/state", "home/lamp/state"]
    async with case.client() as client:
        calls = [
            asyncio.create_task(client.call_tool("receive", {"topic": topic, "limit": 2, "timeout": WAIT}))
            for topic in filters
        ]
        for topic in filters:
            await case.subscribed(topic)
        for payload in ("1", "2"):
            await case.publish("home/lamp/state", payload, "-q", "1")
        for call in calls:
            assert payloads(await call) == ["1", "2"]


@row("read waits for the next message; fresh ignores a retained one")
async def read(case: Case) -> None:
    await case.publish("read/kept", "old", "-r", "-q", "1")
    async with case.client() as client:
        for topic, arguments in [("read/next", {}), ("read/kept", {"fresh": True})]:
            call = asyncio.create_task(client.call_tool("read", {"topic": topic, "timeout": WAIT, **arguments}))
            await case.subscribed(topic)
            await case.publish(topic, "new", "-q", "1")
            assert done(await call)["payload"] == "new"


@row("read of a silent topic times out")
async def read_nothing(case: Case) -> None:
    async with case.client() as client:
        try:
            await client.read_resource("mqtt://read/nothing")
            raise AssertionError("it was read")
        except MCPError as error:
            assert "No message received on topic 'read/nothing' within 300ms" in str(error)


async def answered(case: Case, arguments: dict) -> None:
    """A device answers a query on the topic that the request or the arguments name."""
    device = case.subscriber("query/set")
    async with case.client() as client:
        call = asyncio.create_task(
            client.call_tool("query", {"topic": "query/set", "payload": "on?", "qos": 1, "timeout": WAIT, **arguments})
        )
        request = await asyncio.to_thread(device.wait, "query/set")
        topic, options = arguments.get("responseTopic"), ()
        if topic is None:
            topic, options = request.response_topic, ("-D", "PUBLISH", "correlation-data", request.correlation)
        await case.publish(topic, "yes", "-q", "1", *options)
        assert done(await call)["payload"] == "yes"


@row("query, the answer on a topic of the caller")
async def query(case: Case) -> None:
    await answered(case, {"responseTopic": "query/answer"})


@row("query with Response Topic and Correlation Data", MODERN)
async def query_with_properties(case: Case) -> None:
    await answered(case, {})


@row("list_topics with the topics that were seen")
async def list_topics(case: Case) -> None:
    async with case.client() as client:
        await case.publish("seen/here", "x", "-r", "-q", "1")
        done(await client.call_tool("read", {"topic": "seen/here", "timeout": WAIT}))
        text = str(done(await client.call_tool("list_topics", {"filter": "seen/#"})))
    assert "seen/here" in text, text


@row("resources and templates are listed")
async def resources(case: Case) -> None:
    own = case.other("subscribe: [ status, rooms/+/temperature ], publish: []")
    async with own.client() as client:
        assert [str(it.uri) for it in (await client.list_resources()).resources] == ["mqtt://status"]
        templates = (await client.list_resource_templates()).resource_templates
        assert "mqtt://rooms/+/temperature" in [it.uri_template for it in templates]


@row("subscriptions/listen: an update for each message")
async def updates(case: Case) -> None:
    async with case.client() as client:
        async with client.listen(resource_subscriptions=["mqtt://update/modern"]) as subscription:
            events = aiter(subscription)
            await case.subscribed("update/modern")
            for payload in ("1", "2"):
                await case.publish("update/modern", payload, "-q", "1")
                event = await asyncio.wait_for(anext(events), PATIENCE)
                assert str(event.uri) == "mqtt://update/modern"


@row("resources/subscribe and unsubscribe of a session")
async def subscriptions(case: Case) -> None:
    told: asyncio.Queue = asyncio.Queue()

    async def handler(message) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            told.put_nowait(str(message.params.uri))

    async with case.client("legacy", message_handler=handler) as client:
        for name in ("a", "b"):
            await client.subscribe_resource(f"mqtt://update/{name}")
            await case.publish(f"update/{name}", "x", "-q", "1")
            assert await asyncio.wait_for(told.get(), PATIENCE) == f"mqtt://update/{name}"
        await client.unsubscribe_resource("mqtt://update/a")
        for name in ("a", "b"):
            await case.publish(f"update/{name}", "y", "-q", "1")
        assert await asyncio.wait_for(told.get(), PATIENCE) == "mqtt://update/b"


@row("shared subscriptions are refused unless allowed")
async def shared_refused(case: Case) -> None:
    async with case.client() as client:
        result = await client.call_tool("receive", {"topic": "$share/group/jobs"})
    assert result.is_error and "sharedSubscriptions" in result.content[0].text, result


@row("a member of a shared subscription gets its messages", MODERN)
async def shared(case: Case) -> None:
    own = case.other(f"{OPEN}, sharedSubscriptions: true")
    async with own.client() as client:
        arguments = {"topic": "$share/group/jobs", "limit": 2, "timeout": WAIT}
        call = asyncio.create_task(client.call_tool("receive", arguments))
        await own.subscribed("$share/group/jobs", call=call)
        for payload in ("1", "2"):
            await own.publish("jobs", payload, "-q", "1")
        assert payloads(await call) == ["1", "2"]


@row("topic aliases", MODERN)
async def aliases(case: Case) -> None:
    own = case.other(client="topicAliasMaximum: 10")
    subscriber = own.subscriber("alias/+")
    async with own.client() as client:
        for payload in ("1", "2", "3"):
            done(await client.call_tool("publish", {"topic": "alias/a", "payload": payload, "qos": 1}))
    await asyncio.to_thread(wait_until, "three messages", lambda: len(subscriber.messages()) >= 3)
    assert [(it.topic, it.payload) for it in subscriber.messages()] == [("alias/a", b"1"), ("alias/a", b"2"), ("alias/a", b"3")]


@row("the will is published when the gateway is killed")
async def will(case: Case) -> None:
    own = case.other(client="will: { topic: will/state, payload: lost, qos: 1 }")
    subscriber = own.subscriber("will/+")
    async with own.client() as client:
        done(await client.call_tool("publish", {"topic": "will/state", "payload": "here", "qos": 1}))
        await asyncio.to_thread(subscriber.wait, "will/state")
    own.gateway.child.kill()
    await asyncio.to_thread(wait_until, "the will", lambda: len(subscriber.messages()) == 2)
    assert subscriber.messages()[1].payload == b"lost"


@row("a resumed session brings what was published meanwhile")
async def resumed(case: Case) -> None:
    own = case.other(client="clientId: resumed, sessionExpiry: 60, reconnect: { min: 10, max: 100 }")
    async with own.client() as client:
        call = asyncio.create_task(client.call_tool("receive", {"topic": "news/+", "limit": 2, "timeout": WAIT}))
        await own.subscribed("news/+", call=call)
        before = own.tap.accepted
        own.tap.away()
        await own.publish("news/a", "meanwhile", "-q", "1")
        own.tap.back()
        await asyncio.to_thread(wait_until, "another CONNACK", lambda: own.tap.accepted > before)
        # If the session was lost, the first of them may come before the subscription.
        while not call.done():
            await own.publish("news/b", "after", "-q", "1")
        brought = payloads(await call)
    assert brought == ["meanwhile", "after"], f"brought {brought}"


@row("a connection that another client takes over is told, and opened again later", MODERN)
async def taken_over(case: Case) -> None:
    own = case.other(client="clientId: taken, reconnect: { min: 10, max: 200 }")
    arguments = {"topic": "taken/a", "payload": "x", "qos": 1}
    async with own.client() as client:
        done(await client.call_tool("publish", arguments))
        before = own.tap.accepted
        await own.publish("taken/b", "x", "-i", "taken")
        async with asyncio.timeout(PATIENCE):
            # Calls are refused for a while.
            while (await client.call_tool("publish", arguments)).is_error:
                pass
        assert own.tap.accepted > before
    told = own.gateway.text()
    assert "another client uses the client identifier 'taken'" in told, f"the log says: {told}"


@row("`version: auto` finds the version")
async def version(case: Case) -> None:
    own = case.other(version="auto", client="connectTimeout: 1000")
    async with own.client() as client:
        done(await client.call_tool("publish", {"topic": "version/auto", "payload": "x", "qos": 1}))
    assert own.tap.versions[-1] == LEVELS[case.peer.best], own.tap.versions


@row("the broker is killed and started again", disruptive=True)
async def restarted(case: Case) -> None:
    own = case.other(client="reconnect: { min: 10, max: 200 }")
    async with own.client() as client:
        async with client.listen(resource_subscriptions=["mqtt://restart/a"]) as subscription:
            events = aiter(subscription)
            await own.subscribed("restart/a")
            done(await client.call_tool("publish", {"topic": "restart/b", "payload": "x", "qos": 1}))
            await asyncio.to_thread(own.peer.kill)
            failed = await client.call_tool("publish", {"topic": "restart/b", "payload": "x", "qos": 1})
            assert failed.is_error, failed
            await asyncio.to_thread(own.peer.start)
            await own.subscribed("restart/a", times=2)
            # The first update tells that messages may have been missed.
            await asyncio.wait_for(anext(events), PATIENCE)
            await own.publish("restart/a", "again", "-q", "1")
            await asyncio.wait_for(anext(events), PATIENCE)
        done(await client.call_tool("publish", {"topic": "restart/b", "payload": "x", "qos": 1}))
