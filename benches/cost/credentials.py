"""Guards for the measured gateway, and the header that a client presents to them."""

import base64
import json
import re
import subprocess
import time

ISSUER = "https://id.example/realms/cost"
AUDIENCE = "https://gate.example/mcp"


def key(binary):
    """A guard of keys; the key is one of `tidegate genkey`."""
    made = subprocess.run([binary, "genkey", "--identity", "cost"], check=True, capture_output=True, text=True)
    said = made.stdout + made.stderr
    stored = {"identity": "cost", "id": found(r'id: "?(\w+)', said), "hash": found(r'hash: "([^"]+)"', said)}
    guard = {"type": "apikey", "options": {"keys": [stored]}}
    return guard, f"x-api-key: {found(r'tg_[0-9A-Za-z_]+', said)}"


def token(directory):
    """A guard of tokens with its one key in the config; the token has some claims, as those of users have."""
    private = directory / "cost.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private)
    # The point is at the end of the public key: x and y of 32 bytes.
    point = openssl("pkey", "-in", private, "-pubout", "-outform", "DER")[-64:]
    public = {"kty": "EC", "crv": "P-256", "kid": "cost", "x": encoded(point[:32]), "y": encoded(point[32:])}
    claims = {
        "iss": ISSUER,
        "sub": "f3a0c9b1-6d2e-4b7a-9c35-0d1e2f3a4b5c",
        "aud": AUDIENCE,
        "exp": int(time.time()) + 86_400,
        "iat": int(time.time()),
        "jti": "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d",
        "client_id": "agent",
        "scope": "openid profile plant:read plant:write",
        "groups": [f"/plants/{number}/operators" for number in range(6)],
    }
    head = encoded(json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": "cost"}).encode())
    signed = f"{head}.{encoded(json.dumps(claims).encode())}"
    signature = raw(openssl("dgst", "-sha256", "-sign", private, input=signed.encode()))
    options = {"issuer": ISSUER, "audience": AUDIENCE, "keys": [public]}
    return {"type": "jwt", "options": options}, f"authorization: Bearer {signed}.{encoded(signature)}"


def raw(der):
    """A signature as JWS has it, of one in DER: a sequence of two integers of at most 33 bytes."""
    numbers, rest = b"", der[2:]
    while rest:
        length = rest[1]
        numbers += int.from_bytes(rest[2 : 2 + length], "big").to_bytes(32, "big")
        rest = rest[2 + length :]
    return numbers


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def found(pattern, text):
    match = re.search(pattern, text)
    return match.group(match.lastindex or 0)


def openssl(*arguments, input=None):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, input=input).stdout
