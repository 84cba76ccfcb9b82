"""Calls of the gateway, over HTTP."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import httpx

REVISION = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": REVISION, "io.modelcontextprotocol/clientCapabilities": {}}


class Endpoint:
    """The endpoint of a gateway. `async with` opens its connections."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.AsyncClient(timeout=90)

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(self, *_) -> None:
        await self._http.aclose()

    async def call(self, tool: str, **arguments) -> dict:
        """The answer to `tools/call`, with `result` or `error`."""
        return (await self._post("tools/call", tool, name=tool, arguments=arguments)).json()

    async def read(self, uri: str) -> str | None:
        """The text of a resource; None if it could not be read."""
        answer = (await self._post("resources/read", uri, uri=uri)).json()
        return answer["result"]["contents"][0]["text"] if "result" in answer else None

    @contextlib.asynccontextmanager
    async def listen(self, uri: str) -> AsyncIterator[AsyncIterator[dict]]:
        """The messages of `subscriptions/listen` for updates of a resource. The first says that it has begun."""
        notifications = {"resourceSubscriptions": [uri]}
        body, headers = self._request("subscriptions/listen", None, notifications=notifications)
        async with self._http.stream("POST", self.url, json=body, headers=headers) as answer:
            yield self._events(answer)

    @staticmethod
    async def _events(answer: httpx.Response) -> AsyncIterator[dict]:
        async for line in answer.aiter_lines():
            if line.startswith("data:") and (data := line.removeprefix("data:").strip()):
                yield json.loads(data)

    async def _post(self, method: str, name: str | None, /, **params) -> httpx.Response:
        body, headers = self._request(method, name, **params)
        return await self._http.post(self.url, json=body, headers=headers)

    @staticmethod
    def _request(method: str, name: str | None, /, **params) -> tuple[dict, dict]:
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": REVISION,
            "mcp-method": method,
        }
        if name:
            headers["mcp-name"] = name
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}, headers
