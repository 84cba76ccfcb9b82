"""MCP over MQTT 5 without tidegate: a device that calls tools, and a device that is a server (specs/mcp-over-mqtt5.md).

Both are paho-mqtt and the standard library, as a microcontroller would do it.
"""

from __future__ import annotations

import json
import os
import queue
import threading

import paho.mqtt.client as paho
from conftest import PATIENCE, Broker
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def properties(**members) -> Properties:
    made = Properties(PacketTypes.PUBLISH)
    for name, value in members.items():
        setattr(made, name, value)
    return made


class Peer:
    """A client of the broker that is connected and subscribed."""

    def __init__(self, broker: Broker, identity: str, topics: list[str], will: str | None = None, version: int = paho.MQTTv5):
        self.mqtt = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=identity, protocol=version)
        if will:
            self.mqtt.will_set(will, b"", qos=1, retain=True)
        self.mqtt.on_message = self.on_message
        ready = threading.Event()
        self.mqtt.on_connect = lambda *_: self.mqtt.subscribe([(topic, 1) for topic in topics])
        self.mqtt.on_subscribe = lambda *_: ready.set()
        self.mqtt.connect("127.0.0.1", broker.port)
        self.mqtt.loop_start()
        assert ready.wait(PATIENCE)

    def on_message(self, _client, _data, message) -> None:
        raise NotImplementedError

    def publish(self, topic: str, payload: bytes, retain: bool = False, **members) -> None:
        props = properties(**members) if members else None
        self.mqtt.publish(topic, payload, qos=1, retain=retain, properties=props).wait_for_publish(PATIENCE)

    def stop(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


class Device(Peer):
    """A client of MCP."""

    def __init__(self, broker: Broker, base: str, name: str):
        self.base, self.name = base, name
        self.answers: dict[bytes, queue.Queue] = {}
        self.discovered: queue.Queue = queue.Queue()
        self.response = f"{base}/response/{name}/{os.urandom(4).hex()}"
        super().__init__(broker, f"device-{name}", [self.response, f"{base}/discover"])

    def on_message(self, _client, _data, message) -> None:
        if message.topic.endswith("/discover"):
            self.discovered.put(json.loads(message.payload) if message.payload else None)
        else:
            self.answers[message.properties.CorrelationData].put(message)

    def send(self, message: dict | bytes, correlation: bytes | None = None, expiry: int = 10, user: list | None = None) -> bytes:
        correlation = correlation or os.urandom(16)
        self.answers.setdefault(correlation, queue.Queue())
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.publish(
            f"{self.base}/request/{self.name}",
            payload,
            ResponseTopic=self.response,
            CorrelationData=correlation,
            MessageExpiryInterval=expiry,
            UserProperty=user or [],
        )
        return correlation

    def request(self, method: str, params: dict | None = None, meta: dict | None = None, **options) -> bytes:
        params = {**(params or {}), "_meta": {**META, **(meta or {})}}
        return self.send({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, **options)

    def reply(self, correlation: bytes):
        """The next reply, and whether it is the last one."""
        message = self.answers[correlation].get(timeout=PATIENCE)
        return json.loads(message.payload), ("mcp-final", "1") in getattr(message.properties, "UserProperty", [])

    def result(self, correlation: bytes) -> dict:
        """The response, after the notifications before it."""
        while True:
            reply, is_last = self.reply(correlation)
            if is_last:
                return reply

    def call(self, method: str, params: dict | None = None, **options) -> dict:
        return self.result(self.request(method, params, **options))


class Server(Peer):
    """A server of MCP with two tools, one of which takes its time."""

    TOOLS = [
        {"name": "set_target", "description": "Sets the target.", "inputSchema": {"type": "object", "properties": {"celsius": {"type": "number"}}}},
        {"name": "wait", "description": "Waits until it is cancelled.", "inputSchema": {"type": "object"}},
    ]

    def __init__(self, broker: Broker, base: str, name: str, group: str | None = None):
        self.base, self.calls, self.cancelled = base, [], queue.Queue()
        self.remembered: dict[bytes, tuple] = {}
        share = f"$share/{group}/" if group else ""
        super().__init__(broker, f"server-{name}", [f"{share}{base}/request/+"], will=f"{base}/discover")
        self.announce()

    def announce(self) -> None:
        result = {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {"listChanged": True}},
            "ttlMs": 60000,
            "cacheScope": "public",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "boiler", "version": "1"}},
        }
        self.mqtt.publish(f"{self.base}/discover", json.dumps(result), qos=1, retain=True)

    def on_message(self, _client, _data, message) -> None:
        # Nothing may be waited for here, in the thread that receives.
        if message.retain:
            return
        request = json.loads(message.payload)
        correlation = message.properties.CorrelationData
        if request["method"] == "notifications/cancelled":
            return self.cancelled.put(request["params"]["requestId"])
        if correlation in self.remembered:
            return self.answer(*self.remembered[correlation])
        respond = message.properties.ResponseTopic, correlation, request
        if request["method"] == "subscriptions/listen":
            subscription = {"io.modelcontextprotocol/subscriptionId": request["id"]}
            params = {"_meta": subscription, "notifications": {"toolsListChanged": True}}
            self.tell(*respond[:2], "notifications/subscriptions/acknowledged", params)
            return None
        params = request.get("params", {})
        if request["method"] == "tools/list":
            result = {"tools": self.TOOLS, "ttlMs": 0, "cacheScope": "private"}
        elif request["method"] == "tools/call" and params["name"] == "set_target":
            self.calls.append((params["arguments"], dict(message.properties.UserProperty)))
            token = params["_meta"].get("progressToken")
            if token is not None:
                self.tell(*respond[:2], "notifications/progress", {"progressToken": token, "progress": 1, "total": 2})
            result = {"content": [{"type": "text", "text": f"{params['arguments']['celsius']} °C"}]}
        elif request["method"] == "tools/call":
            self.calls.append((params["name"], {}))
            return None
        else:
            error = {"code": -32601, "message": f"Method not found: '{request['method']}'."}
            return self.answer(*respond, error=error)
        self.remembered[correlation] = (*respond, result)
        return self.answer(*respond, result)

    def tell(self, topic: str, correlation: bytes, method: str, params: dict) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.mqtt.publish(topic, json.dumps(message), qos=1, properties=properties(CorrelationData=correlation))

    def answer(self, topic: str, correlation: bytes, request: dict, result: dict | None = None, error: dict | None = None) -> None:
        message = {"jsonrpc": "2.0", "id": request["id"]}
        message |= {"error": error} if error else {"result": {"resultType": "complete", **result}}
        last = properties(CorrelationData=correlation, UserProperty=[("mcp-final", "1")])
        self.mqtt.publish(topic, json.dumps(message), qos=1, properties=last)

    def stop(self) -> None:
        self.publish(f"{self.base}/discover", b"", retain=True)
        super().stop()

    def kill(self) -> None:
        """The connection is lost, and the broker publishes the will."""
        self.mqtt.loop_stop()
        self.mqtt.socket().close()
