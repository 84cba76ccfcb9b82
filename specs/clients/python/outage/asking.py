"""How devices ask, and how they read their answers: with what is in the payload, or with the properties of MQTT 5."""

from __future__ import annotations

import json
from collections.abc import Iterator

from packets import length_of, text

from outage.broker import MortalBroker, OtherBroker
from outage.publisher import Publisher

#: Message Expiry Interval of the requests of devices with MQTT 5, in seconds. Nobody waits longer for an answer.
EXPIRY = 30
EXPIRY_INTERVAL, RESPONSE_TOPIC, CORRELATION_DATA = b"\x02", b"\x08", b"\x09"


class OldDevices:
    """Their requests have an id in the payload, and the config says where the answers go. Nothing expires."""

    #: What the gateway's route says of answers, and its options.
    route = 'answer: { topic: "devices/{device}/answer" }'
    options = ""
    #: How long a device waits for an answer, in seconds: as long as the gateway may take.
    patience = None

    def __init__(self, broker: MortalBroker | OtherBroker, qos: int) -> None:
        # Some brokers have MQTT 5 alone; a message without properties is the same there.
        version = "3.1.1" if isinstance(broker, MortalBroker) else "5"
        self._publisher = Publisher(broker.port, version, qos)
        self._answers = broker.answers("devices/+/answer")

    async def ask(self, device: int, number: int) -> None:
        await self._publisher.publish(f"devices/{device}/call", json.dumps({"id": number}))

    def answers(self) -> Iterator[tuple[int, int, dict]]:
        """Device, number and content of the answers that have come since the last time."""
        for topic, payload in self._answers.new():
            answer = json.loads(payload)
            yield int(topic.split("/")[1]), answer["id"], answer

    def close(self) -> None:
        self._publisher.close()
        self._answers.stop()


class NewDevices:
    """Their requests have Correlation Data, a Response Topic and a Message Expiry Interval."""

    route = ""
    options = 'replyTopics: [ "devices/{device}/answers/#" ]'
    patience = EXPIRY

    def __init__(self, broker: MortalBroker | OtherBroker, qos: int) -> None:
        self._publisher = Publisher(broker.port, "5", qos)
        self._answers = broker.answers("devices/+/answers/+", "%D|%p")

    async def ask(self, device: int, number: int) -> None:
        reply = RESPONSE_TOPIC + text(f"devices/{device}/answers/1")
        properties = EXPIRY_INTERVAL + EXPIRY.to_bytes(4) + reply + CORRELATION_DATA + text(str(number))
        # The id is for the arguments of the tool alone: the Correlation Data comes before it.
        payload = json.dumps({"id": number})
        await self._publisher.publish(f"devices/{device}/call", payload, properties=length_of(len(properties)) + properties)

    def answers(self) -> Iterator[tuple[int, int, dict]]:
        for topic, line in self._answers.new():
            correlation, payload = line.split("|", 1)
            answer = json.loads(payload)
            assert "id" not in answer, "with Correlation Data, the id is not repeated"
            yield int(topic.split("/")[1]), int(correlation), answer

    def close(self) -> None:
        self._publisher.close()
        self._answers.stop()


#: By the version of MQTT of the devices.
DEVICES = {"3.1.1": OldDevices, "5": NewDevices}
