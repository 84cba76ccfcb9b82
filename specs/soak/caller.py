"""A well-behaved client: sequential calls on its own connection, each response checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from soak.config import HEADER_TIMEOUT, STEADY, TIMEOUT
from soak.ledger import Topic
from soak.mcp import BATCHES, LEGACY, MODERN, Answer, End, Session, Stateless, meaning
from soak.stage import Stage
from soak.wire import Closed, Connection

#: Additional time to wait for a response beyond the timeout of the gateway, for slow machines.
GRACE = 15.0
#: Idle seconds after which a connection is not reused: the gateway may be about to close it.
STALE = HEADER_TIMEOUT / 2
#: Error of a read without a retained message. It concerns the topic, not the broker.
NO_MESSAGE = "No message received"


class Caller:
    """A client of one protocol version. Lost sessions and connections are replaced."""

    def __init__(self, stage: Stage, name: str, revision: str) -> None:
        self.stage = stage
        self.name = name
        self.revision = revision
        self.session: Session | None = None
        self._calls = 0
        self._connection: Connection | None = None
        self._used = 0.0

    def identify(self) -> str:
        """The id of the next call."""
        self._calls += 1
        return f"{self.name}#{self._calls}"

    async def call(
        self, toolkit: str, operation: str, method: str, params: Mapping[str, Any], call: str = "", local: bool = False
    ) -> Answer:
        """Makes a call. A `local` call needs no broker and must never fail."""
        call = call or self.identify()
        requests = await self._requests(toolkit)
        if requests is None:
            now = time.monotonic()
            return Answer(End.FAILED, "no session could be begun", {}, now, now)
        message, answer = await self._ask(requests.request(call, method, params), call)
        if message is not None:
            self._understand(message, call, answer)
        self._judge(toolkit, operation, call, answer, local)
        return answer

    async def publish(self, topic: Topic, payload: str, qos: int, retain: bool = False) -> Answer:
        """Publishes the next message of a topic; `payload` contains its number."""
        call = self.identify()
        count = self.stage.ledger.called(topic, qos, call)
        params = publication(topic, payload, qos, retain)
        answer = await self.call(topic.toolkit, f"publish {qos}", "tools/call", params, call)
        self.stage.ledger.answered(topic, count, answer.end, answer.description)
        return answer

    async def batch(self, topic: Topic, messages: list[tuple[str, int]]) -> None:
        """Publishes several messages and a ping in one batch."""
        session = await self._requests(topic.toolkit)
        if not isinstance(session, Session):
            return
        calls = [(self.identify(), payload, qos) for payload, qos in messages]
        counts = [self.stage.ledger.called(topic, qos, call) for call, _, qos in calls]
        requests = [
            {"jsonrpc": "2.0", "id": call, "method": "tools/call", "params": publication(topic, payload, qos, False)}
            for call, payload, qos in calls
        ]
        ping = self.identify()
        requests.insert(len(requests) // 2, {"jsonrpc": "2.0", "id": ping, "method": "ping"})
        message, whole = await self._ask(session.batch(requests), ping)
        members = {item.get("id"): item for item in message} if isinstance(message, list) else {}
        if message is not None and set(members) != {request["id"] for request in requests}:
            description = f"a batch of {self.name} was answered with {str(message)[:300]}"
            self.stage.claims.broken("formed", description, call=ping)
        for (call, _, qos), count in zip(calls, counts, strict=True):
            answer = Answer(whole.end, whole.description, {}, whole.begun, whole.ended)
            if call in members:
                self._understand(members[call], call, answer)
            self._judge(topic.toolkit, f"publish {qos} batched", call, answer, False)
            self.stage.ledger.answered(topic, count, answer.end, answer.description)

    async def end(self) -> None:
        """Ends the session, and closes the connection."""
        if self.session and self._connection:
            await self._ask(self.session.end(), "")
            self.session = None
        self.drop()

    def drop(self) -> None:
        """Closes the connection; the next call opens another one."""
        if self._connection:
            self._connection.close()
            self._connection = None

    async def _requests(self, toolkit: str) -> Stateless | Session | None:
        """The request format of this client; begins a session if necessary."""
        if self.revision == MODERN:
            return Stateless()
        if self.session:
            return self.session
        call = self.identify()
        assert self.revision in (LEGACY, BATCHES)
        message, answer = await self._ask(Session.initialize(call, self.revision), call)
        if message is not None:
            self._understand(message, call, answer)
        self._judge(toolkit, "initialize", call, answer, True)
        if not answer.done:
            return None
        self.session = Session(self.revision, answer.result.pop("mcp-session-id"))
        return self.session

    async def _ask(self, request: bytes, call: str) -> tuple[Any, Answer]:
        """Sends a request. Its answer's JSON, None where there is none; and an answer that is still to be understood."""
        begun = time.monotonic()
        answer = Answer(End.UNANSWERED, "", {}, begun, begun)
        message = None
        try:
            if begun - self._used > STALE:
                self.drop()
            async with asyncio.timeout(TIMEOUT + GRACE):
                if self._connection is None:
                    self._connection = await self.stage.enter()
                response = await self._connection.exchange(request)
            self._used = time.monotonic()
            if call:
                message = response.message()
            if response.status == 404:
                self.session = None
            if session := response.headers.get("mcp-session-id"):
                answer.result["mcp-session-id"] = session
        except TimeoutError:
            answer.description = f"no answer within {TIMEOUT + GRACE} s"
        except (Closed, OSError) as error:
            answer.description = f"the connection ended: {error}"
        except ValueError:
            answer.description = f"answered {response.status}: {response.body[:300]!r}"
        if message is None:
            self.drop()
        answer.ended = time.monotonic()
        return message, answer

    def _understand(self, message: Any, call: str, answer: Answer) -> None:
        try:
            end, description, result = meaning(message, call)
        except (ValueError, KeyError, AttributeError):
            answer.description = f"answered {str(message)[:300]}"
            self.stage.claims.broken("formed", f"{call}: {answer.description}")
            return
        answer.end, answer.description = end, description
        answer.result |= result

    def _judge(self, toolkit: str, operation: str, call: str, answer: Answer, local: bool) -> None:
        """Records a call and the claims that its response violates."""
        stage = self.stage
        stage.tally.add(toolkit, operation, answer.end.value, answer.ended - answer.begun)
        if answer.done:
            return
        second = stage.claims.second
        faults = stage.disturbances[toolkit].within(answer.begun - 30, answer.ended)
        trace = {
            "call": call,
            "begun": second(answer.begun),
            "ended": second(answer.ended),
            "answer": answer.end.value,
            "description": answer.description[:300],
            "faults": [f"{fault.kind} {second(fault.begun)} to {second(fault.ended)}" for fault in faults],
        }
        what = f"{operation} over {toolkit}"
        if answer.end is End.UNANSWERED:
            stage.claims.broken("answered", f"{what}: {answer.description}", **trace)
            return
        session_lost = self.revision != MODERN and self.session is None
        if toolkit == STEADY or local or session_lost:
            stage.claims.broken("untouched", f"{what}: {answer.description}", **trace)
            return
        if stage.disturbances[toolkit].calm(answer.begun, answer.ended):
            stage.claims.broken("recovered", f"{what}: {answer.description}", **trace)
        if "127.0.0.1:" not in answer.description and not answer.description.startswith(NO_MESSAGE):
            stage.claims.broken("named", f"{what}: {answer.description}", **trace)


def publication(topic: Topic, payload: str, qos: int, retain: bool) -> dict[str, Any]:
    """The params of a call of publish."""
    arguments: dict[str, Any] = {"topic": topic.name, "payload": payload, "qos": qos}
    if retain:
        arguments["retain"] = True
    return {"name": f"{topic.toolkit}__publish", "arguments": arguments}
