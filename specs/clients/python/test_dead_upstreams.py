"""Upstreams that are dead, slow or killed: the other toolkits of a federation are there, at once."""

from __future__ import annotations

import asyncio
import time

from conftest import PATIENCE, connected, entry, free_port
from kills import PlainUpstream, Run, over_http

#: How long the slow upstream takes for each answer, in seconds.
SLOW = 5.0
#: No part of a connect may wait for the slow upstream, or for the default deadline (3 s) of the dead one and then for
#: another; the deadline of 500 ms leaves the rest to a slow machine.
AT_ONCE = 4.0


def config(urls: dict[str, str]) -> str:
    routes = ", ".join(f"{{ when: [ {{ toolkit: {name} }} ], exit: {name}0 }}" for name in urls)
    options = "options: { deadline: 500 }"
    text = "name: test\nworkers: 1\nbindings:\n" + entry("http").replace("mcp0", "mcp_proxy0")
    text += f"  mcp_proxy0: {{ type: mcp, kind: proxy, {options}, routes: [ {routes} ] }}\n"
    return text + "".join(over_http(name, url) for name, url in urls.items())


async def test_a_dead_and_a_slow_toolkit_are_not_waited_for_and_the_dead_one_returns(parts):
    live, slow = PlainUpstream("live"), PlainUpstream("slow", delay=SLOW)
    parts.callback(live.stop)
    parts.callback(slow.stop)
    dead_port = free_port()
    urls = {"live": live.url, "dead": f"http://127.0.0.1:{dead_port}/mcp", "slow": slow.url}
    changed, told = asyncio.Event(), 0

    async def handler(message) -> None:
        nonlocal told
        if getattr(getattr(message, "root", message), "method", "") == "notifications/tools/list_changed":
            told += 1
            changed.set()

    began = time.monotonic()
    async with connected("http", "legacy", config(urls), message_handler=handler) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        took = time.monotonic() - began
        assert names == ["live__echo", "live__pid"]
        assert took < AT_ONCE, f"connect and list took {took:.2f} s"
        assert told == 0
        dead = PlainUpstream("dead", dead_port)
        parts.callback(dead.stop)

        async def is_listed() -> None:
            # The slow one may return before, and its lists are told of too.
            while "dead__echo" not in [tool.name for tool in (await client.list_tools()).tools]:
                await changed.wait()
                changed.clear()

        await asyncio.wait_for(is_listed(), 3 * PATIENCE)
        assert told >= 1
        result = await client.call_tool("dead__echo", {"text": "a"})
        assert result.content[0].text == "dead: a"


def test_no_toolkit_notices_that_the_upstream_of_another_one_is_killed():
    run = Run(calls=1_000, kills=4)
    run.play()
    run.check()
