"""MCP servers of the official SDK, which a gateway calls: `upstream.py stdio`, or `upstream.py PORT [json] [stateless]`."""

from __future__ import annotations

import asyncio
import os
import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from pydantic import BaseModel

server = MCPServer("upstream", version="1.0")


@server.tool()
def echo(text: str) -> str:
    """Returns the text."""
    return text


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("it failed")


@server.tool()
def environment(name: str) -> str:
    """Returns a variable of the environment of the server."""
    return os.environ.get(name, "none")


@server.tool()
def headers(ctx: Context) -> dict[str, str]:
    """Returns the headers of the request."""
    request = ctx.request_context.request
    return dict(request.headers) if request else {}


@server.tool()
async def work(steps: int, ctx: Context) -> str:
    """Reports progress for each step."""
    for step in range(steps):
        await ctx.report_progress(step + 1, steps, f"step {step + 1}")
    return "done"


@server.tool()
async def sleep(seconds: float) -> str:
    """Sleeps."""
    await asyncio.sleep(seconds)
    return "awake"


class Answer(BaseModel):
    go_on: bool


@server.tool()
async def ask(question: str, ctx: Context) -> str:
    """Asks the user."""
    answer = await ctx.elicit(question, Answer)
    return f"{answer.action}: {answer.data.go_on}" if answer.action == "accept" else answer.action


@server.tool()
def die() -> str:
    """Ends the process."""
    os._exit(3)


@server.resource("memo://one")
def memo() -> str:
    """A memo."""
    return "one"


@server.resource("memo://{name}/page")
def page(name: str) -> str:
    """A page of a memo."""
    return f"page of {name}"


@server.prompt()
def greet(name: str) -> str:
    """Greets."""
    return f"Say hello to {name}."


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        print("ready", file=sys.stderr)
        server.run("stdio")
    else:
        server.run(
            "streamable-http",
            host="127.0.0.1",
            port=int(sys.argv[1]),
            json_response="json" in sys.argv,
            stateless_http="stateless" in sys.argv,
        )
