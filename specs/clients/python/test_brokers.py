"""Brokers that are silent, slow, incomplete, or close connections: errors of affected calls, and unaffected calls."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from conftest import Gateway, plain, wait_until
from lying import Lying
from packets import CONNECT, PUBLISH, SUBSCRIBE
from test_faults import call_publish, modern, request

#: Receive Maximum 1.
ONE_AT_A_TIME = bytes([0x21, 0, 1])


def one_worker(port: int, **options) -> str:
    """A config in which all callers share the connection to the broker."""
    return "workers: 1\n" + plain("http", port, **options)


@pytest.fixture
def lying(parts):
    """Starts scripted brokers and gateways."""

    def start(on_packet=lambda connection, received: False, granted: bytes = b"", **options):
        broker = Lying(on_packet, granted)
        parts.callback(broker.stop)
        gateway = Gateway(one_worker(broker.port, **options))
        parts.callback(gateway.stop)
        return broker, gateway

    return start


def call_receive(gateway: Gateway, **arguments) -> dict:
    body = request("tools/call", name="receive", arguments=arguments)
    headers = modern("tools/call", **{"mcp-name": "receive"})
    return httpx.post(gateway.url, json=body, headers=headers, timeout=40).json()["result"]


def read(gateway: Gateway, uri: str) -> dict:
    headers = modern("resources/read", **{"mcp-name": uri})
    return httpx.post(gateway.url, json=request("resources/read", uri=uri), headers=headers, timeout=40).json()


def sentence(answer: httpx.Response) -> str:
    result = answer.json()["result"]
    assert result["isError"], result
    return result["content"][0]["text"]


def call_publish_often(gateway: Gateway, topics: list[str]) -> list[str]:
    """Makes failing calls one after the other; returns their errors."""
    headers = modern("tools/call", **{"mcp-name": "publish"})
    texts = []
    with httpx.Client() as client:
        for topic in topics:
            body = request("tools/call", name="publish", arguments={"topic": topic, "payload": "p", "qos": 1})
            texts.append(sentence(client.post(gateway.url, json=body, headers=headers)))
    return texts


def test_a_broker_that_closes_at_once_is_not_stormed_by_calls(lying):
    def close(connection, received):
        connection.drop()
        return True

    broker, gateway = lying(close)
    texts = call_publish_often(gateway, ["t"] * 600)
    assert all(broker.name in text and "It was not delivered" in text for text in texts)
    assert sum("next attempt in" in text for text in texts) >= 550
    assert len(broker.connections) <= 15, "connects in 600 calls"
    warnings = [line for line in gateway.lines if "binding.mqtt" in line]
    assert len(warnings) <= 2, gateway.text()


def test_a_broker_that_accepts_and_drops_is_not_stormed_by_calls(lying):
    def drop(connection, received):
        if received.kind == PUBLISH:
            connection.drop()
        return received.kind == PUBLISH

    broker, gateway = lying(drop)
    call_publish_often(gateway, [f"t{number}/x" for number in range(300)])
    assert len(broker.connections) <= 20, "connects in 300 calls"


@pytest.mark.parametrize("topic", ["bad", "ok/{}"], ids=["the same topic", "another each time"])
def test_a_caller_whom_the_broker_drops_takes_no_neighbour_along(lying, topic):
    def drop(connection, received):
        wrong = received.kind == PUBLISH and received.topic.startswith(topic[:2])
        if wrong:
            connection.drop(0x81)
        return wrong

    broker, gateway = lying(drop)
    rounds = 12
    with ThreadPoolExecutor() as threads:
        neighbour = threads.submit(call_receive, gateway, topic="news", limit=rounds, timeout=30_000)
        wait_until("the neighbour's subscription", lambda: broker.subscribed("news"))
        for number in range(rounds):
            before = dropped(broker)
            result = call_publish(gateway, topic=topic.format(number), qos=0).json()["result"]
            if not result.get("isError"):
                # It used the shared connection, which is closed and restored.
                wait_until("the bad message", lambda: dropped(broker) > before)
                wait_until("the end of its connection", lambda: not open_after_a_publish(broker))
            wait_until("the neighbour's subscription", lambda: broker.subscribed("news"))
            broker.publish("news", str(number))
        result = neighbour.result()
    messages = [message["payload"] for message in result["structuredContent"]["messages"]]
    assert messages == [str(number) for number in range(rounds)]
    lost = [it for it in broker.connections if it.filters and it.closed]
    assert len(lost) <= (1 if topic == "bad" else 3), "connections with a subscription that were dropped"


def open_after_a_publish(broker: Lying) -> bool:
    """Whether a connection that carried a message is still open."""
    return any(it.kind == PUBLISH for connection in broker.connections if not connection.closed for it in connection.received)


def dropped(broker: Lying) -> int:
    """The number of received bad messages."""
    return sum(it.kind == PUBLISH for connection in broker.connections for it in connection.received)


def test_a_lost_acknowledgement_does_not_block_the_window_for_ever(lying):
    def forget(connection, received):
        return received.kind == PUBLISH and received.topic == "lost"

    broker, gateway = lying(forget, ONE_AT_A_TIME, client="acknowledgeTimeout: 500")
    gateway.probed()
    with ThreadPoolExecutor() as threads:
        lost = threads.submit(call_publish, gateway, topic="lost", qos=1)
        wait_until("the message", lambda: dropped(broker) == 1)
        behind = threads.submit(call_publish, gateway, topic="behind", qos=1)
        text = sentence(lost.result())
        assert broker.name in text and "PUBACK" in text and "may have been delivered" in text
        assert behind.result().json()["result"]["content"] == []
    _, first, second = broker.connections
    published = [[it.topic for it in one.received if it.kind == PUBLISH] for one in (first, second)]
    assert published == [["lost"], ["behind"]]


def test_what_waits_for_the_window_until_its_deadline_was_not_sent(lying):
    broker, gateway = lying(lambda _, it: it.kind == PUBLISH, ONE_AT_A_TIME, server="timeout: 1000")
    with ThreadPoolExecutor() as threads:
        lost = threads.submit(call_publish, gateway, topic="lost", qos=1)
        wait_until("the message", lambda: dropped(broker) == 1)
        text = sentence(call_publish(gateway, topic="behind", qos=1))
        assert broker.name in text and "Receive Maximum 1" in text and "It was not delivered" in text
        text = sentence(lost.result())
        assert broker.name in text and "PUBACK" in text and "may have been delivered" in text
    assert dropped(broker) == 1


@pytest.mark.parametrize(
    "silent, client",
    [(CONNECT, "connectTimeout: 300"), (CONNECT, ""), (SUBSCRIBE, "acknowledgeTimeout: 300"), (SUBSCRIBE, "")],
    ids=["CONNACK", "CONNACK, the tool's own", "SUBACK", "SUBACK, the tool's own"],
)
def test_a_silent_broker_is_named_whichever_deadline_comes_first(lying, silent, client):
    broker, gateway = lying(lambda _, it: it.kind == silent, options="readTimeout: 500", client=client)
    result = call_receive(gateway, topic="t", timeout=500)
    assert result["isError"] and broker.name in result["content"][0]["text"], result
    error = read(gateway, "mqtt://t")["error"]
    assert broker.name in error["message"], error


@pytest.mark.parametrize("server", ["timeout: 500", ""], ids=["the request's own", "CONNACK"])
def test_a_silent_broker_is_named_to_who_publishes(lying, server):
    broker, gateway = lying(lambda _, it: it.kind == CONNECT, server=server, client="connectTimeout: 1000")
    text = sentence(call_publish(gateway, qos=1))
    assert broker.name in text and "It was not delivered" in text


def test_a_packet_that_drips_in_is_not_waited_for(lying):
    dripping = []

    def drip(connection, received):
        first = received.kind == SUBSCRIBE and not dripping
        if first:
            dripping.append(connection)
            # SUBACK and only the head of a PUBLISH.
            connection.answer(received)
            connection.send(bytes([0x30, 0xFF, 0x7F, 0]))
        return first

    broker, gateway = lying(drip, client="keepAlive: 0, acknowledgeTimeout: 500")
    with ThreadPoolExecutor() as threads:
        received = threads.submit(call_receive, gateway, topic="news", limit=1, timeout=20_000)
        wait_until("the connection to be given up", lambda: dripping and dripping[0].closed)
        wait_until("the subscription", lambda: broker.subscribed("news"))
        broker.publish("news", "whole")
        assert "whole" in json.dumps(received.result())
