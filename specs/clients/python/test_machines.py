"""Machines that call tools: mosquitto's clients as devices, a server of the official SDK with the tools."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, TIDEGATE, Broker, Process, wait_until
from outage.broker import MortalBroker
from sharing import AnsweringBroker
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
          if: "{{ payload.level is number and payload.level < 10 }}"
          edge: rising
          answer: { topic: "restock/{robot}", payload: { ingredient: "{{ topic.ingredient }}", level: "{{ payload.level }}" } }
      - when: [ { topic: "work/{robot}", qos: 1 } ]
        with:
          tool: work
          arguments: { steps: "{{ payload.steps }}" }
          progress: { topic: "progress/{robot}", qos: 1, minInterval: 0 }
          answer: { topic: "worked/{robot}", payload: { said: "{{ result.text }}" } }
      - when: [ { topic: "commands/{device}/echo", qos: 1 } ]
        with: { protocol: aio, tool: echo, arguments: { text: "{{ payload.text }}" } }
"""


class Machines(Process):
    """A gateway without an endpoint for MCP clients, which has subscribed."""

    def __init__(
        self,
        broker: Broker,
        client: str,
        options: str = "",
        mqtt: str = "",
        routes: str = ROUTES,
        ready: str = r"Sending SUBACK to machines",
        more: tuple[str, ...] = ("--log-calls",),
    ):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False)
        self.config = (
            "name: test\nbindings:\n  machines0:\n    type: mqtt_mcp\n    kind: proxy\n"
            f'    options: {{ replyTopics: [ "devices/{{device}}/answers/#", "clients/+/commands/#" ], {options} }}\n'
            "    exits: { mqtt: mqtt_client0, mcp: up0 }\n"
            f"{routes}"
            f"  mqtt_client0: {{ type: mqtt, kind: client, options: {{ clientId: machines, {mqtt} }}, exit: tcp_client0 }}\n"
            f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {broker.port} }} }}\n"
            f"{client}"
        )
        self.file.write(self.config)
        self.file.close()
        super().__init__([str(TIDEGATE), "start", "--config", self.file.name, *more])
        broker.line(ready)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def start_again(self) -> None:
        Path(self.file.name).write_text(self.config)
        self._start()

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
    gateway = Machines(broker, as_process(), "timeout: 60000")
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
    assert (away["status"], away["error"]["reason"], away["error"]["executed"]) == ("rejected", "unavailable", "no")
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
    finally:
        subscriber.stop()
        assert gateway.stop() == 0, gateway.text()
    completed = [line for line in gateway.lines if 'event="binding.mqtt_mcp.step.completed"' in line]
    assert len(completed) == 1, "the second request is the first one again"


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


def request(number: int, seconds: float) -> str:
    topic = "devices/d1/answers/1"
    return json.dumps({"id": number, "replyTopic": topic, "tool": "sleep", "arguments": {"seconds": seconds}})


def answers(subscriber) -> list[int]:
    """The ids of the requests that were answered, in order; each must be done."""
    texts = [line.split("|", 3)[3] for line in list(subscriber.lines) if "answers/" in line]
    found = [json.loads(text) for text in texts]
    assert all(it["status"] == "done" for it in found), found
    return [it["id"] for it in found]


def published_to(broker, client: str, count: int) -> None:
    sent = rf"Sending PUBLISH to {client} \(d0"
    wait_until("the requests", lambda: sum(bool(re.search(sent, it)) for it in list(broker.lines)) >= count)


def test_requests_outlive_a_gateway_that_is_killed(broker, upstream):  # noqa: F811
    gateway = Machines(broker, over_http(upstream.url), "perDevice: 1")
    subscriber = broker.subscriber("devices/d1/answers/#")
    try:
        # One is executed, one waits, and one is published while there is no gateway.
        for number in (1, 2):
            broker.publish("devices/d1/call", request(number, 1), "-q", "1")
        published_to(broker, "machines_subscription", 2)
        gateway.kill()
        broker.publish("devices/d1/call", request(3, 0), "-q", "1")
        assert answers(subscriber) == []
        gateway.start_again()
        wait_until("the answers", lambda: len(answers(subscriber)) >= 3)
        assert answers(subscriber) == [1, 2, 3]
        assert gateway.stop() == 0, gateway.text()
        # All are acknowledged: the next gateway gets none of them.
        gateway.start_again()
        assert ask(broker, "d2", {"tool": "echo", "arguments": {"text": "a"}})["status"] == "done"
        assert answers(subscriber) == [1, 2, 3]
    finally:
        subscriber.stop()
        gateway.stop()


def test_a_request_that_waits_at_a_shutdown_is_answered_by_the_next_gateway(broker, upstream):  # noqa: F811
    gateway = Machines(broker, over_http(upstream.url), "perDevice: 1")
    subscriber = broker.subscriber("devices/d1/answers/#")
    try:
        for number in (1, 2):
            broker.publish("devices/d1/call", request(number, 1), "-q", "1")
        published_to(broker, "machines_subscription", 2)
        assert gateway.stop() == 0, gateway.text()
        assert answers(subscriber) == [1]
        gateway.start_again()
        wait_until("the second answer", lambda: answers(subscriber) == [1, 2])
    finally:
        subscriber.stop()
        assert gateway.stop() == 0, gateway.text()


def test_a_request_outlives_its_broker(upstream):  # noqa: F811
    broker = MortalBroker(persistent=True)
    gateway = Machines(broker, over_http(upstream.url), mqtt="reconnect: { min: 10, max: 200 }")
    try:
        broker.publish("devices/d1/call", request(1, 3), "-q", "1")
        published_to(broker, "machines_subscription", 1)
        broker.end(hard=False)
        mark = len(broker.lines)
        broker.start_again()
        subscriber = broker.subscriber("devices/d1/answers/#")
        wait_until("the answer", lambda: answers(subscriber) == [1])
        # The broker sent it again; it was executed once, and acknowledged.
        wait_until("its acknowledgement", lambda: broker.logged("Received PUBACK from machines_subscription", mark))
        assert broker.logged(r"Sending PUBLISH to machines_subscription \(d1", mark)
        assert ask(broker, "d2", {"tool": "echo", "arguments": {"text": "a"}})["status"] == "done"
        subscriber.stop()
    finally:
        code = gateway.stop()
        broker.stop()
    assert code == 0, gateway.text()
    assert sum("step.completed" in line and "devices/d1/" in line for line in gateway.lines) == 1


JOBS = """
    routes:
      - when: [ { topic: jobs, qos: 1 } ]
        with:
          tool: sleep
          arguments: { seconds: "{{ payload.seconds }}" }
          answer: { topic: answers, payload: { id: "{{ payload.id }}" } }
"""


async def test_replicas_share_requests_and_one_answers_those_of_the_other(upstream):  # noqa: F811
    jobs = [json.dumps({"id": number, "seconds": 0.05}) for number in range(40)]
    async with AnsweringBroker(jobs) as broker:
        replicas = [replica(broker.port, number, upstream.url) for number in (1, 2)]
        try:
            for one in replicas:
                one._start()
            await broker.has_answers(10)
            replicas[0].child.kill()
            await broker.is_done()
        finally:
            codes = [await asyncio.to_thread(one.stop) for one in replicas]
        assert codes == [-9, 0], replicas[1].text()
        assert {json.loads(it)["id"] for it in broker.answers} == set(range(40))
        assert not broker.faults


class Replica(Process):
    """A gateway that is not started yet."""

    def __init__(self, path: str):
        self.lines: list[str] = []
        self.path = path
        self._options = {"args": [str(TIDEGATE), "start", "--config", path], "stdin": subprocess.DEVNULL}

    def stop(self) -> int:
        code = super().stop()
        Path(self.path).unlink()
        return code


def replica(port: int, number: int, url: str) -> Replica:
    """A gateway of a group, not started yet."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
        file.write(
            "name: test\nbindings:\n  machines0:\n    type: mqtt_mcp\n    kind: proxy\n"
            f"    options: {{ group: planners, clientId: planner-{number}, concurrency: 2, maxWaiting: 2 }}\n"
            "    exits: { mqtt: mqtt_client0, mcp: up0 }\n"
            f"{JOBS}"
            "  mqtt_client0: { type: mqtt, kind: client, options: { version: 5 }, exit: tcp_client0 }\n"
            f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}\n"
            f"{over_http(url)}"
        )
    return Replica(file.name)


def test_a_queue_has_one_gateway(broker, tmp_path, upstream):  # noqa: F811
    queue = f"queue: {{ path: {tmp_path}/machines.queue }}"
    gateway = Machines(broker, over_http(upstream.url), queue)
    try:
        assert (tmp_path / "machines.queue").stat().st_mode & 0o777 == 0o600
        assert ask(broker, "d1", {"tool": "echo", "arguments": {"text": "a"}})["status"] == "done"
        second = Process([str(TIDEGATE), "start", "--config", gateway.file.name])
        second.line(r"machines0_queue: .*machines.queue is in use by another process")
        assert second.child.wait(PATIENCE) != 0
    finally:
        assert gateway.stop() == 0, gateway.text()


def test_a_damaged_queue_is_refused_and_not_changed(broker, tmp_path, upstream):  # noqa: F811
    path = tmp_path / "machines.queue"
    path.write_text("name: config")
    file = Path(tmp_path, "config.yaml")
    file.write_text(
        "name: test\nbindings:\n  machines0:\n    type: mqtt_mcp\n    kind: proxy\n"
        f"    options: {{ queue: {{ path: {path} }}, replyTopics: [ 'clients/+/commands/#' ] }}\n    exits: {{ mqtt: mqtt_client0, mcp: up0 }}{ROUTES}"
        f"  mqtt_client0: {{ type: mqtt, kind: client, options: {{ url: 'mqtt://127.0.0.1:{broker.port}' }} }}\n"
        f"{over_http(upstream.url)}"
    )
    gateway = Process([str(TIDEGATE), "start", "--config", str(file)])
    gateway.line(r"machines.queue is not a store of tidegate, or is damaged .*Use another 'path', or move it away")
    assert gateway.child.wait(PATIENCE) != 0
    assert path.read_text() == "name: config"


@pytest.mark.parametrize("name", ["factory-rpc", "barista"])
def test_the_example_configs_are_valid(name):
    path = ROOT / "config" / f"{name}.yaml"
    done = subprocess.run([TIDEGATE, "validate", "--config", path], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
