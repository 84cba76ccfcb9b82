"""The brokers that tidegate is tested with: how each is started, what it supports, and where it deviates.

`quick` ones are tested in CI; `scripts/brokers` installs the others and tests all. What a broker does not support, and where
it deviates, is stated in `known`: the test of that row must then fail, and its error must match. So the table of
docs/broker-table.md, which is made of it, cannot be outdated without a failing test.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conftest import MOSQUITTO, PATIENCE, ROOT, TIDEGATE, Process, entry, free_port, toolkit, wait_until
from tap import Relay, Tap

#: Where `scripts/brokers` installs brokers.
INSTALLED = Path(os.environ.get("TIDEGATE_BROKERS", ROOT / ".brokers"))
#: Starting a virtual machine and its database takes a while on a busy machine.
SLOW_START = 120.0
BOTH = ("5", "3.1.1")


@dataclass(frozen=True)
class Known:
    """A row that does not pass."""

    #: `not supported` or `deviates`.
    kind: str
    #: A sentence for the table.
    why: str
    #: A pattern that the error of the row matches.
    shown: str
    #: It passes now and then.
    sometimes: bool = False


def not_supported(why: str, shown: str = "") -> Known:
    return Known("not supported", why, shown)


def deviates(why: str, shown: str = "", sometimes: bool = False) -> Known:
    return Known("deviates", why, shown, sometimes)


UNMATCHED = not_supported(
    "It does not tell that nobody subscribes to a topic, which a broker need not: `matched` stays unknown.",
    r"'reasonCode': 0, 'matched': None",
)
UNLOWERED = deviates(
    "It delivers messages at the QoS of the subscription, also those that were published with a lower one.",
    r"QoS 0 arrived with QoS 2",
)
UNTOLD = deviates(
    "It closes the connection without the reason code 0x8E: the log tells of a lost connection, which is opened again.",
    r"the log says: [\s\S]*connection failed",
)
NO_SESSIONS = not_supported(
    "It keeps no session of a connection that was lost: the gateway subscribes again, and tells of a gap.",
    r"brought \['after', 'after'\]",
)
NO_QOS2 = deviates(
    "It has no QoS 2, and acknowledges such a message with PUBACK, which violates MQTT; with `limits: { maximumQos: 1 }` it is "
    "refused before it is sent.",
    r"PUBACK without a matching PUBLISH|mosquitto_pub.*'-q', '2'",
)


class Peer:
    """A broker on a port of its own."""

    #: Its name in the table, and a short one for the head of its column.
    name = ""
    short = ""
    #: Where it is from, for the table.
    source = ""
    #: The protocol versions that it is tested with.
    versions: tuple[str, ...] = BOTH
    quick = False
    #: User name and password, if it has no anonymous access.
    credentials: tuple[str, str] | None = None
    #: Rows that do not pass: by name, or by name and version.
    known: dict[str | tuple[str, str], Known] = {}
    #: Why it loses messages now and then, whatever the row: a row that fails is tried once more.
    loses = ""
    patience = PATIENCE

    def __init__(self, version: str) -> None:
        self.spoken = version
        self.port = free_port()
        #: Where the gateway connects to, if that is another one.
        self.door = self.port
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate-broker-"))
        self.folder.chmod(0o755)
        self.process: Process | None = None
        self.prepare()
        self.start()

    # What each broker defines.

    @classmethod
    def is_installed(cls) -> bool:
        raise NotImplementedError

    @classmethod
    def release(cls) -> str:
        """Its version."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Writes its files."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    #: The line that it prints when it listens.
    ready = r""

    # What they share.

    @property
    def client_version(self) -> str:
        """The version of the tests' own clients, as mosquitto's clients write it."""
        return "5" if self.spoken == "5" else "mqttv311"

    @property
    def best(self) -> str:
        """The version that `auto` finds."""
        return self.versions[0]

    @classmethod
    def known_of(cls, row: str, version: str) -> Known | None:
        return cls.known.get((row, version)) or cls.known.get(row)

    def start(self) -> None:
        self.process = Process(self.command(), env=self.environment())
        if self.ready:
            self.process.line(self.ready, self.patience)
        wait_until(f"{self.name} to listen", self._listens, self.patience)

    def _listens(self) -> bool:
        if self.process.child.poll() is not None:
            raise AssertionError(f"{self.name} ended: {self.process.text()}")
        done = subprocess.run(self._client("mosquitto_pub", "-t", "ready", "-n"), capture_output=True)
        return done.returncode == 0

    def halt(self) -> None:
        """Ends its process."""
        if self.process:
            self.process.stop()

    def kill(self) -> None:
        self.process.child.kill()
        self.process.child.wait()

    def stop(self) -> None:
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _client(self, program: str, *arguments: str) -> list[str]:
        user = ["-u", self.credentials[0], "-P", self.credentials[1]] if self.credentials else []
        return [program, "-V", self.client_version, "-h", "127.0.0.1", "-p", str(self.port), *user, *arguments]

    def publish(self, topic: str, payload: str | bytes, *options: str) -> None:
        """Publishes a message with a client that is not tidegate."""
        data = payload.encode() if isinstance(payload, str) else payload
        # mosquitto_pub refuses an empty input.
        command = self._client("mosquitto_pub", "-t", topic, "-s" if data else "-n", *options)
        subprocess.run(command, input=data, check=True, timeout=PATIENCE)

    def publish_each(self, topic: str, payloads: list[str]) -> None:
        """Publishes one message at QoS 1 for each payload, over one connection."""
        data = "".join(f"{payload}\n" for payload in payloads).encode()
        command = self._client("mosquitto_pub", "-t", topic, "-q", "1", "-l")
        subprocess.run(command, input=data, check=True, timeout=PATIENCE)

    def subscriber(self, topic: str, *options: str) -> "Listener":
        return Listener(self._client("mosquitto_sub", "-q", "2", "-t", topic, *options))

    def tap(self) -> Relay:
        """A link for the gateway."""
        return Tap(self.door)

    def gateway(self, port: int, options: str, client: str) -> str:
        """A config whose one broker is this one, behind a port."""
        return f"name: test\nworkers: 1\nbindings:\n{entry('http').replace('mcp0', 'mcp_mqtt0')}" + toolkit(
            0, port, options, ", ".join(filter(None, (self.client_options(), client)))
        )

    def client_options(self) -> str:
        """Options of `mqtt · client` that it needs."""
        options = []
        if self.credentials:
            options.append(f'username: "{self.credentials[0]}", password: "{self.credentials[1]}"')
        return ", ".join(options)


@dataclass(frozen=True)
class Message:
    topic: str
    qos: int
    retain: bool
    payload: bytes
    #: Properties of MQTT 5, empty if absent.
    expiry: str
    response_topic: str
    correlation: str
    #: User properties, as `name:value` with spaces between.
    properties: str


class Listener(Process):
    """A mosquitto_sub whose subscription is acknowledged."""

    def __init__(self, command: list[str]) -> None:
        # `-d` tells of SUBACK.
        # It buffers its output otherwise.
        super().__init__(["stdbuf", "-oL", *command, "-d", "-F", "message|%t|%q|%r|%x|%E|%R|%D|%P"])
        self.line(r"Subscribed \(mid")

    def messages(self) -> list[Message]:
        lines = [line.split("|") for line in list(self.lines) if line.startswith("message|")]
        return [Message(it[1], int(it[2]), it[3] == "1", bytes.fromhex(it[4]), *it[5:9]) for it in lines]

    def wait(self, topic: str) -> Message:
        """Waits for the first message of a topic."""
        self.line("^" + re.escape(f"message|{topic}|"))
        return next(it for it in self.messages() if it.topic == topic)


class Embedded(Peer):
    name = "tidegate's `mqtt · broker`"
    short = "embedded"
    source = "this repository"
    versions = ("5",)
    quick = True
    ready = r"listening +http"
    known = {
        "no_matching_subscribers": UNMATCHED,
        "resumed": NO_SESSIONS,
    }

    @classmethod
    def is_installed(cls) -> bool:
        return True

    @classmethod
    def release(cls) -> str:
        return "0.1.0"

    def prepare(self) -> None:
        broker = f"  mqtt_broker0: {{ type: mqtt, kind: broker, options: {{ listen: 127.0.0.1:{self.port} }} }}\n"
        (self.folder / "broker.yaml").write_text(self.gateway(self.port, "", "") + broker)

    def command(self) -> list[str]:
        return [str(TIDEGATE), "start", "--config", str(self.folder / "broker.yaml")]


class Mosquitto(Peer):
    name = "mosquitto"
    source = "Debian"
    known = {"taken_over": UNTOLD}
    quick = True
    ready = r"mosquitto version .* running"

    @classmethod
    def is_installed(cls) -> bool:
        return os.access(MOSQUITTO, os.X_OK)

    @classmethod
    def release(cls) -> str:
        told = subprocess.run([MOSQUITTO, "-h"], capture_output=True, text=True).stdout
        return re.search(r"mosquitto version (\S+)", told).group(1)

    def settings(self) -> str:
        return "allow_anonymous true"

    def prepare(self) -> None:
        # It drops root privileges.
        self.folder.chmod(0o777)
        (self.folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nset_tcp_nodelay true\nlog_type all\npersistence true\n"
            f"persistence_location {self.folder}/\nautosave_interval 1\n{self.settings()}\n"
        )

    def command(self) -> list[str]:
        return [MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")]


class Amqtt(Peer):
    name = "aMQTT"
    source = "PyPI, `amqtt`"
    known = {
        "delivered_qos": UNLOWERED,
        "resumed": deviates(
            "It answers a clean start with *session present*, which violates MQTT, or loses the message: `sessionExpiry` cannot "
            "be used.",
            r"session present after a clean start|brought \['after', 'after'\]",
        ),
        "will": deviates("It does not publish each will: under load, now and then none.", r"waited .* the will", sometimes=True),
    }
    loses = (
        "aMQTT loses messages now and then, with any client: it expects the PUBREC of a message only after the message is sent, and "
        "drops a message while another client subscribes or disconnects. A row that fails with it is tried once more."
    )
    versions = ("3.1.1",)
    quick = True
    ready = r"Listener 'default' bind to"

    @classmethod
    def program(cls) -> Path:
        return Path(sys.executable).with_name("amqtt")

    @classmethod
    def is_installed(cls) -> bool:
        return cls.program().exists()

    @classmethod
    def release(cls) -> str:
        return package("amqtt", Path(sys.executable))

    def prepare(self) -> None:
        plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}}
        (self.folder / "amqtt.yaml").write_text(json.dumps({"listeners": listeners, "plugins": plugins}))

    def command(self) -> list[str]:
        return [str(self.program()), "-c", str(self.folder / "amqtt.yaml")]


class Aedes(Peer):
    name = "Aedes"
    source = "npm, `aedes`"
    versions = ("3.1.1",)
    quick = True
    ready = r"listening"
    folder_of_modules = ROOT / "specs" / "clients" / "typescript" / "node_modules"

    SCRIPT = """
        import { createServer } from "node:net";
        import { Aedes } from "aedes";
        const broker = await Aedes.createBroker();
        createServer(broker.handle).listen(PORT, "127.0.0.1", () => console.log("listening"));
    """

    @classmethod
    def is_installed(cls) -> bool:
        return (cls.folder_of_modules / "aedes").exists()

    @classmethod
    def release(cls) -> str:
        return json.loads((cls.folder_of_modules / "aedes" / "package.json").read_text())["version"]

    def prepare(self) -> None:
        (self.folder / "node_modules").symlink_to(self.folder_of_modules)
        (self.folder / "broker.mjs").write_text(self.SCRIPT.replace("PORT", str(self.port)))

    def command(self) -> list[str]:
        return ["node", str(self.folder / "broker.mjs")]


class Rumqttd(Peer):
    """The broker of the `iotcore` package, which has it compiled in."""

    name = "rumqttd"
    source = "PyPI, `iotcore`"
    known = {
        "no_matching_subscribers": UNMATCHED,
        "delivered_qos": UNLOWERED,
        ("resumed", "5"): NO_SESSIONS,
        "taken_over": UNTOLD,
    }

    SETTINGS = """
        id = 0
        [router]
        id = 0
        max_connections = 1000
        max_outgoing_packet_count = 200
        max_segment_size = 104857600
        max_segment_count = 10
        [LISTENER.1]
        name = "test"
        listen = "127.0.0.1:PORT"
        next_connection_delay_ms = 1
        [LISTENER.1.connections]
        connection_timeout_ms = 60000
        max_payload_size = 2000000
        max_inflight_count = 100
        dynamic_filters = true
    """

    @property
    def best(self) -> str:
        # Each version has a port of its own.
        return self.spoken

    @classmethod
    def python(cls) -> Path:
        return INSTALLED / "venv" / "bin" / "python"

    @classmethod
    def is_installed(cls) -> bool:
        return cls.python().exists()

    @classmethod
    def release(cls) -> str:
        return f"of iotcore {package('iotcore', cls.python())}"

    def prepare(self) -> None:
        listener = "v5" if self.spoken == "5" else "v4"
        settings = self.SETTINGS.replace("PORT", str(self.port)).replace("LISTENER", listener)
        (self.folder / "rumqttd.toml").write_text(settings)

    def command(self) -> list[str]:
        return [str(self.python()), "-m", "iotcore", "--config", str(self.folder / "rumqttd.toml")]


class Rmqtt(Peer):
    """`rmqttd` of crates.io. Its plugins, of which retained messages are one, are compiled in."""

    name = "RMQTT"
    source = "crates.io, `rmqttd`"
    known = {"no_matching_subscribers": UNMATCHED, "taken_over": UNTOLD}
    ready = r"MQTT Broker Listening on"

    SETTINGS = """
        [node]
        id = 1
        [rpc]
        server_addr = "127.0.0.1:RPC"
        [log]
        to = "console"
        level = "info"
        [listener.tcp.external]
        addr = "127.0.0.1:PORT"
        allow_anonymous = true
        max_packet_size = "2MB"
        [plugins]
        dir = "FOLDER"
        default_startups = ["rmqtt-retainer", "rmqtt-shared-subscription"]
    """

    @classmethod
    def program(cls) -> Path:
        return INSTALLED / "rmqtt" / "bin" / "rmqttd"

    @classmethod
    def is_installed(cls) -> bool:
        return cls.program().exists()

    @classmethod
    def release(cls) -> str:
        told = subprocess.run([cls.program(), "--version"], capture_output=True, text=True).stdout
        return re.search(r"\d+\.\d+\.\d+", told).group(0)

    def prepare(self) -> None:
        settings = self.SETTINGS.replace("RPC", str(free_port())).replace("PORT", str(self.port))
        (self.folder / "rmqtt.toml").write_text(settings.replace("FOLDER", str(self.folder)))
        # It listens for HTTP at a fixed port otherwise.
        (self.folder / "rmqtt-http-api.toml").write_text(f'http_laddr = "127.0.0.1:{free_port()}"\n')

    def command(self) -> list[str]:
        return [str(self.program()), "-f", str(self.folder / "rmqtt.toml")]


class Ejabberd(Peer):
    name = "ejabberd mod_mqtt"
    short = "ejabberd"
    known = {"shared": not_supported("It refuses shared subscriptions.", r"\$share")}
    source = "Debian"
    credentials = ("gateway@localhost", "any")
    patience = SLOW_START

    @classmethod
    def libraries(cls) -> list[Path]:
        return list(Path("/usr/lib").glob("*/ejabberd-*/ebin"))

    @classmethod
    def is_installed(cls) -> bool:
        return bool(cls.libraries())

    @classmethod
    def release(cls) -> str:
        return re.search(r"ejabberd-([\d.]+)", str(cls.libraries()[0])).group(1)

    def prepare(self) -> None:
        listener = {"port": self.port, "ip": "127.0.0.1", "module": "mod_mqtt", "max_payload_size": 2_000_000}
        settings = {
            "hosts": ["localhost"],
            "auth_method": ["anonymous"],
            "anonymous_protocol": "login_anon",
            "allow_multiple_connections": True,
            "listen": [listener],
            # Everybody may publish and subscribe.
            "modules": {"mod_mqtt": {}},
        }
        (self.folder / "ejabberd.yml").write_text(json.dumps(settings))
        (self.folder / "db").mkdir()

    def command(self) -> list[str]:
        libraries = str(self.libraries()[0])
        return ["erl", "-noinput", "-pa", libraries, "-mnesia", "dir", f'"{self.folder}/db"', "-s", "ejabberd"]

    def environment(self) -> dict[str, str]:
        log = str(self.folder / "ejabberd.log")
        config = str(self.folder / "ejabberd.yml")
        return {"EJABBERD_CONFIG_PATH": config, "EJABBERD_LOG_PATH": log, "HOME": str(self.folder)}


class Rabbit(Peer):
    name = "RabbitMQ, MQTT plugin"
    short = "RabbitMQ"
    # https://www.rabbitmq.com/docs/3.13/mqtt tells of both.
    known = {
        **dict.fromkeys(("publish_qos2", "publish_many", "delivered_qos"), NO_QOS2),
        "receive": NO_QOS2,
        "retain": deviates(
            "It delivers retained messages to subscribers of the topic itself, and not to filters with wildcards.",
            r"waited .*retain/a",
        ),
    }
    source = "Debian"
    versions = ("3.1.1",)
    ready = r"Server startup complete"
    patience = SLOW_START

    @classmethod
    def home(cls) -> list[Path]:
        return list(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))

    @classmethod
    def is_installed(cls) -> bool:
        return bool(cls.home())

    @classmethod
    def release(cls) -> str:
        return cls.home()[0].name.split("-")[1]

    def prepare(self) -> None:
        # The name server of the Erlang VM is a process of its own, which would outlive the broker.
        self.names = free_port()
        self.distribution = free_port()
        (self.folder / "enabled_plugins").write_text("[rabbitmq_mqtt].")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{self.port}\nmqtt.allow_anonymous = true\n"
            "mqtt.default_user = guest\nmqtt.default_pass = guest\nlog.console = true\nlog.file = false\n"
        )

    def start(self) -> None:
        self.directory = Process(["epmd", "-port", str(self.names)])
        super().start()

    def command(self) -> list[str]:
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "HOME": folder,
            "ERL_EPMD_PORT": str(self.names),
            "RABBITMQ_NODENAME": f"rabbit-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.distribution),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
        }

    def halt(self) -> None:
        super().halt()
        self.directory.stop()

    def kill(self) -> None:
        # The shell script waits for the virtual machine.
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((self.folder / "pid").read_text()), 9)
        self.process.child.wait()
        self.directory.stop()


class ActiveMq(Peer):
    name = "ActiveMQ Classic"
    short = "ActiveMQ"
    known = {
        # Seen once in sixteen runs.
        "resumed": deviates(
            "It loses a message now and then that is published at the moment at which the connection is lost.",
            r"brought \['after', 'after'\]",
            sometimes=True,
        ),
    }
    source = "Debian"
    versions = ("3.1.1",)
    patience = SLOW_START

    JAVA = Path("/usr/share/java")

    @classmethod
    def is_installed(cls) -> bool:
        return (cls.JAVA / "activemq-mqtt.jar").exists() and (cls.JAVA / "mqtt-client.jar").exists()

    @classmethod
    def release(cls) -> str:
        # Debian has the jars with and without the version in their names.
        return next(cls.JAVA.glob("activemq-mqtt-*.jar")).stem.split("-")[-1]

    def command(self) -> list[str]:
        names = ("mqtt-client.jar", "hawtdispatch.jar", "hawtdispatch-transport.jar", "slf4j-simple.jar")
        jars = [*Path("/usr/share/activemq/lib").glob("*.jar"), *(self.JAVA / name for name in names)]
        folder = [f"-Dactivemq.{what}={self.folder}" for what in ("home", "base", "data")]
        uri = f"broker:(mqtt://127.0.0.1:{self.port})?persistent=false&useJmx=false"
        jars.append(Path("/usr/share/activemq/bin/activemq.jar"))
        path = ":".join(str(jar) for jar in jars)
        return ["java", "-cp", path, *folder, "org.apache.activemq.console.Main", "start", uri]


class Redelivering(Peer):
    """The tests' own broker (redelivering.py), which gives messages of a group to another member when a session ends."""

    name = "redelivering.py"
    source = "this repository"
    versions = BOTH
    ready = "the redelivering broker listens"
    options: tuple[str, ...] = ()

    @classmethod
    def is_installed(cls) -> bool:
        return True

    @classmethod
    def release(cls) -> str:
        return " ".join(cls.options)

    def command(self) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("redelivering.py")), str(self.port), *self.options]


class RedeliveringEarly(Redelivering):
    """It does so as soon as the connection is lost."""

    options = ("--eager",)


class RedeliveringMarked(Redelivering):
    """It marks what was sent before with DUP."""

    options = ("--dup",)


def package(name: str, python: Path) -> str:
    """The version of a Python package."""
    program = f"import importlib.metadata; print(importlib.metadata.version('{name}'))"
    return subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True).stdout.strip()


#: In the order of the table.
PEERS: list[type[Peer]] = [Embedded, Mosquitto, Ejabberd, Rumqttd, Rmqtt, Rabbit, ActiveMq, Aedes, Amqtt]
#: Not in the table: brokers of the tests, for what none of the others does.
OWN: list[type[Peer]] = [Redelivering, RedeliveringEarly, RedeliveringMarked]
