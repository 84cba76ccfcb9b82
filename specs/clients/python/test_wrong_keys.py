"""A flood of wrong keys: it keeps nobody from being served, takes no memory, and is counted."""

from __future__ import annotations

import collections
import itertools
import re
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from conftest import PATIENCE, wait_until
from guarded import apikey, genkey, url_of
from test_metrics import ADMIN, families
from test_network import HEADERS, LIST

ATTEMPTS = 10_000
#: Connections with keys that their checksum shows to be wrong, and with keys that cost a verification: eight of these
#: wait for theirs at a time, and the others are told that the guard is busy.
CHEAP, COSTLY = 4, 10
#: What the flood may add to the memory of the process, in KiB: two verifications of 64 MiB at a time, and
#: 64 MiB for connections and for what the allocator keeps of them.
GROWTH = 192 * 1024


class Flood:
    """Clients that present wrong keys until there were `ATTEMPTS`, and `enough` is set."""

    def __init__(self, url: str):
        self.numbers = itertools.count()
        self.enough = threading.Event()
        keys = ["tg_aaaaaaaa_{:038d}"] * CHEAP + ["wrong-{}"] * COSTLY
        self.attackers = [Attacker(self, url, key) for key in keys]

    def start(self) -> None:
        for attacker in self.attackers:
            attacker.start()

    @property
    def lasts(self) -> bool:
        return all(attacker.is_alive() for attacker in self.attackers)

    def statuses(self) -> collections.Counter[int]:
        """How often each status was answered so far."""
        return sum((attacker.statuses.copy() for attacker in self.attackers), collections.Counter())

    def wait(self) -> None:
        for attacker in self.attackers:
            attacker.join()
            assert attacker.error is None, attacker.error


class Attacker(threading.Thread):
    """Presents keys on one connection, which stays open: a refusal is no reason to close it."""

    def __init__(self, flood: Flood, url: str, key: str):
        super().__init__(daemon=True)
        place = urlsplit(url)
        self.flood, self.address, self.key = flood, (place.hostname, place.port), key
        self.statuses: collections.Counter[int] = collections.Counter()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with socket.create_connection(self.address, PATIENCE) as connection:
                answers = connection.makefile("rb")
                while (number := next(self.flood.numbers)) < ATTEMPTS or not self.flood.enough.is_set():
                    connection.sendall(request(self.key.format(number)))
                    self.statuses[status_of(answers)] += 1
        except Exception as error:  # noqa: BLE001 (the test reports it)
            self.error = error


def request(key: str) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in {**HEADERS, "X-API-Key": key}.items())
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {len(LIST)}\r\n\r\n"
    return (head + LIST).encode()


def status_of(answers) -> int:
    """Reads a response and returns its status."""
    status, length = int(answers.readline().split()[1]), 0
    while (line := answers.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    answers.read(length)
    return status


def test_ten_thousand_wrong_keys(broker, started, keys):
    # A stored key without an id is compared with every key that has none.
    stored = {**keys, "nina": genkey("nina", "viewer"), "vera": ("", re.sub(r'id: "?\w+"?, ', "", keys["vera"][1]))}
    gateway = started(apikey(stored), "authorization: { staff: {} }", broker.port, "", bindings=ADMIN)
    url = url_of(gateway)

    def resident() -> int:
        status = Path(f"/proc/{gateway.child.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))

    def client(identity: str) -> httpx.Client:
        return httpx.Client(headers={**HEADERS, "X-API-Key": stored[identity][0]}, timeout=PATIENCE)

    flood = Flood(url)
    with client("olga") as known, client("nina") as new:
        assert known.post(url, content=LIST).status_code == 200
        before, peak = resident(), 0
        flood.start()
        wait_until("the flood", lambda: flood.statuses().total() > ATTEMPTS / 100)
    # A key that is used for the first time waits for its verification, and is not refused.
        assert new.post(url, content=LIST).status_code == 200
        for _ in range(50):
            assert known.post(url, content=LIST).status_code == 200
            assert new.post(url, content=LIST).status_code == 200
            peak = max(peak, resident())
        assert flood.lasts
        flood.enough.set()
        while flood.lasts:
            assert known.post(url, content=LIST).status_code == 200
            peak = max(peak, resident())
        flood.wait()
    statuses = flood.statuses()
    assert set(statuses) == {401, 503} and statuses.total() >= ATTEMPTS, statuses
    assert peak - before < GROWTH, f"{before} KiB before the flood, {peak} KiB at most"
    counted = families(gateway)["http_server_authorizations_failed"].samples
    assert sum(sample.value for sample in counted if sample.name.endswith("_total")) == statuses.total()
    gateway.line(r"INFO .*requests refused because of their credentials")
    assert gateway.stop() == 0
