"""Machines that call tools: mosquitto's clients as devices, a server of the official SDK with the tools."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, TIDEGATE, Broker, Process, wait_until
from test_upstreams import Upstream, as_process, over_http, upstream  # noqa: F401

ROUTES = """
    routes:
      - when: [ { topic: "devices/{device}/call", qos: 1 } ]
        with:
          tool: "{{ payload.tool }}"
          allow: [ echo, fail, sleep, headers ]
          arguments: "{{ payload.arguments }}"
          identity: "{{ topic.device }}"
      - when: [ { topic: "lines/{line}/stopped", qos: 1 } ]
        with:
          tool: echo
          arguments: { text: "{{ topic.line }}: {{ payload.fault }}" }
          answer: { topic: "lines/{line}/procedure", payload: { said: "{{ result.text }}" } }
      - when: [ { topic: "orders/{robot}", qos: 1 } ]
        with:
          plan:
            recipe: { tool: echo, arguments: { text: '{"milk": "whole", "drink": "{{ payload.drink }}"}' } }
            customer: { tool: fail, optional: true }
            check: { tool: echo, arguments: { text: "{{ recipe.structured.result }}" }, when: "{{ customer is not defined }}" }
          answer: { topic: "plans/{robot}", payload: { recipe: "{{ recipe.text }}", same: "{{ check.text == recipe.text }}" } }
      - when: [ { topic: "levels/{robot}/{ingredient}", qos: 1 } ]
        with:
          if: "{{ payload.level < 10 }}"
          edge: rising
          answer: { topic: "restock/{robot}", payload: { ingredient: "{{ topic.ingredient }}", level: "{{ payload.level }}" } }
"""


class Machines(Process):
    """A gateway without an endpoint for MCP clients, which has subscribed."""

    def __init__(self, broker: Broker, client: str, options: str = "", mqtt: str = ""):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False)
        self.file.write(
            "name: test\nbindings:\n  machines0:\n    type: mqtt_mcp\n    kind: proxy\n"
            f'    options: {{ replyTopics: [ "devices/{{device}}/answers/#" ], {options} }}\n'
            "    exits: { mqtt: mqtt_client0, mcp: up0 }\n"
            f"{ROUTES}"
            f"  mqtt_client0: {{ type: mqtt, kind: client, options: {{ clientId: machines, {mqtt} }}, exit: tcp_client0 }}\n"
            f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {broker.port} }} }}\n"
            f"{client}"
        )
        self.file.close()
        super().__init__([str(TIDEGATE), "start", "--config", self.file.name, "--log-calls"])
        broker.line(r"Sending SUBACK to machines")

    def stop(self) -> int:
        code = super().stop()
        Path(self.file.name).unlink(missing_ok=True)
        return code


def ask(broker: Broker, device: str, request: dict, *options: str) -> dict:
    """A request of mosquitto_rr, which has a Response Topic, and its answer."""
    topics = ["-t", f"devices/{device}/call", "-e", f"devices/{device}/answers/1"]
    command = ["mosquitto_rr", "-V", "5", "-p", str(broker.port), "-q", "1", "-W", str(int(PATIENCE)), *topics, *options]
    done = subprocess.run([*command, "-m", json.dumps(request)], check=True, capture_output=True, timeout=2 * PATIENCE)
    return json.loads(done.stdout)


@pytest.fixture
def machines(broker, upstream):  # noqa: F811
    gateway = Machines(broker, over_http(upstream.url))
    yield gateway
    assert gateway.stop() == 0, gateway.text()


def test_a_device_gets_the_result_of_its_tool(broker, machines):
    answer = ask(broker, "d1", {"tool": "echo", "arguments": {"text": 'größe "1"\n'}})
    assert answer["status"] == "done"
    assert answer["result"]["content"][0]["text"] == 'größe "1"\n'
    machines.line(r"binding.mqtt_mcp.request.completed.*devices/d1/call")


def test_a_process_as_a_server(broker):
    gateway = Machines(broker, as_process())
    try:
        answer = ask(broker, "d1", {"tool": "echo", "arguments": {"text": "a"}})
        assert answer["result"]["structuredContent"] == {"result": "a"}
    finally:
        assert gateway.stop() == 0, gateway.text()


def test_failures_are_answers(broker, machines):
    failed = ask(broker, "d1", {"tool": "fail", "arguments": {}})
    assert (failed["status"], failed["error"]["executed"]) == ("failed", "yes")
    assert "fail" in failed["error"]["message"]
    refused = ask(broker, "d1", {"tool": "die", "arguments": {}})
    assert (refused["status"], refused["error"]["reason"]) == ("rejected", "notAllowed")
    invalid = ask(broker, "d1", {"arguments": {}})
    assert (invalid["status"], invalid["error"]["reason"]) == ("rejected", "invalidRequest")


def test_a_slow_tool_times_out_and_others_are_served(broker, upstream):  # noqa: F811
    gateway = Machines(broker, over_http(upstream.url), "timeout: 500")
    try:
        slow = ask(broker, "d1", {"tool": "sleep", "arguments": {"seconds": 60}})
        assert (slow["status"], slow["error"]["executed"]) == ("timedOut", "possibly")
        assert ask(broker, "d1", {"tool": "echo", "arguments": {"text": "a"}})["status"] == "done"
    finally:
        assert gateway.stop() == 0, gateway.text()


def test_a_server_that_is_away_is_told(broker, upstream, machines):  # noqa: F811
    upstream.stop()
    away = ask(broker, "d1", {"tool": "echo", "arguments": {"text": "a"}})
    assert away["status"] == "unknown" and away["error"]["reason"] == "unavailable"
    again = Upstream(port=upstream.port)
    try:
        assert ask(broker, "d1", {"tool": "echo", "arguments": {"text": "a"}})["status"] == "done"
    finally:
        again.stop()


def test_a_device_of_mqtt_3(broker, upstream):  # noqa: F811
    gateway = Machines(broker, over_http(upstream.url), mqtt="version: 3.1.1")
    subscriber = broker.subscriber("devices/old/answers/#", version="311")
    try:
        request = {"id": "r-1", "replyTopic": "devices/old/answers/x", "tool": "echo", "arguments": {"text": "a"}}
        command = ["mosquitto_pub", "-V", "311", "-p", str(broker.port), "-q", "1", "-t", "devices/old/call"]
        for number in (1, 2):
            subprocess.run([*command, "-m", json.dumps(request)], check=True, timeout=PATIENCE)
            wait_until("an answer", lambda n=number: sum("answers/x" in it for it in subscriber.lines) == n)
        answers = [json.loads(line.split("|", 3)[3]) for line in subscriber.lines if "answers/x" in line]
        assert answers[0] == answers[1] and answers[0]["id"] == "r-1"
        completed = [line for line in gateway.lines if "step.completed" in line]
        assert len(completed) == 1, "the second request is the first one again"
    finally:
        subscriber.stop()
        assert gateway.stop() == 0, gateway.text()


def test_topics_and_arguments_of_the_config(broker, machines):
    subscriber = broker.subscriber("lines/+/procedure")
    try:
        broker.publish("lines/7/stopped", '{"fault": "jam"}', "-q", "1")
        assert json.loads(subscriber.message()["payload"]) == {"said": "7: jam"}
    finally:
        subscriber.stop()


def test_a_plan_of_several_tools(broker, machines):
    subscriber = broker.subscriber("plans/+")
    try:
        broker.publish("orders/A3", '{"drink": "flat white"}', "-q", "1")
        plan = json.loads(subscriber.message()["payload"])
        assert plan["same"] is True and json.loads(plan["recipe"]) == {"milk": "whole", "drink": "flat white"}
        wait_until("three calls", lambda: sum("step.completed" in line for line in machines.lines) == 3)
    finally:
        subscriber.stop()


def test_one_alert_when_a_level_falls(broker, machines):
    subscriber = broker.subscriber("restock/+")
    try:
        levels = [json.dumps({"level": level}) for level in (62, 9, 8, 7, 40, 6, 5)]
        broker.publish_each("levels/A3/oat", levels, "-q", "1")
        broker.publish("levels/A3/end", '{"level": 0}', "-q", "1")
        wait_until("the last alert", lambda: any('"end"' in line for line in subscriber.lines))
        alerts = [json.loads(line.split("|", 3)[3]) for line in subscriber.lines if line.startswith("restock")]
        assert [alert["level"] for alert in alerts] == [9, 6, 0]
    finally:
        subscriber.stop()


def test_an_answer_survives_an_outage_of_the_broker(broker, upstream):  # noqa: F811
    gateway = Machines(broker, over_http(upstream.url))
    try:
        broker.publish("lines/7/stopped", '{"fault": "jam"}', "-q", "1")
        gateway.line(r"binding.mqtt_mcp.request.completed")
        before = len(broker.lines)
        Process.stop(broker)
        broker._start()
        wait_until("a new subscription", lambda: any("SUBACK to machines" in it for it in broker.lines[before:]))
        assert ask(broker, "d1", {"tool": "echo", "arguments": {"text": "a"}})["status"] == "done"
    finally:
        assert gateway.stop() == 0, gateway.text()


def test_a_running_request_is_answered_before_a_shutdown(broker, upstream):  # noqa: F811
    gateway = Machines(broker, over_http(upstream.url))
    subscriber = broker.subscriber("devices/d1/answers/#")
    try:
        request = {"id": 1, "replyTopic": "devices/d1/answers/1", "tool": "sleep", "arguments": {"seconds": 1}}
        before = len(broker.lines)
        broker.publish("devices/d1/call", json.dumps(request), "-q", "1")
        wait_until("the request", lambda: any("Sending PUBLISH to machines" in it for it in broker.lines[before:]))
        assert gateway.stop() == 0, gateway.text()
        assert json.loads(subscriber.message()["payload"])["status"] == "done"
    finally:
        subscriber.stop()
        gateway.stop()


@pytest.mark.parametrize("name", ["factory-rpc", "barista"])
def test_the_example_configs_are_valid(name):
    path = ROOT / "config" / f"{name}.yaml"
    done = subprocess.run([TIDEGATE, "validate", "--config", path], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
