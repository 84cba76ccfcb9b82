"""Short runs of `scripts/outage`: what callers and subscribers are told while the link or the broker fails is what happened."""

import asyncio

import pytest
from outage import publishing, reversing, subscribing
from outage.plan import Plan

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])
SESSIONS = pytest.mark.parametrize("kept", [True, False], ids=["sessions kept", "sessions not kept"])
#: Faults of the broker.
ENDS = ["restart", "kill", "kill-persistent"]


def published(plan: Plan) -> None:
    tally = asyncio.run(publishing.run(plan))
    assert tally.strikes >= 2, tally.counts()
    assert not tally.violations(), tally.counts()
    done = sum(outcome == "done" for outcome in tally.outcomes.values())
    assert done > plan.count // 2, tally.counts()


@SESSIONS
@VERSIONS
@pytest.mark.parametrize("qos", [1, 2])
def test_what_callers_are_told_while_the_link_is_cut(qos, version, kept):
    published(Plan(400, "cut", qos, version, kept, seed=7, every=(40, 80)))


@pytest.mark.parametrize(("qos", "kept"), [(1, False), (2, True)], ids=["1-sessions not kept", "2-sessions kept"])
@pytest.mark.parametrize("fault", ENDS)
def test_what_callers_are_told_while_the_broker_ends(fault, qos, kept):
    published(Plan(250, fault, qos, "5", kept, seed=7, every=(80, 100)))


@SESSIONS
@VERSIONS
@pytest.mark.parametrize("run", [subscribing.receiving, subscribing.updating], ids=["receive", "updates"])
def test_what_subscribers_are_told_while_the_link_is_cut(run, version, kept):
    subscribed(run, Plan(300, "cut", 1, version, kept, seed=7, every=(40, 80)))


@pytest.mark.parametrize(
    ("run", "version", "kept"),
    [(subscribing.receiving, "5", False), (subscribing.receiving, "3.1.1", True), (subscribing.updating, "5", True)],
    ids=["receive-sessions not kept", "receive-3.1.1-sessions kept", "updates-sessions kept"],
)
@pytest.mark.parametrize("fault", ENDS)
def test_what_subscribers_are_told_while_the_broker_ends(run, version, fault, kept):
    subscribed(run, Plan(200, fault, 1, version, kept, seed=7, every=(60, 90)))


def subscribed(run, plan: Plan) -> None:
    tally = asyncio.run(run(plan))
    assert tally.strikes >= 2, tally.counts()
    assert not tally.violations(), tally.counts()


@pytest.mark.parametrize(
    ("fault", "version", "devices"),
    [
        (name, version, devices)
        for name, kind in reversing.FAULTS.items()
        for version in kind.versions
        for devices in reversing.devices_of(version)
    ],
)
def test_requests_of_machines_are_answered_while_links_and_gateways_end(fault, version, devices):
    plan = reversing.Plan(300, fault, version, seed=7, every=(30, 60), devices=5, device_version=devices)
    tally = asyncio.run(reversing.run(plan))
    assert tally.strikes >= 3, tally.counts()
    assert not tally.violations(), [tally.counts(), *tally.violations()[:20]]
    assert tally.outcomes["done"] > 150, tally.counts()


@pytest.mark.parametrize("fault", ["group", "group-cut"])
def test_a_request_of_qos_2_is_executed_by_one_gateway_of_a_group(fault):
    """The broker gives what a member has not acknowledged to another one, when the connection is lost."""
    tally = asyncio.run(reversing.run(members(fault, broker="redeliveringearly", qos=2)))
    assert tally.strikes >= 5, tally.counts()
    assert not tally.violations(), [tally.counts(), *tally.violations()[:20]]
    assert tally.again == 0 and tally.outcomes["done"] > 250, tally.counts()


@pytest.mark.parametrize("fault", ["group", "group-kill"])
def test_another_gateway_of_a_group_answers_requests_of_qos_1(fault):
    tally = asyncio.run(reversing.run(members(fault, broker="redelivering", expiry=0, pause=0.5)))
    assert tally.strikes >= 5, tally.counts()
    assert not tally.violations(), [tally.counts(), *tally.violations()[:20]]
    assert tally.outcomes["done"] > 250, tally.counts()


def members(fault: str, **options) -> reversing.Plan:
    return reversing.Plan(500, fault, seed=7, every=(40, 80), devices=5, **options)
