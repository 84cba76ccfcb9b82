"""mosquitto and tidegate as child processes, which end with the run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import socket
from pathlib import Path

#: Timeout of a start or stop, for slow machines.
PATIENCE = 60.0


def free_port() -> int:
    """A free port outside the ephemeral range, so that no outgoing connection can take it."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(max(1024, lowest // 2), lowest), 1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


class Broker:
    """A mosquitto that keeps its port when it is restarted."""

    def __init__(self, folder: Path, name: str) -> None:
        self.port = free_port()
        self._log = folder / f"{name}.log"
        self._config = folder / f"{name}.conf"
        # The broker must not drop messages because of a slow witness.
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n"
            "log_type error\nlog_type warning\nlog_type notice\n"
        )
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it, and returns once it listens."""
        mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with self._log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                mosquitto, "-c", str(self._config), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        async with asyncio.timeout(PATIENCE):
            while True:
                if self._child.returncode is not None:
                    raise RuntimeError(f"mosquitto ended with {self._child.returncode}; see {self._log}")
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def stop(self, hard: bool = False) -> None:
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        if hard:
            child.kill()
        else:
            child.terminate()
        await child.wait()


class Gateway:
    """A `tidegate start` whose log goes to a file."""

    def __init__(self, binary: Path, folder: Path, config: str) -> None:
        self._binary = binary
        self._config = folder / "tidegate.yaml"
        self._config.write_text(config)
        self.log = folder / "tidegate.log"
        #: Where it listens without TLS, and with it.
        self.address = self.secure = ("127.0.0.1", 0)
        self.pid = 0

    async def start(self) -> None:
        """Starts it and waits until it logs its listen addresses."""
        with self.log.open("wb") as log:
            self._child = await asyncio.create_subprocess_exec(
                str(self._binary), "start", "--config", str(self._config), "--log", "json",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=log,
                env={name: value for name, value in os.environ.items() if name != "TIDEGATE_LOG"},
            )  # fmt: skip
        self.pid = self._child.pid
        async with asyncio.timeout(PATIENCE):
            while len(found := dict(re.findall(rb"(https?)://127\.0\.0\.1:(\d+)/", self.log.read_bytes()))) < 2:
                if not self.running:
                    raise RuntimeError(f"tidegate did not start; see {self.log}")
                await asyncio.sleep(0.02)
        self.address, self.secure = ("127.0.0.1", int(found[b"http"])), ("127.0.0.1", int(found[b"https"]))

    @property
    def running(self) -> bool:
        return self._child.returncode is None

    async def terminate(self, within: float) -> int | None:
        """Sends SIGTERM; returns the exit code, or None if it had to be killed."""
        if self.running:
            self._child.terminate()
        try:
            async with asyncio.timeout(within):
                code = await self._child.wait()
        except TimeoutError:
            await self.kill()
            return None
        return code

    async def kill(self) -> None:
        if self.pid and self.running:
            self._child.kill()
            await self._child.wait()
