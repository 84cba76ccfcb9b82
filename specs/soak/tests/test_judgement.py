"""What an answer means, when a fault excuses it, and what counts as growth."""

from __future__ import annotations

import pytest
from soak.claims import Claims
from soak.disturbances import RECOVERY, Disturbances
from soak.mcp import End, meaning
from soak.meter import MIB, Memory, Sample, judge_log, judge_threads
from soak.tally import Latencies


def tool_error(text: str) -> dict:
    return {"jsonrpc": "2.0", "id": "a", "result": {"isError": True, "content": [{"type": "text", "text": text}]}}


@pytest.mark.parametrize(
    ("message", "end"),
    [
        ({"jsonrpc": "2.0", "id": "a", "result": {"content": []}}, End.DONE),
        (tool_error("The message to 't' was not published: refused. It was not delivered."), End.UNSENT),
        (tool_error("b:1883: connection refused; not sent."), End.UNSENT),
        (tool_error("Publishing to 't' was not confirmed. The message may have been delivered."), End.UNCONFIRMED),
        (tool_error("b:1883 timed out. The message may still have been delivered, or was not sent."), End.UNCONFIRMED),
        (tool_error("'payload' must be a string."), End.FAILED),
        ({"jsonrpc": "2.0", "id": "a", "error": {"code": -32603, "message": "No answer came."}}, End.FAILED),
    ],
)
def test_what_an_answer_means(message, end):
    assert meaning(message, "a")[0] is end


@pytest.mark.parametrize("message", [None, [], {}, {"jsonrpc": "2.0", "id": "b", "result": {}}])
def test_what_is_no_answer(message):
    with pytest.raises(ValueError):
        meaning(message, "a")


def test_a_fault_excuses_until_the_time_of_recovery_is_over(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    disturbances = Disturbances()
    fault = disturbances.begin("stall")
    assert not disturbances.calm(1001, 1002), "it lasts"
    now = 1010.0
    fault.end()
    assert disturbances.calm(990, 999), "it had not begun"
    assert not disturbances.calm(1010 + RECOVERY - 1, 1010 + RECOVERY)
    assert disturbances.calm(1011 + RECOVERY, 1012 + RECOVERY)
    assert disturbances.now == "open"


def series(resident: list[float]) -> list[Sample]:
    return [Sample(at, int(size * MIB), 3, 20, 0, 0) for at, size in enumerate(resident)]


@pytest.mark.parametrize(
    ("resident", "grows"),
    [
        ([20] * 60 + [30] * 540, False),
        ([30 + index % 7 for index in range(600)], False),
        ([30 + 200 * (index % 10 == 0) for index in range(600)], False),
        ([30 + index * 0.01 for index in range(600)], False),
        ([30 + index * 0.1 for index in range(600)], True),
        ([30] * 300 + [60] * 300, True),
        ([30 + 300 * (index == 200) for index in range(600)], True),
        ([30, 30, 30, 60, 31, 30, 32, 30, 70, 70], False),
        ([30, 30, 30, 60, 31, 30, 32, 130, 130, 130], True),
    ],
)
def test_what_counts_as_growth(resident, grows):
    claims = Claims()
    Memory().judge(claims, series(resident))
    assert ("memory" in claims.counts) is grows


def test_a_log_that_grows_with_each_failure():
    claims = Claims()
    judge_log(claims, [Sample(0, 0, 3, 20, 0, 0), Sample(10, 0, 3, 20, MIB, 0)])
    assert claims.counts == {}
    judge_log(claims, [Sample(0, 0, 3, 20, 0, 0), Sample(10, 0, 3, 20, 3 * MIB, 0)])
    assert claims.counts == {"log": 1}


def test_threads_that_come_and_stay():
    claims = Claims()
    judge_threads(claims, [Sample(0, 0, 3, 20, 0, 0), Sample(1, 0, 40, 20, 0, 0)])
    assert claims.counts == {"threads": 1}


def test_quantiles_are_upper_bounds():
    latencies = Latencies()
    for index in range(1, 101):
        latencies.add(index / 1000)
    assert 0.050 <= latencies.quantile(0.5) <= 0.050 * 1.25
    assert latencies.quantile(1.0) == 0.1
