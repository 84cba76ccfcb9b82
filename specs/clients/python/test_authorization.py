"""Who is calling, and what they may do: keys, tokens and client certificates, with the official SDK."""

from __future__ import annotations

import base64
import hmac
import json
import re
import shutil
import subprocess
import time
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import jwt
import pytest
from conftest import TIDEGATE, free_port, toolkit
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from guarded import POLICY, apikey, bearer, post, tokens, trusting, url_of
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from test_network import HEADERS, LIST, META

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")

LEGACY = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


async def names(client: Client) -> list[str]:
    return [tool.name for tool in (await client.list_tools()).tools]


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
async def test_operator_and_viewer_share_an_endpoint_over_tls(broker, started, authority, keys, mode, header):
    options = "authorization: { staff: {} }, tls: { certificate: server.crt, key: server.key }"
    gateway = started(apikey(keys), options, broker.port, POLICY.replace("GUARD", "staff"))
    url = url_of(gateway)

    async def as_(identity: str, work) -> None:
        key = keys[identity][0]
        headers = {header: bearer(key) if header == "Authorization" else key}
        async with httpx2.AsyncClient(verify=trusting(authority), headers=headers) as http:
            async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                await work(client)

    async def operates(client: Client) -> None:
        assert "publish" in await names(client)
        result = await client.call_tool("publish", {"topic": "commands/lamp", "payload": "on"})
        assert not result.is_error, result

    async def views(client: Client) -> None:
        assert await names(client) == ["receive", "read", "list_topics"]
        with pytest.raises(Exception, match="(?i)unknown tool|not found"):
            result = await client.call_tool("publish", {"topic": "commands/lamp", "payload": "off"})
            assert not result.is_error, result

    await as_("olga", operates)
    broker.line(r"Received PUBLISH from \S+ .*'commands/lamp'")
    await as_("vera", views)
    assert gateway.stop() == 0
    text = gateway.text()
    assert not any(key in text for key, _ in keys.values()), "a key is in the log"


def test_a_session_of_one_identity_does_not_exist_for_another(broker, started, keys):
    gateway = started(apikey(keys), "authorization: { staff: {} }", broker.port, POLICY.replace("GUARD", "staff"))
    url = url_of(gateway)
    begin = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }

    def ask(identity: str, method: str = "POST", body=None, session: str | None = None) -> httpx.Response:
        headers = {**LEGACY, "X-API-Key": keys[identity][0]}
        if session:
            headers |= {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
        return httpx.request(method, url, headers=headers, content=json.dumps(body) if body else None)

    answer = ask("olga", body=begin)
    session = answer.headers["mcp-session-id"]
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    for method, body in [("POST", listing), ("GET", None), ("DELETE", None)]:
        assert ask("vera", method, body, session).status_code == 404, method
    assert ask("olga", body=listing, session=session).json()["result"]["tools"]


class Storage:
    """Keeps what the SDK's OAuth client gets."""

    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens) -> None:
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client) -> None:
        self.client = client


def oauth(url: str, storage: Storage) -> OAuthClientProvider:
    """The OAuth client of the SDK, with a browser that follows one redirect."""
    redirected = {}

    async def redirect(location: str) -> None:
        response = httpx.get(location)
        redirected.update(parse_qs(urlsplit(response.headers["location"]).query))

    async def callback() -> AuthorizationCodeResult:
        answer = {name: values[0] for name, values in redirected.items()}
        return AuthorizationCodeResult(code=answer["code"], state=answer["state"], iss=answer["iss"])

    about = OAuthClientMetadata(
        client_name="test",
        redirect_uris=["http://127.0.0.1:9/callback"],
        grant_types=["authorization_code"],
        token_endpoint_auth_method="none",
    )
    return OAuthClientProvider(url, about, storage, redirect_handler=redirect, callback_handler=callback)


async def test_the_oauth_client_of_the_sdk_gets_a_token_calls_and_steps_up(broker, started, authority, issuer, mode):
    port = free_port()
    url = f"https://localhost:{port}/mcp"
    options = (
        f"authorization: {{ oauth: {{ resource: {{ url: '{url}', scopes: [read] }} }} }}, "
        "tls: { certificate: server.crt, key: server.key }"
    )
    policy = POLICY.replace("GUARD", "oauth")
    started(tokens(issuer, url), options, broker.port, policy, listen=f"127.0.0.1:{port}")
    storage = Storage()
    async with httpx2.AsyncClient(verify=trusting(authority), auth=oauth(url, storage)) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            assert "receive" in await names(client)
            assert storage.tokens.scope == "read"
            # The refusal names the scope of the topic; the client asks for it and calls again.
            result = await client.call_tool("publish", {"topic": "commands/lamp", "payload": "on"})
            assert not result.is_error, result
    assert set(storage.tokens.scope.split()) == {"read", "operator"}
    assert {"/register", "/authorize", "/token", "/keys"} <= set(issuer.seen)
    broker.line(r"Received PUBLISH from \S+ .*'commands/lamp'")


def test_tokens_that_are_not_accepted(broker, started, issuer):
    audience = "https://gate.example/mcp"
    resource = f"resource: {{ url: '{audience}', scopes: [read] }}"
    guards = tokens(issuer, audience)
    options = f"authorization: {{ oauth: {{ {resource} }} }}"
    gateway = started(guards, options, broker.port, "", more=("--log-level", "debug"))
    url = url_of(gateway)
    public = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    now = int(time.time())
    good = issuer.token(audience)
    secret = good.rsplit(".", 1)[1]
    other = issuer.token(audience, jti="other").rsplit(".", 1)[1]
    assert post(url, Authorization=bearer(good)).status_code == 200
    # Claude and others add a slash to the resource.
    assert post(url, Authorization=bearer(issuer.token(audience + "/"))).status_code == 200
    head, claims, _ = good.split(".")
    none = jwt.encode(jwt.decode(good, options={"verify_signature": False}), None, algorithm="none")
    # PyJWT refuses to make what an attacker would.
    confused = hmac_token(public, {"alg": "HS256", "kid": "k1"}, claims)
    for what, token, word in [
        ("expired", issuer.token(audience, exp=now - 3_600), "expired"),
        ("future", issuer.token(audience, nbf=now + 3_600), "notYetValid"),
        ("audience", issuer.token("https://other.example/mcp"), "untrusted"),
        ("issuer", issuer.token(audience, iss="https://evil.example"), "untrusted"),
        ("none", none, "untrusted"),
        ("confused", confused, "untrusted"),
        ("key", issuer.token(audience, key=ec.generate_private_key(ec.SECP256R1())), "untrusted"),
        ("kid", issuer.token(audience, kid="other"), "untrusted"),
        ("changed", f"{head}.{claims}.{other}", "untrusted"),
        ("not a token", "tg_abc", "malformed"),
    ]:
        answer = post(url, Authorization=bearer(token))
        assert answer.status_code == 401, (what, answer.text)
        assert answer.json()["error"]["message"] == f"Credentials not accepted ({word}).", what
        challenge = answer.headers["www-authenticate"]
        assert f'error="invalid_token", error_description="{word}"' in challenge
        assert 'resource_metadata="https://gate.example/.well-known/oauth-protected-resource/mcp"' in challenge
        assert 'scope="read"' in challenge
    for headers, status in [
        ([("Authorization", bearer(good)), ("Authorization", bearer(good))], 400),
        ([("Authorization", good)], 400),
        ([("X-API-Key", good)], 401),
        ([("Authorization", f"Basic {good}")], 401),
        ([("Authorization", bearer("x" * 1_000_000))], 431),
        ([("Authorization", bearer("x" * 30_000))], 401),
    ]:
        answer = httpx.post(url, content=LIST, headers=[*HEADERS.items(), *headers])
        assert answer.status_code == status, (headers[0][0], answer.text)
    query = httpx.post(f"{url}?access_token={good}", content=LIST, headers=HEADERS)
    assert query.status_code == 401
    gateway.line(r"guard\.jwt\.authorization\.failed")
    gateway.line(r"INFO .*requests refused because of their credentials")
    assert gateway.stop() == 0
    assert secret not in gateway.text() and claims not in gateway.text(), "a token is in the log"


def hmac_token(key: bytes, header: dict, claims: str) -> str:
    """A token whose HMAC key is the public key of the issuer."""
    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    signed = f"{encoded(json.dumps(header).encode())}.{claims}"
    return f"{signed}.{encoded(hmac.digest(key, signed.encode(), 'sha256'))}"


def test_metadata_is_found_at_all_its_places_and_not_from_the_host(broker, started, issuer):
    audience = "https://gate.example/tide/mcp"
    options = f"authorization: {{ oauth: {{ resource: {{ url: '{audience}', name: Plant }} }} }}"
    url = url_of(started(tokens(issuer, audience), options, broker.port, ""))
    origin = url.removesuffix("/mcp")
    for path in ("", "/mcp", "/tide/mcp"):
        answer = httpx.get(
            f"{origin}/.well-known/oauth-protected-resource{path}",
            headers={"Host": "evil.example", "Origin": "https://app.example"},
        )
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.json() == {
            "resource": audience,
            "authorization_servers": [issuer.url],
            "bearer_methods_supported": ["header"],
            "resource_name": "Plant",
        }


def test_a_certificate_is_an_identity(broker, started, authority):
    authority.sign("agent", "clientAuth")
    guards = "  agents: { type: x509, options: { identity: subject.cn } }\n"
    options = (
        "authorization: { agents: {} }, tls: { certificate: server.crt, key: server.key, "
        "clientCertificates: requested, trust: ca.crt }"
    )
    policy = "publish: [\"agents/${guarded['agents'].identity}/out\"]"
    url = url_of(started(guards, options, broker.port, policy))
    assert post(url, verify=trusting(authority)).status_code == 403

    def publish(topic: str) -> dict:
        params = {"name": "publish", "arguments": {"topic": topic, "payload": "x"}, "_meta": META}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        headers = {"Mcp-Method": "tools/call", "Mcp-Name": "publish"}
        return post(url, body, authority.context(), **headers).json()

    assert not publish("agents/agent/out")["result"].get("isError")
    broker.line(r"Received PUBLISH from \S+ .*'agents/agent/out'")
    assert publish("agents/other/out")["result"]["isError"]


def test_a_key_in_a_query_is_warned_of_and_not_logged(broker, started, keys):
    options = "authorization: { staff: { credentials: { query: { api_key: '{credentials}' } } } }"
    more = ("--log-level", "debug", "--log-calls")
    gateway = started(apikey(keys), options, broker.port, "", more=more)
    gateway.line(r"WARN .*credentials for 'staff' in the query of URLs")
    url, key = url_of(gateway), keys["olga"][0]
    assert httpx.post(f"{url}?api_key={key}", content=LIST, headers=HEADERS).status_code == 200
    assert post(url, X_API_Key=key).status_code == 401
    # In another parameter it is no credential, and no part of a log either.
    assert httpx.post(f"{url}?key={key}", content=LIST, headers=HEADERS).status_code == 401
    gateway.line(r"binding\.http\.request\.opened")
    assert gateway.stop() == 0
    assert key not in gateway.text()


def test_options_that_do_not_fit_a_guard_are_faults(tmp_path, keys):
    config = tmp_path / "gateway.yaml"
    for guards, options, expected in [
        (apikey(keys), "authorization: { staff: {} }", None),
        (apikey(keys), "authorization: { stuff: {} }", "unknown guard 'stuff'"),
        ("  staff: { type: x509 }\n", "authorization: { staff: {} }", "no client is asked for the certificate"),
        (
            apikey(keys),
            "authorization: { staff: { resource: { url: 'https://gate.example/mcp' } } }",
            "use a guard of type jwt",
        ),
    ]:
        config.write_text(
            f"name: test\nguards:\n{guards}bindings:\n"
            f"  http0: {{ type: http, kind: server, options: {{ listen: '0.0.0.0:0', {options} }}, exit: mcp_server0 }}\n"
            "  mcp_server0: { type: mcp, kind: server, exit: mcp_mqtt0 }\n"
            + toolkit(0, 1, 'subscribe: ["#"], publish: ["#"]')
        )
        done = subprocess.run([TIDEGATE, "validate", "--config", config], capture_output=True, text=True)
        assert done.returncode == (1 if expected else 0), done.stdout + done.stderr
        assert (expected or "") in done.stderr
