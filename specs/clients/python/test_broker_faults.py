"""Brokers that refuse, disconnect, fall silent or break the protocol: what callers are told, and that the gateway recovers.

Each test plays its broker, byte by byte (`scripted_broker`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest
from conftest import PATIENCE, Gateway, federated, plain
from packets import (
    CONNACK, CONNECT, DISCONNECT, NAMES, PINGREQ, PUBACK, PUBLISH, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE,
    Packet, packet,
)  # fmt: skip
from scripted_broker import Peer, Script, ScriptedBroker
from test_brokers import call_receive
from test_faults import call_publish

#: A lost connection is opened again at once.
AT_ONCE = "reconnect: { min: 1, max: 1 }"
#: Milliseconds that the tests wait for a silent broker.
SHORT = 250
TIMEOUTS = f"connectTimeout: {SHORT}, acknowledgeTimeout: {SHORT}"
#: The reason codes of CONNACK (MQTT 5, 3.2.2.2).
REFUSALS = {
    0x80: "Unspecified error",
    0x81: "Malformed Packet",
    0x82: "Protocol Error",
    0x83: "Implementation specific error",
    0x84: "Unsupported Protocol Version",
    0x85: "Client Identifier not valid",
    0x86: "Bad User Name or Password",
    0x87: "Not authorized",
    0x88: "Server unavailable",
    0x89: "Server busy",
    0x8A: "Banned",
    0x8C: "Bad authentication method",
    0x90: "Topic Name invalid",
    0x95: "Packet too large",
    0x97: "Quota exceeded",
    0x99: "Payload format invalid",
    0x9A: "Retain not supported",
    0x9B: "QoS not supported",
    0x9C: "Use another server",
    0x9D: "Server moved",
    0x9F: "Connection rate exceeded",
}
#: The return codes of CONNACK (MQTT 3.1.1, 3.2.2.3), as the reason codes that mean the same.
REFUSALS_311 = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
#: The reason codes of DISCONNECT that a broker may send (MQTT 5, 3.14.2.1).
DISCONNECTS = {
    0x80: "Unspecified error",
    0x81: "Malformed Packet",
    0x82: "Protocol Error",
    0x83: "Implementation specific error",
    0x87: "Not authorized",
    0x89: "Server busy",
    0x8B: "Server shutting down",
    0x8C: "Bad authentication method",
    0x8D: "Keep Alive timeout",
    0x8E: "Session taken over",
    0x8F: "Topic Filter invalid",
    0x90: "Topic Name invalid",
    0x93: "Receive Maximum exceeded",
    0x94: "Topic Alias invalid",
    0x95: "Packet too large",
    0x96: "Message rate too high",
    0x97: "Quota exceeded",
    0x98: "Administrative action",
    0x99: "Payload format invalid",
    0x9A: "Retain not supported",
    0x9B: "QoS not supported",
    0x9C: "Use another server",
    0x9D: "Server moved",
    0x9E: "Shared Subscriptions not supported",
    0x9F: "Connection rate exceeded",
    0xA0: "Maximum connect time",
    0xA1: "Subscription Identifiers not supported",
    0xA2: "Wildcard Subscriptions not supported",
}


class Start:
    """Starts gateways whose callers share one connection to the broker."""

    def __init__(self, parts) -> None:
        self._parts = parts

    async def __call__(self, port: int, client: str = "", **options) -> Gateway:
        return await self._gateway(plain("http", port, client=f"{AT_ONCE}, {client}", **options))

    async def several(self, ports: dict[str, int], server: str = "") -> Gateway:
        """With a toolkit for each broker."""
        return await self._gateway(federated("http", ports, server=server))

    async def _gateway(self, config: str) -> Gateway:
        gateway = await asyncio.to_thread(Gateway, f"workers: 1\n{config}")
        self._parts.callback(gateway.stop)
        return gateway


@pytest.fixture
def started(parts) -> Start:
    return Start(parts)


async def publish(gateway: Gateway, **arguments) -> str:
    """The error of a call to `publish`; empty if there is none."""
    return told(await asyncio.to_thread(call_publish, gateway, **{"qos": 1, **arguments}))


async def publish_to(gateway: Gateway, toolkit: str, **arguments) -> str:
    """The same, with the tool of one of several toolkits."""
    answer = await asyncio.to_thread(call_publish, gateway, f"{toolkit}__publish", **{"qos": 1, **arguments})
    return told(answer)


def told(answer: httpx.Response) -> str:
    result = answer.json()["result"]
    return result["content"][0]["text"] if result.get("isError") else ""


async def receive(gateway: Gateway, **arguments) -> dict:
    return await asyncio.to_thread(call_receive, gateway, **{"topic": "news", "limit": 1, "timeout": 15_000, **arguments})


async def line(gateway: Gateway, pattern: str) -> str:
    return (await asyncio.to_thread(gateway.line, pattern)).group(0)


async def recovers(gateway: Gateway, expected: str = "") -> None:
    """Waits until the broker is used again; until then, callers are told `expected`."""
    async with asyncio.timeout(PATIENCE):
        while text := await publish(gateway, topic="again"):
            assert expected in text and "It was not delivered" in text


def once(kind: int, fault: Callable[[Peer, Packet], Awaitable[object]]) -> Script:
    """Serves, but for the first packet of this kind, to which the `fault` is the answer."""
    faults = [fault]

    async def script(peer: Peer) -> None:
        while True:
            received = await peer.serve(kind)
            if faults:
                await faults.pop()(peer, received)
            else:
                await peer.answer(received)

    return script


def silence(answer: Callable[[Packet], bytes] = lambda received: b"") -> Callable[[Peer, Packet], Awaitable[object]]:
    """Sends these bytes, and then nothing until the gateway closes the connection."""

    async def fault(peer: Peer, received: Packet) -> None:
        await peer.send(answer(received))
        await peer.ignore()

    return fault


async def is_refused(started, refuse: Callable[[Peer], Awaitable[object]], why: str, client: str, hint: str = "") -> None:
    """The broker refuses CONNECT until it is willing."""
    willing = asyncio.Event()

    async def script(peer: Peer) -> None:
        connect = await peer.expect(CONNECT)
        if willing.is_set():
            await peer.answer(connect)
            await peer.serve()
        else:
            await refuse(peer)

    async with ScriptedBroker(script) as broker:
        gateway = await started(broker.port, client=client)
        refused = f"The broker {broker.name} {why}"
        assert f"NOT connected: {refused}{hint}" in await line(gateway, r"^  mqtt_client0 +broker +.*$")
        text = await publish(gateway)
        assert refused in text and "It was not delivered" in text
        await line(gateway, r"WARN .*binding\.mqtt\.connection\.lost.*")
        willing.set()
        await recovers(gateway, refused)
        await line(gateway, rf"INFO .*broker {broker.name} connected again after")


def refuses(refusal: bytes) -> Callable[[Peer], Awaitable[object]]:
    async def refuse(peer: Peer) -> None:
        await peer.send(refusal)
        await peer.close()

    return refuse


@pytest.mark.parametrize("code", REFUSALS, ids=hex)
async def test_each_refusal_of_mqtt_5_is_told(code, started):
    why = f"refused the connection: {REFUSALS[code]} (0x{code:02X})"
    await is_refused(started, refuses(packet(CONNACK, bytes([0, code, 0]))), why, "version: 5", ".")


@pytest.mark.parametrize("code", REFUSALS_311, ids=hex)
async def test_each_refusal_of_311_is_told(code, started):
    reason = REFUSALS_311[code]
    why = f"refused the connection: {REFUSALS[reason]} (0x{reason:02X})"
    await is_refused(started, refuses(packet(CONNACK, bytes([0, code]))), why, "version: 3.1.1", ".")


@pytest.mark.parametrize(
    ("connack", "version", "why"),
    [
        ("00 8e 00", "5", "reason code not allowed in this packet"),
        ("00 10 00", "5", "reason code not allowed in this packet"),
        ("00 00 05", "5", "a length exceeds the packet"),
        ("00", "5", "the packet ends within a field"),
        ("00 06", "3.1.1", "reserved return code"),
        ("02 00", "3.1.1", "reserved flags are set"),
    ],
    ids=["code of DISCONNECT", "code of PUBACK", "no properties", "too short", "reserved return code", "reserved flags"],
)
async def test_a_malformed_connack_is_told(connack, version, why, started):
    refusal = packet(CONNACK, bytes.fromhex(connack))
    await is_refused(started, refuses(refusal), f"violated the MQTT protocol: CONNACK: {why}", f"version: {version}")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ("", f"did not answer CONNECT within {SHORT} ms"),
        ("20", f"did not answer CONNECT within {SHORT} ms"),
        ("20 03 00", f"did not answer CONNECT within {SHORT} ms"),
    ],
    ids=["nothing", "a byte", "half a packet"],
)
async def test_silence_instead_of_connack_is_told(sent, why, version, started):
    async def fall_silent(peer: Peer) -> None:
        await peer.send(bytes.fromhex(sent))
        await peer.ignore()

    await is_refused(started, fall_silent, why, f"version: {version}, {TIMEOUTS}")


@pytest.mark.parametrize("code", DISCONNECTS, ids=hex)
async def test_each_disconnect_is_told(code, started):
    async def disconnect(peer: Peer) -> None:
        while (await peer.serve(PUBLISH)).topic != "bad":
            await peer.answer(peer.received[-1])
        await peer.close(code)

    async with ScriptedBroker(disconnect) as broker:
        gateway = await started(broker.port)
        text = await publish(gateway, topic="bad")
        closed = f"The broker {broker.name} closed the connection: {DISCONNECTS[code]} (0x{code:02X})"
        assert closed in text and "may have been delivered" in text
        assert closed in await line(gateway, r"WARN .*binding\.mqtt\.connection\.lost.*")
        await recovers(gateway, closed)


#: Each acknowledgement that a broker owes to a publish: of which packet, and the QoS.
OWED = {"PUBACK": (PUBLISH, 1), "PUBREC": (PUBLISH, 2), "PUBCOMP": (PUBREL, 2)}


@pytest.mark.parametrize("owed", OWED)
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_silence_instead_of_an_acknowledgement_is_told(owed, version, started):
    kind, qos = OWED[owed]
    async with ScriptedBroker(once(kind, silence())) as broker:
        gateway = await started(broker.port, client=f"version: {version}, {TIMEOUTS}")
        text = await publish(gateway, qos=qos)
        assert f"The broker {broker.name} did not send {owed} within {SHORT} ms" in text
        assert "may have been delivered" in text
        await recovers(gateway)


@pytest.mark.parametrize("owed", OWED)
async def test_half_an_acknowledgement_is_told(owed, started):
    kind, qos = OWED[owed]
    answered = next(value for value, name in NAMES.items() if name == owed)
    half = silence(lambda received: packet(answered, received.packet_id)[:3])
    async with ScriptedBroker(once(kind, half)) as broker:
        gateway = await started(broker.port, client=TIMEOUTS)
        text = await publish(gateway, qos=qos)
        assert f"The broker {broker.name} sent only 3 bytes of a packet within" in text
        assert "may have been delivered" in text
        await recovers(gateway)


@pytest.mark.parametrize("owed", OWED)
async def test_an_acknowledgement_of_another_packet_is_told(owed, started):
    kind, qos = OWED[owed]
    answered = next(value for value, name in NAMES.items() if name == owed)
    wrong = silence(lambda received: packet(answered, b"\xff\xfe"))
    async with ScriptedBroker(once(kind, wrong)) as broker:
        gateway = await started(broker.port, client=TIMEOUTS)
        text = await publish(gateway, qos=qos)
        assert broker.name in text and "may have been delivered" in text
        await recovers(gateway)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda it: b"", f"did not send SUBACK within {SHORT} ms"),
        (lambda it: packet(SUBACK, it.packet_id + b"\0\1")[:4], "sent only 4 bytes of a packet within"),
        (lambda it: packet(SUBACK, b"\xff\xfe\0\1"), "violated the MQTT protocol: SUBACK without a matching SUBSCRIBE"),
    ],
    ids=["silence", "half a packet", "of another packet"],
)
async def test_a_missing_suback_is_told(answer, why, started):
    async with ScriptedBroker(once(SUBSCRIBE, silence(answer))) as broker:
        gateway = await started(broker.port, client=TIMEOUTS)
        result = await receive(gateway)
        assert result["isError"] and f"The broker {broker.name} {why}" in result["content"][0]["text"]
        await recovers(gateway)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda it: b"", f"did not send UNSUBACK within {SHORT} ms"),
        (lambda it: packet(UNSUBACK, it.packet_id + b"\0\0")[:4], "sent only 4 bytes of a packet within"),
        (lambda it: packet(UNSUBACK, b"\xff\xfe\0\0"), "violated the MQTT protocol: UNSUBACK without a matching UNSUBSCRIBE"),
    ],
    ids=["silence", "half a packet", "of another packet"],
)
async def test_a_missing_unsuback_is_logged_and_the_messages_are_returned(answer, why, started):
    async def script(peer: Peer) -> None:
        await peer.serve(SUBSCRIBE)
        await peer.answer(peer.received[-1])
        await peer.send(peer.message("news", "first", 1))
        await unsubscribed(peer)

    unsubscribed = once(UNSUBSCRIBE, silence(answer))
    async with ScriptedBroker(script) as broker:
        gateway = await started(broker.port, client=TIMEOUTS)
        result = await receive(gateway)
        assert [it["payload"] for it in result["structuredContent"]["messages"]] == ["first"]
        assert f"The broker {broker.name} {why}" in await line(gateway, r"WARN .*binding\.mqtt\.connection\.lost.*")
        await recovers(gateway)


async def subscription(peer: Peer) -> None:
    """Serves until a subscription is made, and grants it."""
    await peer.answer(await peer.serve(SUBSCRIBE))


@pytest.mark.parametrize("answer", ["", "d0"], ids=["silence", "half a packet"])
async def test_a_missing_pingresp_is_found_and_the_subscription_restored(answer, started):
    found = asyncio.Event()

    async def script(peer: Peer) -> None:
        await subscription(peer)
        if not found.is_set():
            await peer.serve(PINGREQ)
            found.set()
            await peer.send(bytes.fromhex(answer))
            return await peer.ignore()
        await peer.send(peer.message("news", "after", 1))
        await peer.serve()

    async with ScriptedBroker(script) as broker:
        gateway = await started(broker.port, client=f"keepAlive: 1, {TIMEOUTS}")
        result = await receive(gateway)
        assert [it["payload"] for it in result["structuredContent"]["messages"]] == ["after"]
        assert "The connection to the broker was lost for" in json.dumps(result)
        why = f"The broker {broker.name} stopped responding: no answer to PINGREQ" if not answer else "sent only 1 bytes"
        assert why in await line(gateway, r"WARN .*binding\.mqtt\.connection\.lost.*")


# ── slow reading ──


async def test_a_broker_that_reads_slowly_gets_the_whole_message(started):
    payload = "x" * 300_000

    async def slow(peer: Peer) -> None:
        peer.pause = 0.002
        received = await peer.serve(PUBLISH)
        assert received.body.endswith(payload.encode())
        await peer.answer(received)

    async with ScriptedBroker(slow, receive_buffer=4096) as broker:
        gateway = await started(broker.port, client=TIMEOUTS)
        assert await publish(gateway, payload=payload) == ""


async def test_a_broker_that_does_not_read_is_told_at_the_deadline(started):
    async def deaf(peer: Peer) -> None:
        await peer.answer(await peer.serve(PUBLISH))
        await peer.hold()

    async with ScriptedBroker(deaf, receive_buffer=4096) as broker, ScriptedBroker() as sound:
        gateway = await started.several({"deaf": broker.port, "sound": sound.port}, server="timeout: 2500")
        assert await publish_to(gateway, "deaf") == ""
        # More than the buffers of both sides take.
        lost = asyncio.create_task(publish_to(gateway, "deaf", payload="x" * 4_000_000))
        while not lost.done():
            assert await publish_to(gateway, "sound") == ""
        assert broker.name in await lost and "may have been delivered" in await lost


# ── violations ──


async def test_more_messages_than_the_receive_maximum_are_taken(started):
    payloads = [str(number) for number in range(20)]

    async def flood(peer: Peer) -> None:
        await subscription(peer)
        await peer.send(b"".join(peer.message("news", it, number + 1) for number, it in enumerate(payloads)))
        for number in range(len(payloads)):
            acknowledged = await peer.expect(PUBACK)
            assert int.from_bytes(acknowledged.packet_id) == number + 1
        await peer.serve()

    async with ScriptedBroker(flood) as broker:
        gateway = await started(broker.port, client="receiveMaximum: 2")
        result = await receive(gateway, limit=len(payloads))
        assert [it["payload"] for it in result["structuredContent"]["messages"]] == payloads


#: Packets that are valid, and not legal at this time.
OUT_OF_PLACE = {
    "CONNACK": packet(CONNACK, b"\0\0\0"),
    "CONNECT": packet(CONNECT, b"\0\4MQTT\5\2\0\0\0\0\0"),
    "SUBACK": packet(SUBACK, b"\0\x63\0\1"),
    "UNSUBACK": packet(UNSUBACK, b"\0\x63\0\0"),
    "SUBSCRIBE": packet(SUBSCRIBE, b"\0\1\0\0\1a\0", 2),
    "UNSUBSCRIBE": packet(UNSUBSCRIBE, b"\0\1\0\0\1a", 2),
    "PINGREQ": packet(PINGREQ),
    "AUTH": packet(15, b"\x18\0"),
}


@pytest.mark.parametrize("sent", OUT_OF_PLACE)
async def test_a_packet_in_the_wrong_state_is_answered_with_its_reason(sent, started):
    """The broker is told the reason; another broker of the same gateway is not concerned."""
    reason: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def hostile(peer: Peer) -> None:
        await peer.serve(PUBLISH)
        await peer.send(OUT_OF_PLACE[sent])
        if not reason.done():
            reason.set_result((await peer.expect(DISCONNECT)).body[:1])
        await peer.ignore()

    async with ScriptedBroker(hostile) as broker, ScriptedBroker() as sound:
        gateway = await started.several({"hostile": broker.port, "sound": sound.port})
        calls = (publish_to(gateway, toolkit) for toolkit in ["hostile", *["sound"] * 10])
        text, *others = await asyncio.gather(*calls)
        assert f"The broker {broker.name} violated the MQTT protocol" in text and "may have been delivered" in text
        assert not any(others)
        assert await reason == bytes([0x82])
