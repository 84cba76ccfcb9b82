"""config/home.yaml: devices that announce themselves, and those of the config, against mosquitto."""

import asyncio
import json
import threading

from conftest import PATIENCE, ROOT, connected
from mcp import types

#: A dimmable lamp as zigbee2mqtt announces it.
LAMP = {
    "name": None,
    "schema": "json",
    "state_topic": "zigbee2mqtt/lamp",
    "command_topic": "zigbee2mqtt/lamp/set",
    "brightness": True,
    "supported_color_modes": ["brightness"],
    "unique_id": "0x00158d0001a2b3c4_light_zigbee2mqtt",
    "availability": [{"topic": "zigbee2mqtt/bridge/state", "value_template": "{{ value_json.state }}"}],
    "device": {
        "identifiers": ["zigbee2mqtt_0x00158d0001a2b3c4"],
        "name": "Lamp",
        "manufacturer": "IKEA",
        "suggested_area": "Study",
    },
    "origin": {"name": "Zigbee2MQTT", "sw": "2.1.0", "url": "https://www.zigbee2mqtt.io"},
}
ANNOUNCEMENT = "homeassistant/light/0x00158d0001a2b3c4/light/config"
AC = "home/living-room/air-conditioner/living-room-ac"
CURTAINS = "home/living-room/curtains/living-room-curtains"


def home(port: int) -> str:
    config = (ROOT / "config" / "home.yaml").read_text()
    return config.replace("port: 1883", f"port: {port}").replace("127.0.0.1:7114", "127.0.0.1:0")


class Machine:
    """A simulated device: `answer` makes of a command the messages that it publishes, topic and payload."""

    def __init__(self, broker, topic: str, answer):
        self.broker = broker
        self.answer = answer
        self.commands: list[dict] = []
        self.subscriber = broker.subscriber(topic)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.over.wait(0.005):
            for line in list(self.subscriber.lines)[len(self.commands) :]:
                command = json.loads(line.split("|", 3)[3])
                self.commands.append(command)
                for topic, payload in self.answer(command):
                    self.broker.publish(topic, payload, "-r")

    def stop(self) -> None:
        self.over.set()
        self.thread.join()
        self.subscriber.stop()


async def content(client, tool: str, **arguments) -> dict:
    return (await client.call_tool(tool, arguments)).structured_content


async def until(what: str, ask, holds) -> dict:
    """Asks until the answer holds, and returns it."""
    answer = None
    try:
        async with asyncio.timeout(PATIENCE):
            while not holds(answer := await ask()):
                pass
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE} s for {what}: {answer}") from None
    return answer


async def test_a_lamp_that_announces_itself_appears_and_obeys(broker, parts):
    def answer(command):
        return [("zigbee2mqtt/lamp", json.dumps({"state": command["state"], "brightness": 254, "linkquality": 120}))]

    machine = Machine(broker, LAMP["command_topic"], answer)
    parts.callback(machine.stop)
    broker.publish("zigbee2mqtt/bridge/state", '{"state":"online"}', "-r")
    broker.publish("zigbee2mqtt/lamp", '{"state":"OFF","linkquality":117}', "-r")
    broker.publish(ANNOUNCEMENT, json.dumps(LAMP), "-r")
    async with connected("http", "2026-07-28", home(broker.port)) as client:
        lamp = "zigbee2mqtt_0x00158d0001a2b3c4"
        listed = await until(
            "the lamp",
            lambda: content(client, "list_devices", location="Study"),
            lambda it: it["devices"] and "status" in it["devices"][0],
        )
        found = [(it["id"], it["name"], it["declaredBy"]) for it in listed["devices"]]
        assert found == [(lamp, "Lamp", "homeAssistant")]
        status = await content(client, "get_device_status", device=lamp)
        assert (status["online"], status["status"]["state"]) == (True, "OFF")
        assert [it["name"] for it in status["commands"]] == ["light_turn_on", "light_turn_off"]

        command = {"device": lamp, "command": "light_turn_on", "arguments": {"brightness": 254}}
        result = await content(client, "control_device", **command)
        assert result["outcome"] == "confirmed", result
        assert result["before"]["status"]["state"] == "OFF"
        assert result["after"]["status"] == {"state": "ON", "brightness": 254, "linkquality": 120}
        assert machine.commands == [{"state": "ON", "brightness": 254}], "what zigbee2mqtt expects, once"

        # An empty announcement withdraws it.
        broker.publish(ANNOUNCEMENT, "", "-r")
        await until(
            "its removal",
            lambda: content(client, "list_devices", location="Study"),
            lambda it: it["total"] == 0,
        )


async def test_above_26_degrees_the_air_conditioner_is_turned_on_and_the_curtains_are_closed(broker, parts):
    conditioner = Machine(broker, f"{AC}/set", lambda command: [(f"{AC}/state", json.dumps(command))])
    parts.callback(conditioner.stop)
    # The curtains are blocked half-way.
    curtains = Machine(broker, f"{CURTAINS}/move", lambda command: [(f"{CURTAINS}/state", '{"position":40}')])
    parts.callback(curtains.stop)
    for topic, payload in {
        "home/living-room/thermometer/living-room-1/temperature": "27.5",
        "home/living-room/windows": "open",
        f"{AC}/state": '{"power":"off","target":24}',
        f"{AC}/availability": "online",
        f"{CURTAINS}/state": '{"position":100}',
    }.items():
        broker.publish(topic, payload, "-r")
    async with connected("http", "2026-07-28", home(broker.port)) as client:

        async def room():
            return await content(client, "list_devices", location="living-room")

        def known(it) -> bool:
            return it["total"] == 3 and all("status" in device for device in it["devices"])

        listed = await until("the room", room, known)
        found = {it["id"]: it["status"] for it in listed["devices"]}
        assert found["living-room-1"] == 27.5 > 26

        async def cool():
            arguments = {"power": "on", "target": 24}
            return await content(client, "control_device", device="living-room-ac", command="set", arguments=arguments)

        refused = await until("the window", cool, lambda it: "A window is open: " in it["message"])
        assert refused["outcome"] == "notSent" and conditioner.commands == []
        broker.publish("home/living-room/windows", "closed", "-r")
        cooled = await until("the closed window", cool, lambda it: it["outcome"] != "notSent")
        assert cooled["outcome"] == "confirmed", cooled
        assert conditioner.commands == [{"power": "on", "target": 24}]

        arguments = {"position": 0}
        closed = await content(
            client, "control_device", device="living-room-curtains", command="move", arguments=arguments, timeout=1500
        )
        assert closed["outcome"] == "contradicted", closed
        assert closed["after"]["status"] == {"position": 40}

        broker.publish(f"{AC}/availability", "offline", "-r")

        async def conditioner_status():
            return await content(client, "get_device_status", device="living-room-ac")

        await until("the end of its connection", conditioner_status, lambda it: it["online"] is False)
        off = await content(
            client, "control_device", device="living-room-ac", command="set", arguments={"power": "off"}
        )
        assert off["outcome"] == "notSent" and "offline" in off["message"], off


async def test_a_job_is_confirmed_when_it_is_printed_and_a_thermometer_is_followed(broker, parts):
    state = "home/study/printer/printer/state"

    def answer(command):
        return [(state, '{"state":"printing"}'), (state, json.dumps({"state": "idle", **command}))]

    printer = Machine(broker, "home/study/printer/printer/print", answer)
    parts.callback(printer.stop)
    broker.publish(state, '{"state":"idle"}', "-r")
    topic = "home/study/thermometer/study-1/temperature"
    broker.publish(topic, "21.0", "-r")
    async with connected("http", "2026-07-28", home(broker.port)) as client:

        async def study():
            return await content(client, "list_devices", location="study")

        await until("the study", study, lambda it: it["total"] == 2 and all("status" in one for one in it["devices"]))
        arguments = {"document": "invoice.pdf", "copies": 2}
        printed = await content(client, "control_device", device="printer", command="print", arguments=arguments)
        assert printed["outcome"] == "confirmed", printed
        assert printed["after"]["status"] == {"state": "idle", "document": "invoice.pdf", "copies": 2}

        over = threading.Event()

        def warm():
            while not over.wait(0.05):
                broker.publish(topic, "21.5")

        thread = threading.Thread(target=warm, daemon=True)
        thread.start()
        try:
            series = await content(client, "subscribe_sensor", type="thermometer", duration=20_000, count=3)
        finally:
            over.set()
            thread.join()
        assert series["ended"] == "count"
        assert [it["device"] for it in series["series"]] == ["study-1"] * 3


async def test_the_front_door_is_unlocked_after_a_person_has_accepted(broker, parts):
    topic = "home/hall/lock/front-door"
    heard = broker.subscriber(f"{topic}/unlock")
    parts.callback(heard.stop)
    broker.publish(f"{topic}/state", "locked", "-r")
    answers = ["decline", "accept"]

    async def person(_context, _params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action=answers.pop(0))

    async with connected("http", "2026-07-28", home(broker.port), elicitation_callback=person) as client:

        async def door():
            return await content(client, "get_device_status", device="front-door")

        await until("the door", door, lambda it: it.get("status") == "locked")
        declined = await content(client, "control_device", device="front-door", command="unlock")
        assert declined["outcome"] == "notSent" and "a person declined it" in declined["message"]
        assert list(heard.lines) == []
        # The simulated door stays locked: the answer says so, and not that it obeyed.
        sent = await content(client, "control_device", device="front-door", command="unlock", timeout=500)
        assert sent["outcome"] == "unconfirmed", sent
    assert heard.message().group("payload") == "UNLOCK"
    assert len(heard.lines) == 1 and answers == []
