"""Real clients over one federation: two brokers, devices, a process and a server over HTTP, behind one endpoint.

The clients are the official SDKs of Python and TypeScript (both major versions) and the MCP Inspector, over HTTP and stdio.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, TIDEGATE, Broker, Gateway, connected, entry
from test_devices import DEVICES
from test_upstreams import Upstream

TYPESCRIPT = ROOT / "specs" / "clients" / "typescript"
INSPECTOR = ROOT / "specs" / "clients" / "inspector"
MODULES = INSPECTOR / "node_modules"
#: The Inspector requires a newer Node.js than the other clients.
NODE = MODULES / "node" / "bin" / "node"
EVERYTHING = MODULES / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
#: The time that a client waits for a process which is started for it.
LONG = 3 * PATIENCE

CALLS = [
    ("north__publish", {"topic": "doors/1/set", "payload": "to the north", "qos": 1}),
    ("south__publish", {"topic": "doors/1/set", "payload": "to the south", "qos": 1}),
    ("home__list_devices", {}),
    ("everything__echo", {"message": "a process"}),
    ("memos__echo", {"text": "a server"}),
]
READS = [
    "north+mqtt://status/lamp",
    "south+mqtt://status/lamp",
    "memos+memo://one",
    "everything+demo://resource/static/document/features.md",
]
PROMPTS = [("everything__simple-prompt", {}), ("memos__greet", {"name": "Ada"})]


@dataclass
class Federation:
    brokers: dict[str, Broker]
    memos: Upstream

    def config(self, transport: str) -> str:
        """A list waits until the process of `everything` has started."""
        kits = {"north": "mcp_mqtt0", "south": "mcp_mqtt1", "home": "mcp_device0", "everything": "up0", "memos": "up1"}
        routes = ", ".join(f"{{ when: [ {{ toolkit: {name} }} ], exit: {exit} }}" for name, exit in kits.items())
        ports = {name: broker.port for name, broker in self.brokers.items()}
        waits = f"deadline: {int(LONG * 1000)}, listTimeout: {int(LONG * 1000)}"
        topics = "subscribe: [ status/# ], publish: [ doors/+/set ]"
        links = "".join(
            f"  mqtt_client{index}: {{ type: mqtt, kind: client, exit: tcp_client{index} }}\n"
            f"  tcp_client{index}: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}\n"
            for index, port in enumerate(ports.values())
        )
        return (
            "name: test\nworkers: 1\nbindings:\n"
            + entry(transport).replace("mcp0", "mcp_proxy0")
            + f"  mcp_proxy0: {{ type: mcp, kind: proxy, options: {{ {waits} }}, routes: [ {routes} ] }}\n"
            + f"  mcp_mqtt0: {{ type: mcp_mqtt, kind: proxy, options: {{ {topics} }}, exit: mqtt_client0 }}\n"
            + f"  mcp_mqtt1: {{ type: mcp_mqtt, kind: proxy, options: {{ {topics} }}, exit: mqtt_client1 }}\n"
            + "  mcp_device0:\n    type: mcp_device\n    kind: proxy\n"
            + DEVICES.lstrip("\n")
            + "    exit: mqtt_client0\n"
            + links
            + f"  up0: {{ type: mcp, kind: client, options: {{ command: '{NODE}', "
            + f"stdio: {{ args: [ '{EVERYTHING}', stdio ] }} }} }}\n"
            + f"  up1: {{ type: mcp, kind: client, options: {{ url: '{self.memos.url}', http: {{ proxy: none }} }} }}\n"
        )


@pytest.fixture
def federation(parts) -> Federation:
    brokers = {name: Broker() for name in ("north", "south")}
    for name, broker in brokers.items():
        parts.callback(broker.stop)
        broker.publish("status/lamp", f"lamp of the {name}", "-r", "-q", "1")
    memos = Upstream()
    parts.callback(memos.stop)
    return Federation(brokers, memos)


@pytest.fixture
def target(federation, transport, parts) -> list[str]:
    """What a client is given: the URL of a gateway, or the command that starts one."""
    config = federation.config(transport)
    if transport == "http":
        gateway = Gateway(config)
        parts.callback(gateway.stop)
        return [gateway.url]
    folder = parts.enter_context(tempfile.TemporaryDirectory())
    file = Path(folder, "gateway.yaml")
    file.write_text(config)
    return [str(TIDEGATE.resolve()), "start", "--config", str(file)]


@contextlib.contextmanager
def published_once(federation: Federation):
    """Each message reaches its own broker, and no other."""
    seen = {name: broker.subscriber("doors/#") for name, broker in federation.brokers.items()}
    yield
    for name, subscriber in seen.items():
        subscriber.message()
        assert [line for line in subscriber.lines if "|" in line] == [f"doors/1/set|1|0|to the {name}"]
        subscriber.stop()


def check(facts: dict) -> None:
    """What every client has to see."""
    toolkits = {"north__publish", "south__receive", "home__control_device", "everything__get-sum", "memos__work"}
    assert toolkits <= set(facts["tools"]), facts["tools"]
    assert {"memos+memo://one", READS[-1]} <= set(facts["resources"]), facts["resources"]
    assert {name for name, _ in PROMPTS} <= set(facts["prompts"]), facts["prompts"]
    north, south, home, everything, memos = facts["called"]
    # A message that is published has no text; a failure has.
    assert (north, south) == ("", "")
    assert '"lamp-1"' in home, home
    assert (everything, memos) == ("Echo: a process", "a server")
    *statuses, memo, features = facts["read"]
    assert statuses == ["lamp of the north", "lamp of the south"]
    assert memo == "one" and "# " in features
    assert facts["prompted"][1] == "Say hello to Ada." and facts["prompted"][0]


def text(contents) -> str:
    return "".join(getattr(content, "text", "") for content in contents)


async def test_the_python_sdk(federation, transport):
    """It finds the era out itself."""
    with published_once(federation):
        async with connected(transport, "auto", federation.config(transport)) as client:
            facts = {
                "tools": [tool.name for tool in (await client.list_tools()).tools],
                "resources": [str(resource.uri) for resource in (await client.list_resources()).resources],
                "prompts": [prompt.name for prompt in (await client.list_prompts()).prompts],
                "called": [text((await client.call_tool(name, given)).content) for name, given in CALLS],
                "read": [text((await client.read_resource(uri)).contents) for uri in READS],
                "prompted": [
                    text(message.content for message in (await client.get_prompt(name, given)).messages)
                    for name, given in PROMPTS
                ],
            }
    check(facts)


@pytest.mark.parametrize(
    "sdk, mode, revision",
    [("v1", "legacy", "2025-11-25"), ("v2", "legacy", "2025-11-25"), ("v2", "auto", "2026-07-28")],
    ids=["v1", "v2-legacy", "v2-auto"],
)
async def test_the_typescript_sdks(federation, target, sdk, mode, revision):
    steps = json.dumps({"calls": CALLS, "reads": READS, "prompts": PROMPTS})
    command = ["node", str(TYPESCRIPT / "tour.js"), sdk, mode, *target]
    with published_once(federation):
        tour = await asyncio.to_thread(
            subprocess.run, command, env={**os.environ, "STEPS": steps}, capture_output=True, text=True, timeout=LONG
        )
    assert tour.returncode == 0, tour.stderr
    facts = json.loads(tour.stdout)
    # Version 1 of the SDK does not tell it over stdio.
    assert facts.pop("version", revision) == revision, facts
    check(facts)


class Inspector:
    """The MCP Inspector on the command line: one process for each request."""

    def __init__(self, target: list[str], era: str, home: Path):
        self.target, self.era, self.home = target, era, str(home)
        command, *arguments = target
        if arguments:
            # Its options and those of the command would be mixed on one command line.
            servers = home / "servers.json"
            server = {"type": "stdio", "command": command, "args": arguments}
            servers.write_text(json.dumps({"mcpServers": {"gateway": server}}))
            self.target = ["--config", str(servers), "--server", "gateway"]

    def ask(self, method: str, *options: str) -> dict:
        command = [str(NODE), str(MODULES / ".bin" / "mcp-inspector"), "--cli", *self.target]
        command += ["--method", method, "--protocol-era", self.era, "--format", "json", "--quiet"]
        # A process that is started for it takes longer than its own timeout.
        command += ["--connect-timeout", str(int(LONG * 1000)), *options]
        env = {**os.environ, "HOME": self.home}
        answer = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LONG)
        assert answer.returncode == 0, f"{method} {options}: {answer.stderr}"
        return json.loads(answer.stdout)["result"]

    def names(self, kind: str, member: str) -> list[str]:
        return [item[member] for item in self.ask(f"{kind}/list")[kind]]

    def call(self, name: str, given: dict) -> str:
        answer = self.ask("tools/call", "--tool-name", name, "--tool-args-json", json.dumps(given))
        return "".join(content["text"] for content in answer["content"])

    def read(self, uri: str) -> str:
        return "".join(content["text"] for content in self.ask("resources/read", "--uri", uri)["contents"])

    def prompt(self, name: str, given: dict) -> str:
        pairs = [f"{key}={value}" for key, value in given.items()]
        answer = self.ask("prompts/get", "--prompt-name", name, *(["--prompt-args", *pairs] if pairs else []))
        return "".join(message["content"]["text"] for message in answer["messages"])


@pytest.mark.parametrize("transport, era", [("http", "legacy"), ("http", "auto"), ("stdio", "legacy")])
async def test_the_inspector(federation, target, era, tmp_path):
    inspector = Inspector(target, era, tmp_path)
    with published_once(federation), ThreadPoolExecutor(4) as pool:
        facts = {
            "tools": pool.submit(inspector.names, "tools", "name"),
            "resources": pool.submit(inspector.names, "resources", "uri"),
            "prompts": pool.submit(inspector.names, "prompts", "name"),
        }
        groups = {
            "called": [pool.submit(inspector.call, *call) for call in CALLS],
            "read": [pool.submit(inspector.read, uri) for uri in READS],
            "prompted": [pool.submit(inspector.prompt, *prompt) for prompt in PROMPTS],
        }
        facts = {name: future.result() for name, future in facts.items()}
        facts |= {name: [future.result() for future in futures] for name, futures in groups.items()}
    check(facts)


def test_the_lock_file_has_hashes_and_no_address_of_a_registry():
    packages = json.loads((INSPECTOR / "package-lock.json").read_text())["packages"]
    locked = {name: package for name, package in packages.items() if name}
    assert all("integrity" in package and "resolved" not in package for package in locked.values())
    wanted = json.loads((INSPECTOR / "package.json").read_text())["dependencies"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
