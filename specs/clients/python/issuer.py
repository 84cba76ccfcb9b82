"""A small OAuth authorization server: discovery, registration, PKCE, and tokens signed with ES256.

It asks nobody: whoever is sent to its authorization page is `subject`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec


class Issuer:
    """Runs on a free port until `stop`."""

    def __init__(self, subject: str = "olga"):
        self.subject = subject
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.codes: dict[str, dict] = {}
        self.seen: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def token(self, audience: str, scope: str = "", key=None, algorithm: str = "ES256", kid="k1", **claims) -> str:
        now = int(time.time())
        stated = {"iss": self.url, "sub": self.subject, "aud": audience, "scope": scope, "iat": now, "exp": now + 600}
        stated |= claims
        return jwt.encode(stated, key or self.key, algorithm=algorithm, headers={"kid": kid})

    def keys(self) -> dict:
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": "k1", "use": "sig", "alg": "ES256"}]}

    def metadata(self) -> dict:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": True,
        }

    def authorize(self, asked: dict) -> str:
        """Where the browser is sent to."""
        assert asked["code_challenge_method"] == "S256", asked
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.url}
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    def exchange(self, asked: dict) -> dict | None:
        """The response of the token endpoint; a code is good for one."""
        granted = self.codes.pop(asked.get("code"), None)
        digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if not granted or granted["code_challenge"] != challenge or granted["resource"] != asked.get("resource"):
            return None
        scope = granted.get("scope", "")
        return {
            "access_token": self.token(granted["resource"], scope),
            "token_type": "Bearer",
            "expires_in": 600,
            "scope": scope,
        }


def handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            issuer.seen.append(parts.path)
            if parts.path == "/.well-known/oauth-authorization-server":
                self.answer(200, issuer.metadata())
            elif parts.path == "/keys":
                self.answer(200, issuer.keys())
            elif parts.path == "/authorize":
                location = issuer.authorize(dict(parse_qsl(parts.query)))
                self.answer(302, {}, location)
            else:
                self.answer(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            issuer.seen.append(self.path)
            if self.path == "/register":
                self.answer(201, {**json.loads(body), "client_id": "registered"})
            elif self.path == "/token":
                tokens = issuer.exchange(dict(parse_qsl(body.decode())))
                self.answer(200 if tokens else 400, tokens or {"error": "invalid_grant"})
            else:
                self.answer(404, {})

        def answer(self, status: int, body: dict, location: str | None = None) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            if location:
                self.send_header("location", location)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_) -> None:
            pass

    return Handler
