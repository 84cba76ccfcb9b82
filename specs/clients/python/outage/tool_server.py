"""A tool server that can be killed: `python -m outage.tool_server PORT FILE` writes what it executes to a file, one line each.

It writes before it answers, so that the file has each execution, however the process ends.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from pathlib import Path

from conftest import PATIENCE, Process, free_port
from plain_upstream import Server, listener

LISTENS = "the tool server listens"


class Recording(Server):
    """Writes the text of each call of `echo`."""

    def __init__(self, path: str) -> None:
        super().__init__("tools", 0)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()

    def outcome(self, method: str, params: dict) -> dict:
        if method == "tools/call" and params["name"] == "echo":
            with self._lock:
                os.write(self._file, f"{params['arguments']['text']}\n".encode())
        return super().outcome(method, params)


class ToolServer(Process):
    """The process. It keeps its port and its file when it is replaced."""

    def __init__(self, folder: str) -> None:
        self.port = free_port()
        self._path = Path(folder, "executions")
        arguments = [sys.executable, "-m", "outage.tool_server", str(self.port), str(self._path)]
        super().__init__(arguments, env={"PYTHONPATH": str(Path(__file__).parents[1])})
        self.line(LISTENS)

    def replace(self) -> None:
        """Kills it and starts another one."""
        self.child.kill()
        self.child.wait()
        self._reader.join(PATIENCE)
        self.lines.clear()
        self._start()
        self.line(LISTENS)

    def executed(self) -> Counter:
        """How often it was asked for what."""
        return Counter(self._path.read_text().splitlines()) if self._path.exists() else Counter()


if __name__ == "__main__":
    http = listener(Recording(sys.argv[2]), int(sys.argv[1]))
    print(LISTENS, flush=True)
    http.serve_forever()
