"""The soak's own HTTP and MQTT do what they are description, so that what is seen is the gateway's doing."""

from __future__ import annotations

from soak import mqtt
from soak.wire import Response, data_of


def test_packets_come_out_whole_however_they_come_in():
    sent = mqtt.publish(7, "a/b", b"x" * 300) + mqtt.acknowledge(mqtt.PUBREL, 9)
    buffer, seen = bytearray(), []
    for byte in sent:
        buffer.append(byte)
        seen += mqtt.packets(buffer)
    assert [kind for kind, _, _ in seen] == [mqtt.PUBLISH, mqtt.PUBREL] and not buffer
    assert mqtt.message(seen[0][1], seen[0][2]) == ("a/b", 7, b"x" * 300)


def test_an_event_stream_has_the_answer_last():
    body = b": comment\n\nevent: message\ndata: {\"a\":1}\n\nevent: message\ndata: {\"id\":2}\n\n"
    assert Response(200, {"content-type": "text/event-stream"}, body).message() == {"id": 2}
    assert data_of(b": comment") == b""
