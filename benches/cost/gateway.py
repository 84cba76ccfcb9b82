"""A gateway and a broker to count the costs of, and the calls that are counted."""

import contextlib
import json
import signal
import socket
import subprocess
import time

PATIENCE = 60
VERSION = "2025-11-25"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def broker(directory, more=""):
    """mosquitto, on a free port, with more settings."""
    port = free_port()
    settings = directory / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n{more}")
    process = subprocess.Popen(["mosquitto", "-c", settings], stderr=subprocess.DEVNULL)
    try:
        connect(port, process).close()
        yield port
    finally:
        process.terminate()
        process.wait()


def connect(port, process):
    """A connection to a port that a process is about to listen on."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(PATIENCE)
            return connection
        except ConnectionRefusedError:
            if time.monotonic() > end or process.poll() is not None:
                raise
            time.sleep(0.02)


def config(port, broker_port, patterns, guard=None, trust=None):
    """`trust`: the certificate of a broker with TLS."""
    allowed = [f"lines/{number}/set" for number in range(patterns - 1)] + ["bench/+"]
    options = {"listen": f"127.0.0.1:{port}"}
    if guard:
        options["authorization"] = {"guard0": {}}
    return {
        "name": "cost",
        "workers": 1,
        "guards": {"guard0": guard} if guard else {},
        "bindings": {
            "http0": {
                "type": "http",
                "kind": "server",
                "options": options,
                "exit": "mcp_server0",
            },
            "mcp_server0": {"type": "mcp", "kind": "server", "exit": "mcp_mqtt0"},
            "mcp_mqtt0": {
                "type": "mcp_mqtt",
                "kind": "proxy",
                "options": {"publish": allowed, "subscribe": ["bench/+"]},
                "exit": "mqtt_client0",
            },
            "mqtt_client0": {
                "type": "mqtt",
                "kind": "client",
                "options": {"connectTimeout": 1000 * PATIENCE} if trust else {},
                "exit": "tls_client0" if trust else "tcp_client0",
            },
            **tls(trust),
            "tcp_client0": {
                "type": "tcp",
                "kind": "client",
                "options": {"host": "127.0.0.1", "port": broker_port},
            },
        },
    }


def tls(trust):
    if not trust:
        return {}
    # Under callgrind a handshake takes seconds.
    options = {"trust": str(trust), "handshakeTimeout": 1000 * PATIENCE}
    return {"tls_client0": {"type": "tls", "kind": "client", "options": options, "exit": "tcp_client0"}}


class Gateway:
    """tidegate under callgrind, and one connection to it. `credential` is a guard and the header it accepts."""

    def __init__(self, binary, directory, broker_port, patterns, wrapper, credential=(None, None), trust=None):
        self.port = free_port()
        guard, self.header = credential
        # JSON is YAML, too.
        path = directory / "cost.yaml"
        path.write_text(json.dumps(config(self.port, broker_port, patterns, guard, trust)))
        self.command = [*wrapper, binary, "start", "--config", path]

    def __enter__(self):
        self.start()
        self.connection = connect(self.port, self.process)
        return self

    def start(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def __exit__(self, *_):
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=PATIENCE)
        if self.process.returncode != 0:
            raise RuntimeError(f"tidegate ended with {self.process.returncode}: {said.decode()}")

    def drive(self, operation, calls, sessions=0):
        """Does one and the same, one call after the other, in the sessions by turns."""
        names = [self.open_session() for _ in range(sessions)] or [None]
        requests = [request(OPERATIONS[operation], session) for session in names]
        # What receive and read ask for is a message that the broker keeps.
        self.call(request(OPERATIONS["retain"], names[0]), b"")
        for number in range(calls):
            self.call(requests[number % len(requests)], EXPECTED[operation])

    def call(self, asked, expected):
        status, _, answer = self.ask(asked)
        if status != 200 or expected not in answer:
            raise RuntimeError(f"a call was answered {status}: {answer.decode()}")

    def open_session(self):
        params = {
            "protocolVersion": VERSION,
            "capabilities": {},
            "clientInfo": {"name": "cost", "version": "1"},
        }
        said = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        status, head, answer = self.ask(post(json.dumps(said).encode(), []))
        if status != 200:
            raise RuntimeError(f"initialize was answered {status}: {answer.decode()}")
        session = head[b"mcp-session-id"].decode()
        headers = [f"mcp-protocol-version: {VERSION}", f"mcp-session-id: {session}"]
        self.ask(post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', headers))
        return session

    def ask(self, data):
        if self.header:
            first, rest = data.split(b"\r\n", 1)
            data = b"\r\n".join([first, self.header.encode(), rest])
        self.connection.sendall(data)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.some()
        head, _, answer = received.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        while len(answer) < int(fields.get(b"content-length", 0)):
            answer += self.some()
        return int(status.split()[1]), fields, answer

    def some(self):
        data = self.connection.recv(65536)
        if not data:
            raise RuntimeError("tidegate has closed the connection")
        return data


@contextlib.contextmanager
def upstream(binary, directory):
    """An MCP server that does nothing, on a free port: `tidegate bench-upstream`."""
    payload = directory / "payload"
    payload.write_text(PAYLOAD)
    command = [binary, "bench-upstream", "--payload-file", payload]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield int(process.stdout.readline().rsplit(b":", 1)[1])
    finally:
        process.stdin.close()
        process.wait()


def proxy_config(port, upstream_port):
    url = f"http://127.0.0.1:{upstream_port}/mcp"
    return {
        "name": "cost",
        "workers": 1,
        "bindings": {
            "http0": {
                "type": "http",
                "kind": "server",
                "options": {"listen": f"127.0.0.1:{port}"},
                "exit": "mcp_server0",
            },
            "mcp_server0": {"type": "mcp", "kind": "server", "exit": "mcp_proxy0"},
            "mcp_proxy0": {
                "type": "mcp",
                "kind": "proxy",
                "routes": [{"when": [{"toolkit": TOOLKIT}], "exit": "mcp_client0"}],
            },
            "mcp_client0": {"type": "mcp", "kind": "client", "options": {"url": url}},
        },
    }


class Proxy(Gateway):
    """tidegate under callgrind in front of the upstream."""

    header = None

    def __init__(self, binary, directory, upstream_port, wrapper):
        self.port = free_port()
        path = directory / "proxy.yaml"
        path.write_text(json.dumps(proxy_config(self.port, upstream_port)))
        self.command = [*wrapper, binary, "start", "--config", path]

    def drive(self, operation, calls, sessions=0):
        name = self.open_session() if sessions else None
        asked = request(OPERATIONS[operation], name)
        for _ in range(calls):
            self.call(asked, EXPECTED[operation])


class Floor(Gateway):
    """The floor under callgrind, driven with the same requests."""

    header = None

    def __init__(self, binary, directory, broker_port, wrapper, trust=None):
        self.port = free_port()
        payload = directory / "payload"
        payload.write_text(PAYLOAD)
        self.command = [*wrapper, binary, "bench-floor", "--listen", f"127.0.0.1:{self.port}"]
        self.command += ["--broker", f"127.0.0.1:{broker_port}", "--qos", "1", "--topic", TOPIC]
        self.command += ["--payload-file", payload]
        if trust:
            self.command += ["--trust", trust]

    def __exit__(self, *_):
        self.connection.close()
        # It ends with its standard input.
        _, said = self.process.communicate(timeout=PATIENCE)
        if self.process.returncode != 0:
            raise RuntimeError(f"the floor ended with {self.process.returncode}: {said.decode()}")


PAYLOAD = "x" * 100
TOOLKIT = "bench"
TOPIC = "bench/cost"


def tool(name, **arguments):
    return ("tools/call", name, {"name": name, "arguments": arguments})


# Method, what `Mcp-Name` says, params.
OPERATIONS = {
    "publish": tool("publish", topic=TOPIC, payload=PAYLOAD, qos=1),
    "retain": tool("publish", topic=TOPIC, payload=PAYLOAD, qos=1, retain=True),
    "receive": tool("receive", topic=TOPIC, limit=1),
    "read": ("resources/read", f"mqtt://{TOPIC}", {"uri": f"mqtt://{TOPIC}"}),
    "proxy": tool(f"{TOOLKIT}__echo", text=PAYLOAD, count=1),
    "list": ("tools/list", None, {}),
}
# What an answer has within it.
EXPECTED = {
    "publish": b'"content":[]',
    "receive": PAYLOAD.encode(),
    "read": PAYLOAD.encode(),
    "proxy": PAYLOAD.encode(),
    "list": b"echo_99",
}


def request(operation, session):
    """A call as a client of either era makes it."""
    method, name, params = operation
    if session:
        headers = [f"mcp-protocol-version: {VERSION}", f"mcp-session-id: {session}"]
    else:
        headers = ["mcp-protocol-version: 2026-07-28", f"mcp-method: {method}"]
        headers += [f"mcp-name: {name}"] if name else []
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params = {**params, "_meta": meta}
    said = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    return post(json.dumps(said, separators=(",", ":")).encode(), headers)


def post(content, headers):
    lines = [
        "POST /mcp HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        "accept: application/json, text/event-stream",
        f"content-length: {len(content)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content
