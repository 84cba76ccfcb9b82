"""What ends when a client certificate expires while its client is connected."""

from __future__ import annotations

import json
import shutil
import ssl
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from conftest import PATIENCE, wait_until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from guarded import apikey, url_of
from test_network import HEADERS, LIST, META, Authority

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")

REVISION = "2025-11-25"
LEGACY = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
#: Seconds that a certificate is valid: time to connect and to open streams.
VALID = 8


def short_lived(authority: Authority, seconds: float) -> ssl.SSLContext:
    """What a client uses whose certificate expires soon. It is made anew for the same subject."""
    folder = authority.folder
    issuer = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(seconds=seconds))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "short.pem"
    file.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(file)
    return context


class Stream(threading.Thread):
    """Reads an event stream to its end, on a connection of its own."""

    def __init__(self, context: ssl.SSLContext, request: httpx.Request):
        super().__init__(daemon=True)
        self.client = httpx.Client(verify=context, timeout=PATIENCE + VALID)
        self.response = self.client.send(request, stream=True)
        self.lines: list[str] = []
        self.ended = False
        self.start()

    def run(self) -> None:
        for line in self.response.iter_lines():
            self.lines.append(line)
        self.ended = True

    def wait(self) -> list[str]:
        """The lines of the stream, once it has ended in order."""
        self.join(PATIENCE + VALID)
        assert self.ended, f"the stream has not ended: {self.lines}"
        self.client.close()
        return self.lines


def rpc(method: str, **params) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def begin(client: httpx.Client, url: str) -> dict[str, str]:
    """The headers of a new session."""
    about = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    begun = client.post(url, content=rpc("initialize", **about), headers=LEGACY)
    assert begun.status_code == 200, begun.text
    return {**LEGACY, "Mcp-Session-Id": begun.headers["mcp-session-id"], "MCP-Protocol-Version": REVISION}


# Without another guard, 401 would ask for a credential that no client could send on this connection.
@pytest.mark.parametrize("others, status", [(False, 403), (True, 401)], ids=["certificates-alone", "keys-too"])
def test_streams_end_and_requests_are_refused_when_a_certificate_expires(
    broker, started, authority, keys, others, status
):
    guards = "  agents: { type: x509, options: { identity: subject.cn } }\n" + (apikey(keys) if others else "")
    asked = "authorization: { agents: {}, staff: {} }" if others else "authorization: { agents: {} }"
    options = f"{asked}, tls: {{ certificate: server.crt, key: server.key, clientCertificates: requested, trust: ca.crt }}"
    url = url_of(started(guards, options, broker.port, "subscribe: [status/#]"))
    context = short_lived(authority, VALID)
    kept = httpx.Client(verify=context)
    session = begin(kept, url)
    events = Stream(context, httpx.Request("GET", url, headers=session))
    assert kept.post(url, content=rpc("resources/subscribe", uri="mqtt://status/a"), headers=session).status_code == 200
    listens = {**HEADERS, "Mcp-Method": "subscriptions/listen"}
    wanted = rpc("subscriptions/listen", notifications={"resourceSubscriptions": ["mqtt://status/b"]}, _meta=META)
    listen = Stream(context, httpx.Request("POST", url, content=wanted, headers=listens))
    assert kept.post(url, content=LIST, headers=HEADERS).status_code == 200

    assert ": credentials expired" in events.wait()
    last = [json.loads(line[5:]) for line in listen.wait() if line.startswith("data:")][-1]
    assert "credentials have expired" in last["error"]["message"], last
    broker.line(r"Received UNSUBSCRIBE from \S+|Received DISCONNECT")
    # The kept connection stays open, and has no identity any more.
    for body, headers in [(LIST, HEADERS), (rpc("tools/list"), session)]:
        answer = kept.post(url, content=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert "expired" in answer.json()["error"]["message"], answer.text
        assert ("www-authenticate" in answer.headers) == (status == 401)

    def connects() -> bool:
        try:
            answer = httpx.post(url, content=LIST, headers=HEADERS, verify=context)
        except httpx.TransportError:
            return False
        assert answer.status_code == status, answer.text
        return True

    # TLS accepts it during its last second.
    wait_until("new connections to be refused", lambda: not connects())
    # The same subject continues its session with its next certificate.
    with httpx.Client(verify=short_lived(authority, 3_600)) as renewed:
        answer = renewed.post(url, content=rpc("tools/list"), headers=session)
        assert answer.status_code == 200, answer.text
    kept.close()
