"""Machines as operators see them: meters, the audit log, and routes that only machines with a role may use."""

from __future__ import annotations

import json
import subprocess

from conftest import TIDEGATE, wait_until
from test_machines import Machines
from test_metrics import ADMIN, families
from test_paho_devices import Device
from test_upstreams import over_http, upstream  # noqa: F401

#: `echo` is for machines with the role `robot`; the route of `cleaners` gives another one.
GUARDED = """
    routes:
      - when: [ { topic: "robots/{device}/say" } ]
        with:
          tool: echo
          arguments: { text: "{{ payload.text }}" }
          identity: { subject: "{{ topic.device }}", roles: [ robot ] }
          answer: { topic: "robots/{device}/said" }
      - when: [ { topic: "cleaners/{device}/say" } ]
        with:
          tool: echo
          arguments: { text: "{{ payload.text }}" }
          identity: { subject: "{{ topic.device }}", roles: [ cleaner ] }
          answer: { topic: "cleaners/{device}/said" }
"""


def guarded(url: str) -> str:
    """The exit of the machines: an `mcp · proxy` in front of the server."""
    route = "{ when: [ { tool: echo } ], guarded: { mqtt: [ robot ] }, exit: server0 }"
    return f"  up0: {{ type: mcp, kind: proxy, routes: [ {route} ] }}\n" + over_http(url).replace("up0", "server0")


def audited(folder) -> str:
    path = folder / "audit.jsonl"
    return f"telemetry: {{ exporters: {{ audit0: {{ type: audit, options: {{ path: {path} }} }} }} }}\n"


def recorded(folder, event: str) -> list[dict]:
    lines = map(json.loads, (folder / "audit.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def said(robot: Device, topic: str, correlation: bytes) -> dict:
    robot.ask(topic, {"text": "a"}, CorrelationData=correlation)
    answer = robot.next()
    assert answer.properties.CorrelationData == correlation
    return json.loads(answer.payload)


def test_a_guarded_route_is_for_machines_with_its_role(broker, tmp_path, upstream):  # noqa: F811
    gateway = Machines(broker, guarded(upstream.url) + audited(tmp_path), routes=GUARDED)
    device = Device(broker, "device", "+/+/said")
    try:
        permitted = said(device, "robots/r1/say", b"1")
        refused = said(device, "cleaners/c1/say", b"2")
    finally:
        device.stop()
        code = gateway.stop()
    assert code == 0, gateway.text()
    assert permitted["status"] == "done" and permitted["result"]["structuredContent"] == {"result": "a"}
    assert (refused["status"], refused["error"]["reason"], refused["error"]["executed"]) == ("rejected", "unknownTool", "no")
    verified = subprocess.run([TIDEGATE, "audit", "verify", "--sealed", tmp_path / "audit.jsonl"], capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout
    robot = {"subject": "r1", "guard": "mqtt", "roles": ["robot"]}
    cleaner = {"subject": "c1", "guard": "mqtt", "roles": ["cleaner"]}
    allowed, denied = recorded(tmp_path, "call")
    assert [allowed["identity"], denied["identity"]] == [robot, cleaner]
    assert (allowed["decision"], allowed["rule"], allowed["answer"], allowed["tool"]) == ("allowed", "routes.0", "ok", "echo")
    assert (denied["decision"], denied["rule"], denied["reason"], denied["tool"]) == ("refused", "routes.0", "not permitted", "echo")
    assert (denied["device"], denied["topic"], denied["answer"]) == ("c1", "cleaners/c1/say", "unknownTool")
    done, rejected = recorded(tmp_path, "binding.mqtt_mcp.request.completed")
    assert [done["identity"], rejected["identity"]] == [robot, cleaner]
    # The lines of a request and of its call have the same trace.
    assert [done["trace"], rejected["trace"]] == [allowed["trace"], denied["trace"]]
    assert (done["decision"], done["outcome"], done["executed"], done["correlation"]) == ("allowed", "done", "yes", "1")
    assert done["answer"] == "robots/r1/said" and done["durationMicros"] > 0
    assert (rejected["decision"], rejected["outcome"], rejected["executed"]) == ("refused", "rejected", "no")
    assert (rejected["reason"], rejected["answer"]) == ("unknownTool", "cleaners/c1/said")


def test_requests_steps_and_answers_are_in_the_metrics(broker, upstream):  # noqa: F811
    gateway = Machines(broker, over_http(upstream.url) + ADMIN)
    device = Device(broker, "device", "devices/d1/answers/#")
    try:
        # Done, the same again, a tool that fails, and one that is not allowed; and a message that is no request.
        for correlation, tool in [(b"1", "echo"), (b"1", "echo"), (b"2", "fail"), (b"3", "die")]:
            arguments = {"text": "a"} if tool == "echo" else {}
            request = {"tool": tool, "arguments": arguments}
            device.ask("devices/d1/call", request, ResponseTopic="devices/d1/answers/1", CorrelationData=correlation)
            device.next()
        broker.publish("levels/r1/milk", json.dumps({"level": 50}), "-q", "1")

        def figures() -> dict[str, float]:
            """The values of `mqtt_mcp` that are not 0, by name and label."""
            found = {}
            for name, family in families(gateway).items():
                for sample in family.samples if name.startswith("mqtt_mcp_") else []:
                    assert sample.labels["binding"] == "machines0"
                    assert family.documentation, f"{name} is explained"
                    labels = [label for key, label in sample.labels.items() if key != "binding"]
                    if sample.value and not sample.name.endswith(("_bucket", "_sum")):
                        found[" ".join([sample.name.removeprefix("mqtt_mcp_"), *labels])] = sample.value
            return found

        wait_until("the message that is no request", lambda: figures().get("messages_ignored_total") == 1)
        assert figures() == {
            "requests_total done": 1,
            "requests_total failed": 1,
            "requests_total rejected": 1,
            "request_duration_seconds_count done": 1,
            "request_duration_seconds_count failed": 1,
            "request_duration_seconds_count rejected": 1,
            "requests_repeated_total": 1,
            "requests_remembered": 2,
            "messages_ignored_total": 1,
            "steps_total ok": 1,
            "steps_total failed": 1,
            "step_duration_seconds_count ok": 1,
            "step_duration_seconds_count failed": 1,
            "answers_total published": 4,
        }
    finally:
        device.stop()
        code = gateway.stop()
    assert code == 0, gateway.text()
