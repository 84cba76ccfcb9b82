"""Fixtures of the tests: mosquitto brokers, tidegate processes and the official MCP SDK client.

Every process listens on a free port of its own, so that the tests run in parallel.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

#: Fixtures of gateways whose clients are authenticated.
pytest_plugins = ["guarded"]

ROOT = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TIDEGATE = Path(os.environ.get("TIDEGATE", TARGET / "debug" / "tidegate")).resolve()
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
#: Timeout for expected events; reached only by failing tests.
PATIENCE = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what: str, check, patience: float = PATIENCE):
    """Polls until `check` returns a true value, and returns it."""
    deadline = time.monotonic() + patience
    while True:
        if result := check():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience} s for {what}")
        time.sleep(0.01)


class Process:
    """A child process whose output lines are collected."""

    def __init__(self, arguments: list[str], stdin=subprocess.DEVNULL, env: dict | None = None):
        self.lines: list[str] = []
        self._options = {"args": arguments, "stdin": stdin, "env": {**os.environ, **(env or {})}}
        self._start()

    def _start(self) -> None:
        self.child = subprocess.Popen(**self._options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.child.stdout:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))

    def line(self, pattern: str, patience: float = PATIENCE) -> re.Match:
        """Waits for the first line that matches."""

        def find():
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            if self.child.poll() is not None and not self._reader.is_alive():
                raise AssertionError(f"ended with {self.child.returncode}: {self.text()}")
            return None

        try:
            return wait_until(f"a line like {pattern!r}", find, patience)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text()}") from None

    def text(self) -> str:
        return "\n".join(self.lines)

    def stop(self) -> int:
        if self.child.poll() is None:
            self.child.terminate()
        try:
            code = self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = self.child.wait()
        self._reader.join(PATIENCE)
        return code


class Broker(Process):
    """A mosquitto on a free port. `{folder}` in its settings is its folder."""

    def __init__(self, port: int | None = None, password: tuple[str, str] | None = None, settings: str = "", log: str = "all"):
        self.port = port or free_port()
        self.folder = tempfile.mkdtemp(prefix="tidegate-broker-")
        os.chmod(self.folder, 0o755)
        config = f"listener {self.port} 127.0.0.1\nset_tcp_nodelay true\nlog_type {log}\n{settings}\n"
        if password:
            file = f"{self.folder}/passwords"
            subprocess.run(["mosquitto_passwd", "-c", "-b", file, *password], check=True, capture_output=True)
            os.chmod(file, 0o644)
            config += f"password_file {file}\n"
        else:
            config += "allow_anonymous true\n"
        path = Path(self.folder, "mosquitto.conf")
        path.write_text(config.replace("{folder}", self.folder))
        super().__init__([MOSQUITTO, "-c", str(path)])
        self.line(r"mosquitto version .* running")

    def stop(self) -> int:
        code = super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def publish(self, topic: str, payload: str | bytes, *options: str) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        # mosquitto_pub refuses an empty input.
        self._publish(data, "-t", topic, "-s" if data else "-n", *options)

    def publish_each(self, topic: str, payloads: list[str], *options: str) -> None:
        """Publishes one message for each payload, over one connection."""
        self._publish("".join(f"{payload}\n" for payload in payloads).encode(), "-t", topic, "-l", *options)

    def _publish(self, data: bytes, *options: str) -> None:
        command = ["mosquitto_pub", "-V", "5", "-p", str(self.port), *options]
        subprocess.run(command, input=data, check=True, timeout=PATIENCE)

    def subscriber(self, topic: str, *options: str, version: str = "5") -> "Subscriber":
        return Subscriber(self, topic, *options, version=version)


class Subscriber(Process):
    """A mosquitto_sub whose subscription is acknowledged.

    Its Receive Maximum is as high as can be: when messages of QoS 2 come fast (three `mosquitto_pub -l`, one at each
    QoS, are enough), mosquitto 2.0.11 has more of them in flight than a subscriber allows, who then leaves it.
    """

    def __init__(self, broker: Broker, topic: str, *options: str, version: str = "5"):
        self.identity = f"sub-{os.getpid()}-{id(self):x}"
        super().__init__(
            ["mosquitto_sub", "-V", version, "-p", str(broker.port), "-q", "2", "-i", self.identity]
            + (["-D", "CONNECT", "receive-maximum", "65535"] if version == "5" else [])
            + ["-t", topic, "-F", "%t|%q|%r|%p", *options]
        )
        broker.line(rf"Sending SUBACK to {self.identity}")

    def message(self, pattern: str = r"^(?P<topic>[^|]+)\|(?P<qos>\d)\|(?P<retain>\d)\|(?P<payload>.*)$"):
        return self.line(pattern)


class Gateway(Process):
    """A `tidegate start` on a free port."""

    def __init__(self, config: str, env: dict | None = None, arguments: tuple[str, ...] = ()):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False)
        self.file.write(config)
        self.file.close()
        super().__init__([str(TIDEGATE), "start", "--config", self.file.name, *arguments], env=env)
        self.url = self.line(r"http://127\.0\.0\.1:\d+/[\w/]*").group(0)

    def stop(self) -> int:
        code = super().stop()
        Path(self.file.name).unlink(missing_ok=True)
        return code

    def probed(self) -> None:
        """Waits until the probe of its one broker has ended: later connections are those of calls."""
        self.line(r"^  mqtt_client0 +broker ")

    def resident_kib(self) -> int:
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def toolkit(index: int, port: int, options: str = "", client: str = "") -> str:
    """One mcp_mqtt proxy and the bindings to its broker."""
    return f"""
  mcp_mqtt{index}: {{ type: mcp_mqtt, kind: proxy, options: {{ {options} }}, exit: mqtt_client{index} }}
  mqtt_client{index}: {{ type: mqtt, kind: client, options: {{ {client} }}, exit: tcp_client{index} }}
  tcp_client{index}: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}
"""


def entry(transport: str, options: str = "") -> str:
    """The entry edge and the MCP server."""
    if transport == "stdio":
        edge = "  stdio0: { type: stdio, kind: server, exit: mcp_server0 }"
    else:
        edge = "  http0: { type: http, kind: server, options: { listen: 127.0.0.1:0 }, exit: mcp_server0 }"
    return f"{edge}\n  mcp_server0: {{ type: mcp, kind: server, options: {{ {options} }}, exit: mcp0 }}\n"


def plain(transport: str, port: int, options: str = "", client: str = "", server: str = "") -> str:
    """A config with one broker and no prefix."""
    return (
        "name: test\nbindings:\n"
        + entry(transport, server).replace("mcp0", "mcp_mqtt0")
        + toolkit(0, port, options, client)
    )


def federated(transport: str, ports: dict[str, int], options: str = "", server: str = "") -> str:
    """A config with one toolkit for each broker."""
    routes = ", ".join(
        f"{{ when: [{{ toolkit: {name} }}], exit: mcp_mqtt{index} }}" for index, name in enumerate(ports)
    )
    proxy = f"  mcp_proxy0: {{ type: mcp, kind: proxy, routes: [{routes}] }}\n"
    kits = "".join(toolkit(index, port, options) for index, port in enumerate(ports.values()))
    return "name: test\nbindings:\n" + entry(transport, server).replace("mcp0", "mcp_proxy0") + proxy + kits


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.stop()


@pytest.fixture
def parts() -> Iterator[contextlib.ExitStack]:
    """Stops what is registered with `parts.callback(part.stop)`, last first."""
    with contextlib.ExitStack() as stack:
        yield stack


@contextlib.asynccontextmanager
async def connected(transport: str, mode: str, config: str, **options) -> AsyncIterator[Client]:
    """An SDK client connected to tidegate with this config, transport and era."""
    if transport == "stdio":
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(config)
            file.flush()
            server = StdioServerParameters(command=str(TIDEGATE), args=["start", "--config", file.name])
            async with Client(server, mode=mode, read_timeout_seconds=PATIENCE, **options) as client:
                yield client
        return
    gateway = Gateway(config)
    try:
        async with Client(gateway.url, mode=mode, read_timeout_seconds=PATIENCE, **options) as client:
            yield client
    finally:
        code = gateway.stop()
    assert code == 0, gateway.text()


@pytest.fixture(params=["http", "stdio"])
def transport(request) -> str:
    return request.param


@pytest.fixture(params=["2026-07-28", "legacy"])
def mode(request) -> str:
    return request.param
