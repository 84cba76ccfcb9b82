"""A mosquitto that can be ended and started again, with or without persistence."""

from __future__ import annotations

import re
from collections.abc import Iterator

from conftest import PATIENCE, Broker, wait_until

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
