"""The official TypeScript SDKs, both major versions and both eras, over TLS with keys and tokens."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import PATIENCE, ROOT, Process
from guarded import POLICY, apikey, tokens, url_of

CLIENTS = ROOT / "specs" / "clients" / "typescript"
AUDIENCE = "https://gate.example/mcp"
#: Major version of the SDK, how it chooses the era, and the revision that comes of it.
SDKS = [("v1", "legacy", "2025-11-25"), ("v2", "legacy", "2025-11-25"), ("v2", "auto", "2026-07-28")]

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")
IDS = [f"{sdk}-{mode}" for sdk, mode, _ in SDKS]
each_guard = pytest.mark.parametrize("guard", ["staff", "oauth"])


class Walk(Process):
    """One run of `walk.js`."""

    def __init__(self, folder, url: str, sdk: str, mode: str, credential: str):
        env = {"CREDENTIAL": credential, "NODE_EXTRA_CA_CERTS": str(folder / "ca.crt")}
        super().__init__(["node", str(CLIENTS / "walk.js"), sdk, mode, url], env=env)

    def step(self, name: str) -> dict:
        """Waits for a step, and returns what was printed about it."""
        return json.loads(self.line(rf'^\{{"step":"{name}".*').group(0))


@pytest.fixture
def walk(parts, started, broker, authority, issuer, keys, guard, sdk, mode):
    """Starts a client at a gateway with TLS and one guard."""
    guards = {"staff": apikey(keys), "oauth": tokens(issuer, AUDIENCE)}[guard]
    options = f"authorization: {{ {guard}: {{}} }}, tls: {{ certificate: server.crt, key: server.key }}"
    gateway = started(guards, options, broker.port, POLICY.replace("GUARD", guard))
    url = url_of(gateway).replace("127.0.0.1", "localhost")

    def start(credential: str) -> Walk:
        walk = Walk(authority.folder, url, sdk, mode, credential)
        parts.callback(walk.stop)
        return walk

    return start


@pytest.mark.parametrize("sdk, mode, revision", SDKS, ids=IDS)
@each_guard
def test_an_sdk_calls_reads_and_subscribes(walk, broker, issuer, keys, guard, revision):
    good = {"staff": keys["olga"][0], "oauth": issuer.token(AUDIENCE, "operator")}[guard]
    broker.publish("status/lamp", "off", "-r", "-q", "1")
    agent = walk(good)
    assert agent.step("connected")["version"] == revision
    assert agent.step("tools")["names"] == ["publish", "receive", "read", "query", "list_topics"]
    assert not agent.step("published")["isError"]
    broker.line(r"Received PUBLISH from \S+ .*'commands/lamp'")
    assert agent.step("read")["texts"] == ["off"]
    agent.step("subscribed")
    broker.publish("status/door", "open", "-q", "1")
    assert agent.step("updated")["uri"] == "mqtt://status/door"
    agent.step("closed")
    assert agent.child.wait(PATIENCE) == 0
    broker.line(r"Received UNSUBSCRIBE|Received DISCONNECT")


@pytest.mark.parametrize("sdk, mode", [(sdk, mode) for sdk, mode, _ in SDKS], ids=IDS)
@each_guard
def test_a_wrong_credential_is_an_error_that_the_sdk_types(walk, broker, issuer, keys, guard, sdk):
    wrong = {"staff": f"{keys['olga'][0][:-1]}_", "oauth": issuer.token("https://other.example/mcp")}[guard]
    agent = walk(wrong)
    failed = agent.step("failed")
    assert failed["error"] == {"v1": "StreamableHTTPError", "v2": "UnauthorizedError"}[sdk], failed
    assert failed["status"] == 401, failed
    assert agent.child.wait(PATIENCE) == 1
    assert wrong not in agent.text()


def test_the_lock_file_has_hashes_and_no_address_of_a_registry():
    packages = json.loads((CLIENTS / "package-lock.json").read_text())["packages"]
    locked = {name: package for name, package in packages.items() if name}
    assert all("integrity" in package and "resolved" not in package for package in locked.values())
    wanted = json.loads((CLIENTS / "package.json").read_text())["dependencies"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
