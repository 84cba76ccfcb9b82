"""Publishes while the link to the broker is cut: what callers are told is what happened."""

import asyncio

import pytest
from outage import KEPT, run


@pytest.mark.parametrize("kept", [KEPT, ""], ids=["sessions kept", "sessions not kept"])
@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [1, 2])
def test_what_callers_are_told_is_what_happened(qos, version, kept):
    calls = 400
    tally = asyncio.run(run(calls, qos, seed=7, client=f'{kept}, version: "{version}"', cut_after=(40, 80)))
    assert tally.cuts >= 3, tally.counts()
    assert not tally.faults(calls), tally.counts()
    done = sum(1 for outcome in tally.outcomes.values() if outcome == "done")
    assert done > calls // 2, tally.counts()
