"""Gateways whose clients are authenticated: keys, tokens of the test issuer, and certificates of a test authority."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from conftest import TIDEGATE, Process, toolkit
from issuer import Issuer
from test_network import HEADERS, LIST, Authority

#: What the operator may do and the viewer may not.
POLICY = "subscribe: [status/#], publish: [{ pattern: commands/#, guarded: { GUARD: [operator] } }]"


@pytest.fixture
def authority(tmp_path) -> Authority:
    authority = Authority(tmp_path)
    authority.sign("server", "serverAuth")
    return authority


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.stop()


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.folder / "ca.crt"))


def genkey(identity: str, roles: str) -> tuple[str, str]:
    """A key, and its line for the config."""
    command = [TIDEGATE, "genkey", "--identity", identity, "--roles", roles]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    key = re.search(r"tg_\w+", done.stdout).group(0)
    line = re.search(r"- (\{ id: .*\})", done.stdout + done.stderr).group(1)
    return key, line


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[str, str]]:
    return {"olga": genkey("olga", "operator"), "vera": genkey("vera", "viewer")}


@pytest.fixture
def started(parts, tmp_path):
    """Starts gateways with guards, in the folder of the test."""

    def start(guards: str, options: str, broker_port: int, policy: str, listen: str = "127.0.0.1:0", more=(), bindings="") -> Process:
        config = tmp_path / "gateway.yaml"
        config.write_text(
            f"name: test\nworkers: 2\nguards:\n{guards}bindings:\n"
            f"  http0: {{ type: http, kind: server, options: {{ listen: '{listen}', {options} }}, exit: mcp_server0 }}\n"
            "  mcp_server0: { type: mcp, kind: server, exit: mcp_mqtt0 }\n" + toolkit(0, broker_port, policy) + bindings
        )
        command = f"cd {tmp_path} && exec {TIDEGATE} start --config gateway.yaml {' '.join(more)}"
        gateway = Process(["bash", "-c", command])
        parts.callback(gateway.stop)
        gateway.line(r"listening ")
        return gateway

    return start


def apikey(keys) -> str:
    lines = ", ".join(line for _, line in keys.values())
    return f"  staff: {{ type: apikey, options: {{ keys: [{lines}] }} }}\n"


def tokens(issuer: Issuer, audience: str) -> str:
    return f"  oauth: {{ type: jwt, options: {{ issuer: '{issuer.url}', audience: '{audience}', roles: scope }} }}\n"


def url_of(gateway: Process) -> str:
    return gateway.line(r"https?://\S+").group(0)


def post(url: str, body: str = LIST, verify=True, **headers: str) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(url, content=body, headers={**HEADERS, **headers}, verify=verify)


def bearer(credential: str) -> str:
    return f"Bearer {credential}"
