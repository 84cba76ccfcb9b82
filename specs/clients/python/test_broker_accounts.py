"""Callers with accounts of their own at the broker: its access list and its log know them (mosquitto)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import httpx
import httpx2
import pytest
from conftest import PATIENCE, Broker, Gateway, free_port, wait_until
from guarded import bearer, genkey
from issuer import Issuer
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from test_faults import modern, request
from test_network import Authority

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")

AGENTS = ("line-1", "line-2")
#: Each agent may use the topics below its user name.
ACCESS = "pattern readwrite agents/%u/#\nuser observer\ntopic read agents/#\n"


@pytest.fixture
def folder(parts) -> Path:
    """A folder that mosquitto may read: it drops root privileges before it reads its files."""
    folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
    folder.chmod(0o755)
    (folder / "access").write_text(ACCESS)
    # mosquitto warns of files that others may read, and does not open those of others.
    (folder / "access").chmod(0o644)
    return folder


@pytest.fixture
def guarded_broker(parts, folder) -> Broker:
    """Its users are the agents; others are refused or may do nothing."""
    passwords = folder / "passwords"
    for number, name in enumerate((*AGENTS, "observer")):
        create = ["-c"] if number == 0 else []
        command = ["mosquitto_passwd", *create, "-b", passwords, name, f"secret of {name}"]
        subprocess.run(command, check=True, capture_output=True)
    passwords.chmod(0o644)
    broker = Broker(settings=f"password_file {passwords}\nacl_file {folder}/access")
    parts.callback(broker.stop)
    return broker


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[str, str]]:
    return {name: genkey(name, "operator") for name in (*AGENTS, "mallory", "revoked")}


def config(guards: str, authorization: str, client: str, port: int, chain: str = "") -> str:
    chain = chain or f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}\n"
    exit = "tls_client0" if "tls_client0" in chain else "tcp_client0"
    return (
        f"name: test\nworkers: 1\nguards:\n{guards}bindings:\n"
        f"  http0: {{ type: http, kind: server, options: {{ listen: 127.0.0.1:0, authorization: {authorization} }}, exit: mcp_server0 }}\n"
        "  mcp_server0: { type: mcp, kind: server, exit: mcp_mqtt0 }\n"
        '  mcp_mqtt0: { type: mcp_mqtt, kind: proxy, options: { subscribe: [ "#" ], publish: [ "#" ] }, exit: mqtt_client0 }\n'
        f"  mqtt_client0: {{ type: mqtt, kind: client, exit: {exit}, options: {{ connections: identity, {client} }} }}\n{chain}"
    )


def by_key(keys) -> str:
    lines = ", ".join(line for _, line in keys.values())
    return f"  keys: {{ type: apikey, options: {{ keys: [{lines}] }} }}\n"


@pytest.fixture
def started(parts):
    def start(text: str) -> Gateway:
        gateway = Gateway(text)
        parts.callback(gateway.stop)
        return gateway

    return start


def publish(gateway: Gateway, credential: str, topic: str) -> str:
    """The outcome of a call to publish, or its error."""
    body = request("tools/call", name="publish", arguments={"topic": topic, "payload": "on", "qos": 1})
    headers = modern("tools/call", **{"mcp-name": "publish", "authorization": bearer(credential)})
    answer = httpx.post(gateway.url, json=body, headers=headers, timeout=PATIENCE).json()
    if "error" in answer:
        return answer["error"]["message"]
    result = answer["result"]
    if result.get("isError"):
        return result["content"][0]["text"]
    return result["structuredContent"]["outcome"]


#: One entry for each agent, with its password.
EACH = ", ".join(
    f"{{ guarded: {{ GUARD: [] }}, subject: {name}, username: {name}, password: secret of {name} }}" for name in AGENTS
)


def each_may_publish_only_its_own(gateway: Gateway, credentials: dict[str, str], broker: Broker, identity: str) -> None:
    watcher = broker.subscriber("agents/#", "-u", "observer", "-P", "secret of observer")
    try:
        for own, other in (AGENTS, AGENTS[::-1]):
            assert publish(gateway, credentials[own], f"agents/{own}/state") == "acknowledged"
            refused = publish(gateway, credentials[own], f"agents/{other}/state")
            assert "Not authorized (0x87)" in refused, refused
            # The log of the broker names the agent, and its access list denied the second message.
            client = broker.line(rf"New client connected from \S+ as (\S+) \(p5, .*u'{own}'\)").group(1)
            assert re.fullmatch(identity.replace("NAME", own), client), client
            broker.line(rf"Denied PUBLISH from {re.escape(client)} .*'agents/{other}/state'")
        for name in AGENTS:
            watcher.message(rf"^agents/{name}/state\|1\|0\|on$")
        assert len([line for line in watcher.lines if line.startswith("agents/")]) == 2
    finally:
        watcher.stop()


def test_agents_with_keys_publish_with_their_own_accounts(guarded_broker, started, keys):
    client = f"accounts: [ {EACH.replace('GUARD', 'keys')}, {{ guarded: {{ keys: [] }}, subject: revoked, username: nobody, password: x }} ]"
    gateway = started(config(by_key(keys), "{ keys: {} }", client, guarded_broker.port))
    credentials = {name: key for name, (key, _) in keys.items()}
    each_may_publish_only_its_own(gateway, credentials, guarded_broker, r"tidegate-\w+-NAME")
    # A caller without an account is refused before anything is sent.
    refused = publish(gateway, credentials["mallory"], "agents/mallory/state")
    assert "'mallory' has no account at the broker" in refused, refused
    gateway.line(r"binding\.mqtt\.account\.missing")
    # One that the broker refuses holds off nobody else.
    refused = publish(gateway, credentials["revoked"], "agents/revoked/state")
    assert "refused the connection of 'revoked': " in refused, refused
    gateway.line(r"binding\.mqtt\.account\.refused")
    assert publish(gateway, credentials["line-1"], "agents/line-1/state") == "acknowledged"
    assert gateway.stop() == 0
    text = gateway.text()
    assert "secret of" not in text and not any(key in text for key in credentials.values())


def test_agents_with_tokens_publish_with_their_own_accounts(guarded_broker, started, parts):
    issuer = Issuer()
    parts.callback(issuer.stop)
    guard = f"  oauth: {{ type: jwt, options: {{ issuer: '{issuer.url}', audience: test }} }}\n"
    # The user name is that of the token; the client identifier contains a claim.
    entries = ", ".join(
        f"{{ guarded: {{ oauth: [] }}, subject: {name}, username: \"${{guarded['oauth'].identity}}\", password: secret of {name},"
        f" clientId: \"agent.${{guarded['oauth'].identity}}\" }}"
        for name in AGENTS
    )
    gateway = started(config(guard, "{ oauth: {} }", f"accounts: [ {entries} ]", guarded_broker.port))
    credentials = {name: issuer.token("test", sub=name) for name in AGENTS}
    each_may_publish_only_its_own(gateway, credentials, guarded_broker, r"agent\.NAME")


def test_agents_publish_with_their_own_certificates(parts, folder, started, keys):
    authority = Authority(folder)
    authority.sign("server", "serverAuth")
    for name in (*AGENTS, "gateway"):
        authority.sign(name, "clientAuth")
    for key in folder.glob("*.key"):
        key.chmod(0o644)
    tls = free_port()
    broker = Broker(
        settings=f"acl_file {folder}/access\nlistener {tls} 127.0.0.1\ncertfile {folder}/server.crt\nkeyfile {folder}/server.key\n"
        f"cafile {folder}/ca.crt\nrequire_certificate true\nuse_identity_as_username true"
    )
    parts.callback(broker.stop)
    named = ", ".join(f"{name}: {{ certificate: {folder}/{name}.crt, key: {folder}/{name}.key }}" for name in AGENTS)
    chain = (
        f"  tls_client0: {{ type: tls, kind: client, exit: tcp_client0, options: {{ trust: {folder}/ca.crt,"
        f" certificate: {folder}/gateway.crt, key: {folder}/gateway.key, certificates: {{ {named} }} }} }}\n"
        f"  tcp_client0: {{ type: tcp, kind: client, options: {{ host: localhost, port: {tls} }} }}\n"
    )
    client = "accounts: [ { guarded: { keys: [] }, certificate: \"${guarded['keys'].identity}\" } ]"
    gateway = started(config(by_key(keys), "{ keys: {} }", client, tls, chain))
    credentials = {name: key for name, (key, _) in keys.items()}
    each_may_publish_only_its_own(gateway, credentials, broker, r"tidegate-\w+-NAME")
    # One whose certificate is not in the config is refused, and holds off nobody else.
    refused = publish(gateway, credentials["mallory"], "agents/mallory/state")
    assert "there is no client certificate 'mallory'" in refused, refused
    assert publish(gateway, credentials["line-2"], "agents/line-2/state") == "acknowledged"
    # The gateway's own connection, that of the probe, has the gateway's certificate.
    broker.line(r"New client connected from \S+ as tidegate-\w+ \(p5, .*u'gateway'\)")


async def test_sessions_of_a_caller_share_its_connection(guarded_broker, started, keys, mode):
    client = f"accounts: [ {EACH.replace('GUARD', 'keys')} ]"
    gateway = started(config(by_key(keys), "{ keys: {} }", client, guarded_broker.port))
    headers = {"Authorization": bearer(keys["line-1"][0])}
    for _ in range(3):
        async with httpx2.AsyncClient(headers=headers) as http:
            async with Client(streamable_http_client(gateway.url, http_client=http), mode=mode) as client:
                result = await client.call_tool("publish", {"topic": "agents/line-1/a", "payload": "x", "qos": 1})
                assert not result.is_error, result
                refused = await client.call_tool("receive", {"topic": "agents/line-2/#", "limit": 1, "timeout": 100})
                # mosquitto 2 grants such a subscription, and sends nothing for it.
                assert not refused.structured_content or not refused.structured_content["messages"]
    connected = [line for line in guarded_broker.lines if "New client connected" in line and "u'line-1'" in line]
    assert len(connected) == 1, connected
    wait_until("the messages", lambda: guarded_broker.text().count("Received PUBLISH from") >= 3)
