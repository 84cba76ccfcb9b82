"""What mosquitto denies the gateway: with an ACL file, and with dynamic security."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from surface import OPEN, Case, done, opened
from variations import Acl, DynamicSecurity


@pytest.fixture(params=[Acl, DynamicSecurity], ids=lambda peer: peer.__name__)
def protected(request) -> Iterator:
    with contextlib.ExitStack() as parts:

        def start(version: str) -> Case:
            broker = request.param(version)
            parts.callback(broker.stop)
            return opened(broker, version, parts, OPEN)

        yield start


async def arrives(case: Case, qos: int) -> tuple:
    """Publishes what is denied, and then what is permitted; returns the result, and the topics that arrived."""
    subscriber = case.subscriber("#")
    async with case.client() as client:
        denied = await client.call_tool("publish", {"topic": "secret/door", "payload": "open", "qos": qos})
        done(await client.call_tool("publish", {"topic": "public/lamp", "payload": "on", "qos": 1}))
    subscriber.wait("public/lamp")
    return denied, [message.topic for message in subscriber.messages()]


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_denied_message_is_refused_with_its_reason(protected, qos):
    denied, topics = await arrives(protected("5"), qos)
    assert denied.is_error and "Not authorized" in denied.content[0].text, denied
    assert topics == ["public/lamp"]


async def test_a_denied_message_of_311_is_acknowledged_and_lost(protected):
    """MQTT 3.1.1 has no reason codes: mosquitto acknowledges it, and drops it (3.1.1, 3.3.5)."""
    denied, topics = await arrives(protected("3.1.1"), 1)
    assert done(denied) == {"outcome": "acknowledged", "reasonCode": None, "matched": None}
    assert topics == ["public/lamp"]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_denied_subscription_brings_nothing(protected, version):
    case = protected(version)
    async with case.client() as client:
        result = await client.call_tool("receive", {"topic": "secret/door", "limit": 1, "timeout": 500})
    if result.is_error:
        assert "refused the subscription to 'secret/door'" in result.content[0].text, result
    else:
        # mosquitto checks an ACL file for each message, and grants the subscription.
        assert done(result)["messages"] == []
