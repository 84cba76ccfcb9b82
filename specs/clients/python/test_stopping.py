"""SIGTERM while calls are in progress: each call is answered within `shutdownTimeout`."""

import signal
from concurrent.futures import ThreadPoolExecutor

from conftest import PATIENCE, Gateway, plain, wait_until
from lying import Lying
from packets import PUBLISH
from test_brokers import call_receive, read, sentence
from test_faults import call_publish


def start(port: int, shutdown_timeout: int, parts) -> Gateway:
    config = plain("http", port, options="readTimeout: 60000, receiveTimeout: 60000")
    config = config.replace("name: test", f"name: test\nworkers: 1\nshutdownTimeout: {shutdown_timeout}")
    gateway = Gateway(config)
    parts.callback(gateway.stop)
    return gateway


def test_a_receive_is_answered_with_what_it_has_and_a_read_with_a_sentence(broker, parts):
    gateway = start(broker.port, 60_000, parts)
    with ThreadPoolExecutor() as threads:
        received = threads.submit(call_receive, gateway, topic="news", limit=5)
        broker.line(r"Sending SUBACK to tidegate-")
        reading = threads.submit(read, gateway, "mqtt://silent")
        broker.line(r"silent \(QoS 1\)")
        broker.publish("news", "first")
        broker.line(r"Received PUBACK from tidegate-|Sending PUBLISH to tidegate-")
        # Calls are handled in order: after this publish the previous one is in progress.
        assert call_publish(gateway, topic="news", qos=1).json()["result"]["content"] == []
        gateway.child.send_signal(signal.SIGTERM)
        messages = received.result()["structuredContent"]["messages"]
        assert messages[0]["payload"] == "first"
        error = reading.result()["error"]["message"]
        assert error == "Topic 'silent' could not be read: the gateway is stopping."
    # It stops long before `shutdownTimeout`: pending receives end immediately.
    # A second signal would stop it immediately.
    assert gateway.child.wait(PATIENCE) == 0, gateway.text()
    gateway.line(r"stopped streams_cut=0")


def test_a_publish_that_the_broker_does_not_acknowledge_is_answered_in_time(parts):
    broker = Lying(lambda connection, received: received.kind == PUBLISH)
    parts.callback(broker.stop)
    gateway = start(broker.port, 1_000, parts)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(call_publish, gateway, qos=1)
        wait_until("the message", lambda: any(it.kind == PUBLISH for one in broker.connections for it in one.received))
        gateway.child.send_signal(signal.SIGTERM)
        text = sentence(call.result())
    assert "did not acknowledge the message (PUBACK)" in text and "may have been delivered" in text
    # A second signal would stop it immediately.
    assert gateway.child.wait(PATIENCE) == 0, gateway.text()
    gateway.line(r"stopped streams_cut=0")
