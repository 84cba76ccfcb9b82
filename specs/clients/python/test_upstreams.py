"""Other MCP servers behind the gateway: the official SDK's, over HTTP and as a process, driven by the official client."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest
from conftest import Broker, Gateway, Process, connected, entry, free_port, toolkit
from mcp import Client, MCPError, types

UPSTREAM = Path(__file__).with_name("upstream.py")


class Upstream(Process):
    """A server over HTTP."""

    def __init__(self, *options: str, port: int | None = None):
        self.port = port or free_port()
        super().__init__([sys.executable, str(UPSTREAM), str(self.port), *options])
        self.line(r"Uvicorn running")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


@pytest.fixture
def upstream():
    server = Upstream()
    yield server
    server.stop()


def over_http(url: str, options: str = "", http: str = "") -> str:
    """An `mcp · client` for a URL."""
    return f"  up0: {{ type: mcp, kind: client, options: {{ url: '{url}', http: {{ proxy: none, {http} }}, {options} }} }}\n"


def as_process(options: str = "", stdio: str = "") -> str:
    """An `mcp · client` for a process."""
    return (
        f"  up0: {{ type: mcp, kind: client, options: {{ command: '{sys.executable}', "
        f"stdio: {{ args: ['{UPSTREAM}', stdio], {stdio} }}, {options} }} }}\n"
    )


def transparent(transport: str, client: str) -> str:
    """The server alone, without a prefix."""
    return "name: test\nworkers: 1\nbindings:\n" + entry(transport).replace("mcp0", "up0") + client


def prefixed(transport: str, client: str, broker: Broker) -> str:
    """The server as a toolkit beside a broker."""
    proxy = (
        "  mcp_proxy0: { type: mcp, kind: proxy, routes: [ { when: [ { toolkit: up } ], exit: up0 }, "
        "{ when: [ { toolkit: plant } ], exit: mcp_mqtt1 } ] }\n"
    )
    kit = toolkit(1, broker.port)
    head = "name: test\nworkers: 1\nbindings:\n" + entry(transport).replace("mcp0", "mcp_proxy0")
    return head + proxy + client + kit


@pytest.fixture(params=["http", "http legacy", "http json", "process", "process legacy"])
def client(request, upstream) -> str:
    """An `mcp · client` of each transport and era."""
    era = "era: legacy" if "legacy" in request.param else ""
    if request.param.startswith("process"):
        return as_process(era)
    if "json" in request.param:
        upstream.stop()
        upstream.__init__("json")
    return over_http(upstream.url, era)


async def test_every_surface_of_a_server_is_there(transport, mode, client):
    async with connected(transport, mode, transparent(transport, client)) as sdk:
        tools = {tool.name: tool for tool in (await sdk.list_tools()).tools}
        assert {"echo", "fail", "work"} <= set(tools)
        assert tools["echo"].description == "Returns the text."
        result = await sdk.call_tool("echo", {"text": 'größe "1"\n'})
        assert not result.is_error and result.content[0].text == 'größe "1"\n'
        failed = await sdk.call_tool("fail", {})
        assert failed.is_error and "fail" in failed.content[0].text
        resources = [str(it.uri) for it in (await sdk.list_resources()).resources]
        assert resources == ["memo://one"]
        assert (await sdk.read_resource("memo://one")).contents[0].text == "one"
        assert (await sdk.read_resource("memo://two/page")).contents[0].text == "page of two"
        templates = (await sdk.list_resource_templates()).resource_templates
        assert [it.uri_template for it in templates] == ["memo://{name}/page"]
        prompts = (await sdk.list_prompts()).prompts
        assert [it.name for it in prompts] == ["greet"]
        prompt = await sdk.get_prompt("greet", {"name": "Ada"})
        assert prompt.messages[0].content.text == "Say hello to Ada."
        with pytest.raises(MCPError):
            await sdk.read_resource("memo://unknown")


async def test_a_toolkit_beside_a_broker(transport, mode, client, broker):
    async with connected(transport, mode, prefixed(transport, client, broker)) as sdk:
        # A list waits `listTimeout` for a toolkit, a call as long as it takes a process to start.
        assert (await sdk.call_tool("up__echo", {"text": "a"})).content[0].text == "a"
        tools = [tool.name for tool in (await sdk.list_tools()).tools]
        assert "up__echo" in tools and "plant__publish" in tools
        published = await sdk.call_tool("plant__publish", {"topic": "x", "payload": "1", "qos": 1})
        assert not published.is_error
        assert (await sdk.read_resource("up+memo://one")).contents[0].text == "one"
        prompts = [prompt.name for prompt in (await sdk.list_prompts()).prompts]
        assert prompts == ["up__greet"]


async def test_progress_reaches_the_client(mode, client, request):
    if "json" in request.node.callspec.params["client"]:
        pytest.skip("a server that answers with JSON alone sends no progress")
    async with connected("http", mode, transparent("http", client)) as sdk:
        told = []

        async def progress(progress, total, message):
            told.append((progress, total, message))

        result = await sdk.call_tool("work", {"steps": 3}, progress_callback=progress)
        assert result.content[0].text == "done"
        assert [step for step, _, _ in told] == [1, 2, 3]


async def test_the_user_of_a_client_is_asked(mode, upstream):
    """By a legacy server, of clients of both eras. The SDK's modern server has no way to ask while a tool runs."""

    async def accept(_context, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert params.message == "Go on?"
        return types.ElicitResult(action="accept", content={"go_on": True})

    config = transparent("http", over_http(upstream.url, "era: legacy"))
    async with connected("http", mode, config, elicitation_callback=accept) as sdk:
        result = await sdk.call_tool("ask", {"question": "Go on?"})
        assert not result.is_error and result.content[0].text == "accept: True"


async def test_fifty_calls_at_once(client):
    async with connected("http", "2026-07-28", transparent("http", client)) as sdk:
        calls = (sdk.call_tool("echo", {"text": str(index)}) for index in range(50))
        results = await asyncio.gather(*calls)
        assert [it.content[0].text for it in results] == [str(index) for index in range(50)]


async def test_a_server_that_is_restarted_is_used_again(mode, upstream):
    config = transparent("http", over_http(upstream.url, "era: legacy"))
    async with connected("http", mode, config) as sdk:
        assert (await sdk.call_tool("echo", {"text": "a"})).content[0].text == "a"
        upstream.stop()
        with pytest.raises(MCPError, match="connection refused"):
            await sdk.call_tool("echo", {"text": "b"})
        upstream.__init__(port=upstream.port)
        # The session is unknown to the new server, and is begun again silently.
        assert (await sdk.call_tool("echo", {"text": "c"})).content[0].text == "c"


async def test_a_process_that_dies_is_named_and_started_again(mode):
    async with connected("http", mode, transparent("http", as_process())) as sdk:
        assert (await sdk.call_tool("echo", {"text": "a"})).content[0].text == "a"
        with pytest.raises(MCPError, match="exit status 3"):
            await sdk.call_tool("die", {})
        assert (await sdk.call_tool("echo", {"text": "b"})).content[0].text == "b"


async def test_a_process_does_not_get_the_secrets_of_the_gateway(monkeypatch):
    monkeypatch.setenv("TIDEGATE_TEST_SECRET", "secret")
    config = transparent("http", as_process(stdio="environment: { GIVEN: yes-1 }"))
    async with connected("http", "2026-07-28", config) as sdk:
        for name, value in [("GIVEN", "yes-1"), ("TIDEGATE_TEST_SECRET", "none")]:
            assert (await sdk.call_tool("environment", {"name": name})).content[0].text == value


async def test_a_server_that_is_missing_does_not_take_the_others_away(broker):
    client = over_http(f"http://127.0.0.1:{free_port()}/mcp")
    async with connected("http", "2026-07-28", prefixed("http", client, broker)) as sdk:
        tools = [tool.name for tool in (await sdk.list_tools()).tools]
        assert "plant__publish" in tools and not any(name.startswith("up__") for name in tools)
        with pytest.raises(MCPError, match="connection refused"):
            await sdk.call_tool("up__echo", {"text": "a"})
        assert not (await sdk.call_tool("plant__publish", {"topic": "x", "payload": "1"})).is_error


async def test_the_servers_get_the_credentials_of_the_gateway_and_never_those_of_a_caller(upstream):
    import httpx

    http = "authorization: { bearer: of-the-gateway }, headers: { x-api-key: key-1 }"
    gateway = Gateway(transparent("http", over_http(upstream.url, http=http)))
    try:
        own = {"authorization": "Bearer of-the-caller", "cookie": "session=1", "x-api-key": "of-the-caller"}
        async with contextlib.AsyncExitStack() as stack:
            from mcp.client.streamable_http import streamable_http_client

            session = await stack.enter_async_context(httpx.AsyncClient(headers=own))
            transport = streamable_http_client(gateway.url, http_client=session)
            sdk = await stack.enter_async_context(Client(transport, mode="2026-07-28"))
            seen = (await sdk.call_tool("headers", {})).structured_content
        assert seen["authorization"] == "Bearer of-the-gateway"
        assert seen["x-api-key"] == "key-1"
        assert "of-the-caller" not in str(seen) and "cookie" not in seen
    finally:
        gateway.stop()


async def test_a_cancelled_call_ends_and_the_next_one_works(client):
    async with connected("http", "2026-07-28", transparent("http", client)) as sdk:
        with pytest.raises((MCPError, asyncio.TimeoutError)):
            await asyncio.wait_for(sdk.call_tool("sleep", {"seconds": 60}), 0.5)
        assert (await sdk.call_tool("echo", {"text": "a"})).content[0].text == "a"
