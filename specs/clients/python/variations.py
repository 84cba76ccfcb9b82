"""mosquitto in each way that it can be connected to: TLS, mutual TLS, WebSocket, passwords with ACLs, dynamic security."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from conftest import Process, entry, free_port
from peers import Mosquitto
from tap import Relay
from test_network import Authority

GATEWAY = ("gateway", "gate word")
#: The tests' own clients.
DEVICE = ("device", "device word")
#: What `GATEWAY` may neither publish to nor subscribe to.
SECRET = "secret/#"


class Logged(Relay):
    """A link whose bytes are encrypted: what it would see is in the log of mosquitto."""

    def __init__(self, port: int, broker: "Variation"):
        super().__init__(port)
        self.broker = broker

    def _lines(self) -> list[str]:
        lines = [*self.broker.earlier, *self.broker.process.lines]
        return [line.split(": ", 1)[-1] for line in lines]

    @property
    def granted(self) -> list[str]:
        filters, client = [], ""
        for line in self._lines():
            if found := re.match(r"Received SUBSCRIBE from (\S+)", line):
                client = found.group(1)
            elif (found := re.match(r"\t(.+) \(QoS \d\)$", line)) and not client.startswith("own-"):
                filters.append(found.group(1))
        return filters

    @property
    def versions(self) -> list[int]:
        connected = (re.search(r"New client connected from \S+ as (\S+) \(p(\d)", line) for line in self._lines())
        of_gateways = (it.group(2) for it in connected if it and not it.group(1).startswith("own-"))
        return [{"5": 5, "2": 4}[version] for version in of_gateways]

    @property
    def accepted(self) -> int:
        return len(self.versions)


class Variation(Mosquitto):
    """A mosquitto with TLS or a WebSocket for the gateway, and a plain listener for the tests' own clients."""

    scheme = "mqtts"

    def prepare(self) -> None:
        super().prepare()
        #: The log of earlier processes.
        self.earlier: list[str] = []

    def start(self) -> None:
        if self.process:
            self.earlier += self.process.lines
        super().start()

    def tap(self) -> Relay:
        return Logged(self.door, self)

    def door_settings(self) -> str:
        return ""

    def settings(self) -> str:
        while self.door == self.port:
            self.door = free_port()
        authority = Authority(self.folder)
        authority.sign("server", "serverAuth")
        authority.sign("agent", "clientAuth")
        for key in self.folder.glob("*.key"):
            key.chmod(0o644)
        files = f"certfile {self.folder}/server.crt\nkeyfile {self.folder}/server.key"
        return f"allow_anonymous true\nlistener {self.door} {self.address}\n{files}\n{self.door_settings()}"

    address = "127.0.0.1"

    def _client(self, program: str, *arguments: str) -> list[str]:
        # So that its lines in the log can be told from those of gateways.
        identity = ["-i", f"own-{free_port()}"]
        return super()._client(program, *identity, *arguments)

    def tls_options(self) -> str:
        return f"trust: {self.folder}/ca.crt"

    def gateway(self, port: int, options: str, client: str) -> str:
        url = f"{self.scheme}://localhost:{port}{'/mqtt' if self.scheme == 'wss' else ''}"
        more = ", ".join(filter(None, (f'url: "{url}", tls: {{ {self.tls_options()} }}', self.client_options(), client)))
        return (
            f"name: test\nworkers: 1\nbindings:\n{entry('http').replace('mcp0', 'mcp_mqtt0')}"
            f"  mcp_mqtt0: {{ type: mcp_mqtt, kind: proxy, options: {{ {options} }}, exit: mqtt_client0 }}\n"
            f"  mqtt_client0: {{ type: mqtt, kind: client, options: {{ {more} }} }}\n"
        )


class Tls(Variation):
    name = "mosquitto, TLS"

    def door_settings(self) -> str:
        return "tls_version tlsv1.3"


class MutualTls(Variation):
    name = "mosquitto, mutual TLS"

    def door_settings(self) -> str:
        return f"cafile {self.folder}/ca.crt\nrequire_certificate true\nuse_identity_as_username true"

    def tls_options(self) -> str:
        return f"{super().tls_options()}, certificate: {self.folder}/agent.crt, key: {self.folder}/agent.key"


class WebSocketTls(MutualTls):
    """Its own listener: mosquitto 2.0 opens one for WebSocket on all addresses only."""

    name = "mosquitto, WebSocket over TLS"
    scheme = "wss"
    address = ""

    def door_settings(self) -> str:
        # Nobody else gets in while it listens on all addresses.
        return f"protocol websockets\ncafile {self.folder}/ca.crt\nrequire_certificate true"


class Protected(Mosquitto):
    """A mosquitto that asks each client for a password."""

    credentials = DEVICE

    def client_options(self) -> str:
        return f'username: "{GATEWAY[0]}", password: "{GATEWAY[1]}"'


class Acl(Protected):
    name = "mosquitto, password file and ACL"

    def settings(self) -> str:
        passwords, rules = self.folder / "passwords", self.folder / "acl"
        passwords.write_text("".join(f"{user}:{word}\n" for user, word in (GATEWAY, DEVICE)))
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, capture_output=True)
        rules.write_text(
            f"user {GATEWAY[0]}\ntopic readwrite #\ntopic deny {SECRET}\nuser {DEVICE[0]}\ntopic readwrite #\n"
        )
        for file in (passwords, rules):
            file.chmod(0o644)
        return f"allow_anonymous false\npassword_file {passwords}\nacl_file {rules}"


class DynamicSecurity(Protected):
    name = "mosquitto, dynamic security"
    ADMIN = ("admin", "admin word")

    @classmethod
    def plugin(cls) -> list[Path]:
        return list(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))

    @classmethod
    def is_installed(cls) -> bool:
        return super().is_installed() and bool(cls.plugin())

    def settings(self) -> str:
        file = self.folder / "dynamic-security.json"
        command = ["mosquitto_ctrl", "dynsec", "init", str(file), *self.ADMIN]
        subprocess.run(command, check=True, capture_output=True)
        file.chmod(0o666)
        return f"allow_anonymous false\nplugin {self.plugin()[0]}\nplugin_opt_config_file {file}"

    def start(self) -> None:
        self.process = Process(self.command())
        self.process.line(self.ready)
        if not (self.folder / "created").exists():
            self._create()
            (self.folder / "created").touch()
        self.halt()
        super().start()

    def _create(self) -> None:
        def control(*arguments: str) -> None:
            command = ["mosquitto_ctrl", "-h", "127.0.0.1", "-p", str(self.port), "-u", self.ADMIN[0], "-P", self.ADMIN[1]]
            done = subprocess.run([*command, "dynsec", *arguments], capture_output=True, text=True)
            told = done.stdout + done.stderr
            # It warns that there is no TLS, and does not fail when it is refused.
            assert done.returncode == 0 and "Error" not in told, f"{arguments}: {told}"

        for user, word in (GATEWAY, DEVICE):
            control("createRole", user)
            for kind in ("publishClientSend", "publishClientReceive", "subscribePattern", "unsubscribePattern"):
                control("addRoleACL", user, kind, "#", "allow", "1")
            control("createClient", user, "-p", word)
            control("addClientRole", user, user, "1")
        for kind in ("publishClientSend", "publishClientReceive", "subscribePattern"):
            control("addRoleACL", GATEWAY[0], kind, SECRET, "deny", "2")


VARIATIONS: list[type[Mosquitto]] = [Tls, MutualTls, WebSocketTls, Acl, DynamicSecurity]
