"""`/metrics` as Prometheus reads it, and the state of the gateway, against mosquitto."""

import re
import urllib.error
import urllib.request

from conftest import Broker, Gateway, free_port, plain, wait_until
from mcp import Client
from prometheus_client.parser import text_string_to_metric_families

ADMIN = "  admin0: { type: admin, kind: server, options: { listen: 127.0.0.1:0 } }\n"


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def admin(gateway: Gateway) -> str:
    return gateway.line(r"http://127\.0\.0\.1:\d+(?=/metrics)").group(0)


def families(gateway: Gateway) -> dict:
    status, page = fetch(f"{admin(gateway)}/metrics")
    assert status == 200
    return {family.name: family for family in text_string_to_metric_families(page)}


async def test_prometheus_reads_all_metrics(broker, parts):
    gateway = Gateway(plain("http", broker.port) + ADMIN)
    parts.callback(gateway.stop)
    async with Client(gateway.url) as client:
        result = await client.call_tool("publish", {"topic": "a/b", "payload": "on", "qos": 1})
        assert not result.is_error
    found = families(gateway)
    for family in found.values():
        assert family.type in ("counter", "gauge", "histogram"), family
        assert re.search(r"\w.*\.$", family.documentation), family
        for sample in family.samples:
            assert sample.value >= 0
    duration = found["mcp_server_operation_duration_seconds"]
    buckets = [
        sample
        for sample in duration.samples
        if sample.name.endswith("_bucket") and sample.labels["mcp_method_name"] == "tools/call"
    ]
    assert [sample.value for sample in buckets] == sorted(sample.value for sample in buckets)
    assert float(buckets[0].labels["le"]) == 0.00005
    assert (buckets[-1].labels["le"], buckets[-1].value) == ("+Inf", 1)
    done = {"binding": "mqtt_client0", "outcome": "done"}
    publications = found["mqtt_client_publications"].samples
    assert [sample.value for sample in publications if sample.labels == done] == [1]
    workers = found["engine_worker_up"].samples
    assert workers and all(sample.value == 1 for sample in workers)


def test_a_required_broker_decides_on_readiness_without_calls(parts):
    port = free_port()
    gateway = Gateway(plain("http", port, client="required: true, reconnect: { min: 1, max: 10 }") + ADMIN)
    parts.callback(gateway.stop)
    ready = f"{admin(gateway)}/readyz"
    problem = (503, "required broker of 'mqtt_client0' is not connected\n")
    wait_until("the gateway not to be ready", lambda: fetch(ready) == problem)
    for _ in range(2):
        broker = Broker(port)
        parts.callback(broker.stop)
        wait_until("the gateway to be ready", lambda: fetch(ready) == (200, "ok\n"))
        broker.stop()
        wait_until("the gateway not to be ready", lambda: fetch(ready) == problem)
    assert fetch(f"{admin(gateway)}/livez") == (200, "ok\n")


def test_a_stop_does_not_wait_for_the_session_with_a_required_broker(broker):
    gateway = Gateway(plain("http", broker.port, client="required: true") + ADMIN)
    ready = f"{admin(gateway)}/readyz"
    wait_until("the gateway to be ready", lambda: fetch(ready) == (200, "ok\n"))
    assert gateway.stop() == 0
    assert re.search(r"stopped streams_cut.*=.*0", gateway.text()), gateway.text()
