"""The config of the gateway: two doors, three toolkits with their brokers, an audit log, and short timeouts."""

from __future__ import annotations

import json
from pathlib import Path

from soak.credentials import Credentials
from soak.ledger import HOSTILE, ROOT

#: The connection of each toolkit: without faults; over a link with faults; to a broker that is killed.
STEADY, CUT, MORTAL = TOOLKITS = ("steady", "cut", "mortal")

#: Seconds within which a call must be answered, as the config says.
TIMEOUT = 15.0
#: Seconds that a read, and a receive that does not say, waits for a message.
READ_TIMEOUT = 8.0
#: Seconds after which the gateway closes what is unused: sessions, broker connections, incomplete heads.
SESSION_TIMEOUT = 15.0
IDLE_TIMEOUT = 2.0
HEADER_TIMEOUT = 10.0
WRITE_TIMEOUT = 5.0
#: Connections of one address; each hostile kind has addresses of its own, all neighbours have one.
OF_ONE_ADDRESS = 256
#: Seconds that a stop may take.
SHUTDOWN_TIMEOUT = 10.0
#: Size of a file of the audit log, in bytes, and how many rotated ones are kept.
AUDIT_FILE, AUDIT_FILES = 256 << 10, 200
#: A stored key of which nobody has the key: each wrong key without an id is verified against it, at little cost, so
#: that the memory of the process shows something else than the work space of hashes.
NOBODY = {
    "hash": "$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$MePZA3SaP9IV2cnaQpI22fGKYa1aKiyOdftXth3xsE4",
    "identity": "nobody",
}


def millis(seconds: float) -> int:
    return int(seconds * 1000)


def config(ports: dict[str, int], credentials: Credentials, folder: Path) -> str:
    """The config with each toolkit's broker at its port; JSON is YAML."""
    keys = folder / "keys.yaml"
    keys.write_text(f"{credentials.line}\n")
    server = {"timeout": millis(TIMEOUT), "sessionTimeout": millis(SESSION_TIMEOUT), "keepAlive": 2_000}
    http = {
        "listen": "127.0.0.1:0",
        "headerTimeout": millis(HEADER_TIMEOUT),
        "bodyTimeout": millis(HEADER_TIMEOUT),
        "writeTimeout": millis(WRITE_TIMEOUT),
        "idleTimeout": millis(HEADER_TIMEOUT),
        "maxConnectionsPerAddress": OF_ONE_ADDRESS,
    }
    secure = {
        **http,
        "tls": {
            "certificate": str(credentials.certificate),
            "key": str(credentials.private),
            "handshakeTimeout": millis(HEADER_TIMEOUT),
        },
        "authorization": {"staff": {}},
    }
    routes = [{"when": [{"toolkit": name}], "exit": f"mcp_mqtt_{name}"} for name in ports]
    bindings: dict[str, object] = {
        "http0": {"type": "http", "kind": "server", "options": http, "exit": "mcp_server0"},
        "http1": {"type": "http", "kind": "server", "options": secure, "exit": "mcp_server0"},
        "mcp_server0": {"type": "mcp", "kind": "server", "options": server, "exit": "mcp_proxy0"},
        "mcp_proxy0": {"type": "mcp", "kind": "proxy", "routes": routes},
    }
    for name, port in ports.items():
        bindings |= toolkit(name, port)
    document = {
        "name": "soak",
        "workers": 2,
        "shutdownTimeout": millis(SHUTDOWN_TIMEOUT),
        "guards": {"staff": {"type": "apikey", "options": {"keys": [NOBODY], "file": str(keys)}}},
        "bindings": bindings,
        "telemetry": {"exporters": {"audit0": {"type": "audit", "options": audit(folder)}}},
    }
    return json.dumps(document, indent=2)


def audit(folder: Path) -> dict[str, object]:
    """The options of the audit log: small files, so that it is rotated all the time."""
    return {"path": str(folder / "audit.jsonl"), "maxFileSize": AUDIT_FILE, "maxFiles": AUDIT_FILES}


def toolkit(name: str, port: int) -> dict[str, object]:
    """One way to a broker."""
    patterns = [f"{ROOT}/#", f"{HOSTILE}/#"]
    options = {
        "subscribe": patterns,
        "publish": patterns,
        "readTimeout": millis(READ_TIMEOUT),
        "receiveTimeout": millis(READ_TIMEOUT),
    }
    client = {
        "keepAlive": 4,
        "connectTimeout": 3_000,
        "idleTimeout": millis(IDLE_TIMEOUT),
        "reconnect": {"min": 200, "max": 2_000},
    }
    return {
        f"mcp_mqtt_{name}": {
            "type": "mcp_mqtt",
            "kind": "proxy",
            "options": options,
            "exit": f"mqtt_{name}",
        },
        f"mqtt_{name}": {"type": "mqtt", "kind": "client", "options": client, "exit": f"tcp_{name}"},
        f"tcp_{name}": {
            "type": "tcp",
            "kind": "client",
            "options": {"host": "127.0.0.1", "port": port, "connectTimeout": 3_000},
        },
    }
