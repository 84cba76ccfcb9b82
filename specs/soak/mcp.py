"""MCP requests in each protocol version, and the interpretation of responses."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soak.wire import post

MODERN, LEGACY, BATCHES = "2026-07-28", "2025-11-25", "2025-03-26"
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def named(method: str, params: Mapping[str, Any]) -> str | None:
    """The value of the Mcp-Name header for params."""
    return params.get("uri") if method == "resources/read" else params.get("name")


class Stateless:
    """Requests of 2026-07-28, with version, method and name in headers."""

    def request(self, call: str, method: str, params: Mapping[str, Any]) -> bytes:
        body = {"jsonrpc": "2.0", "id": call, "method": method, "params": {**params, "_meta": META}}
        headers = {**HEADERS, "mcp-protocol-version": MODERN, "mcp-method": method}
        if name := named(method, params):
            headers["mcp-name"] = name
        return post(encoded(body), headers)


@dataclass
class Session:
    """Requests within a session of an older revision."""

    revision: str
    identity: str

    @staticmethod
    def initialize(call: str, revision: str) -> bytes:
        params = {
            "protocolVersion": revision,
            "capabilities": {},
            "clientInfo": {"name": "soak", "version": "1"},
        }
        body = {"jsonrpc": "2.0", "id": call, "method": "initialize", "params": params}
        return post(encoded(body), HEADERS)

    @property
    def headers(self) -> dict[str, str]:
        return {**HEADERS, "mcp-session-id": self.identity, "mcp-protocol-version": self.revision}

    def request(self, call: str, method: str, params: Mapping[str, Any]) -> bytes:
        return post(encoded({"jsonrpc": "2.0", "id": call, "method": method, "params": params}), self.headers)

    def batch(self, messages: list[dict[str, Any]]) -> bytes:
        return post(encoded(messages), self.headers)

    def events(self) -> bytes:
        """The GET that opens the session's event stream."""
        headers = {**self.headers, "accept": "text/event-stream"}
        return post(b"", headers, "GET").replace(b"content-length: 0\r\n", b"")

    def end(self) -> bytes:
        return post(b"", self.headers, "DELETE")


class End(enum.Enum):
    """The outcome of a call, according to its response."""

    DONE = "done"
    #: It was not sent to the broker.
    UNSENT = "not sent"
    #: It may have reached the broker.
    UNCONFIRMED = "unconfirmed"
    #: It failed otherwise.
    FAILED = "failed"
    #: No answer came, or none that can be read.
    UNANSWERED = "unanswered"


@dataclass
class Answer:
    """The response of a call, and its time."""

    end: End
    #: The human-readable text.
    description: str
    result: dict[str, Any]
    begun: float
    ended: float

    @property
    def done(self) -> bool:
        return self.end is End.DONE


def meaning(message: Any, call: str) -> tuple[End, str, dict[str, Any]]:
    """Interprets a response. Raises ValueError if it does not belong to the call."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or message.get("id") != call:
        raise ValueError(f"no answer to {call}")
    if "error" in message:
        description = message["error"]["message"]
        return failure(description), description, {}
    result = message["result"]
    if not result.get("isError"):
        return End.DONE, "", result
    description = " ".join(str(item.get("text", "")) for item in result["content"])
    return failure(description), description, result


def failure(description: str) -> End:
    """The outcome for an error message, which always states whether a message may have been delivered."""
    if re.search(r"may (still )?have been (delivered|sent|published)", description):
        return End.UNCONFIRMED
    if re.search(r"\bnot (delivered|sent)\b", description, re.IGNORECASE):
        return End.UNSENT
    return End.FAILED
