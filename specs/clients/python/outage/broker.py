"""Brokers: a mosquitto that can be ended and started again, with or without persistence, and others as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator

from conftest import PATIENCE, Broker, Process, wait_until
from peers import OWN, PEERS
from tap import Tap

#: It drops no message, however many wait for a subscriber.
ROOMY = "max_queued_messages 0\nmax_inflight_messages 0\nmax_queued_bytes 0"
#: It saves its state when it ends in order, and after each change, as soon as it comes to it. As root, it keeps the right
#: to write to its folder.
PERSISTENT = "user root\npersistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1"


class MortalBroker(Broker):
    def __init__(self, persistent: bool = False) -> None:
        super().__init__(settings=f"{ROOMY}\n{PERSISTENT if persistent else ''}")

    def end(self, hard: bool) -> None:
        """Kills it, or lets it save its state."""
        if hard:
            self.child.kill()
        else:
            self.child.terminate()
        self.child.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def start_again(self) -> None:
        mark = len(self.lines)
        self._start()
        wait_until("the broker", lambda: self.logged(r"mosquitto version .* running", mark))

    def logged(self, pattern: str, mark: int) -> bool:
        """Whether a line matches, of those behind the first `mark` lines."""
        return any(re.search(pattern, it) for it in self.lines[mark:])

    def messages(self, way: str, prefix: str) -> Iterator[tuple[bool, str]]:
        """Each PUBLISH on a topic below `prefix` that it has logged as `way`, such as "Received PUBLISH from gateway".

        Gives whether it was marked as sent again, and the rest of the topic.
        """
        expression = re.compile(rf"{way}\S* \(d(\d), q\d, r\d, m\d+, '{prefix}/([^']*)'")
        for it in list(self.lines):
            if match := expression.search(it):
                yield match.group(1) == "1", match.group(2)

    def subscribed(self, client: str) -> None:
        """Waits until a client has subscribed."""
        self.line(f"Sending SUBACK to {client}")

    def answers(self, topic: str, form: str = "%p") -> Answers:
        """Subscribes to the answers of a gateway."""
        return Answers(self.port, topic, form)


class OtherBroker:
    """One of the brokers of peers.py, with MQTT 5."""

    def __init__(self, name: str) -> None:
        made = {peer.__name__.lower(): peer for peer in (*PEERS, *OWN)}
        self._peer = made[name]("5")
        # The link tells what is subscribed to, which not every broker logs.
        self._link = Tap(self._peer.port)
        self.port = self._link.port
        self._subscribers = 0

    def subscribed(self, client: str) -> None:
        """Waits until a further client has subscribed."""
        self._subscribers += 1
        wait_until(f"the subscription of {client}", lambda: len(self._link.granted) >= self._subscribers)

    def answers(self, topic: str, form: str = "%p") -> Answers:
        return Answers(self._peer.port, topic, form)

    def stop(self) -> None:
        self._link.stop()
        self._peer.stop()


class Answers(Process):
    """A mosquitto_sub whose subscription is acknowledged, and which prints messages in a form of its own."""

    def __init__(self, port: int, topic: str, form: str) -> None:
        command = ["mosquitto_sub", "-V", "5", "-p", str(port), "-q", "1", "-D", "CONNECT", "receive-maximum", "65535"]
        # `-d` tells of SUBACK, and it buffers its output otherwise.
        super().__init__(["stdbuf", "-oL", *command, "-t", topic, "-d", "-F", f"answer|%t|{form}"])
        self.line(r"Subscribed \(mid")
        self._read_up_to = 0

    def new(self) -> Iterator[tuple[str, str]]:
        """The topic of each message that has come since the last time, and the message as `form` says."""
        lines = self.lines[self._read_up_to :]
        self._read_up_to += len(lines)
        for line in lines:
            if line.startswith("answer|"):
                yield tuple(line.split("|", 2)[1:])
