"""The ledger sees each way in which a delivery can be other than it was answered."""

from __future__ import annotations

import pytest
from soak import ledger as module
from soak.claims import Claims
from soak.disturbances import Disturbances
from soak.ledger import Ledger, Topic, number_of, payload_of
from soak.mcp import End


class Book:
    """A ledger with a clock of the test's own, and one publisher on each toolkit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.claims = Claims()
        self.disturbances = {name: Disturbances() for name in ("steady", "cut", "mortal")}
        self.ledger = Ledger(self.claims, self.disturbances, untouched="steady", mortal="mortal")

    def topic(self, toolkit: str = "steady") -> Topic:
        return self.ledger.topic(toolkit, "p")

    def publish(self, toolkit: str, qos: int, end: End, arrivals: int) -> None:
        """One call, answered with `end`, whose message arrives so often."""
        topic = self.topic(toolkit)
        count = self.ledger.called(topic, qos, "call")
        for _ in range(arrivals):
            self.ledger.arrived(topic.name, qos, payload_of(count, "é").encode())
        self.ledger.answered(topic, count, end, "")

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.ledger.settle()

    @property
    def broken(self) -> dict[str, int]:
        self.pass_by(1000)
        self.ledger.close()
        return self.claims.counts


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    return Book(monkeypatch)


@pytest.mark.parametrize(
    ("toolkit", "qos", "end", "arrivals", "claim"),
    [
        ("steady", 1, End.DONE, 0, "arrived"),
        ("steady", 0, End.DONE, 0, "arrived"),
        ("cut", 2, End.DONE, 0, "arrived"),
        ("cut", 2, End.DONE, 2, "once"),
        ("cut", 0, End.UNCONFIRMED, 2, "once"),
        ("cut", 1, End.UNSENT, 1, "unsent"),
        ("mortal", 1, End.UNSENT, 1, "unsent"),
    ],
)
def test_what_breaks_a_claim(book, toolkit, qos, end, arrivals, claim):
    book.publish(toolkit, qos, end, arrivals)
    assert book.broken == {claim: 1}


@pytest.mark.parametrize(
    ("toolkit", "qos", "end", "arrivals"),
    [
        ("steady", 0, End.DONE, 1),
        ("steady", 1, End.DONE, 1),
        ("cut", 0, End.DONE, 0),
        ("cut", 1, End.DONE, 3),
        ("cut", 2, End.DONE, 1),
        ("cut", 2, End.UNCONFIRMED, 0),
        ("cut", 2, End.UNCONFIRMED, 1),
        ("cut", 1, End.UNANSWERED, 1),
        ("cut", 1, End.UNSENT, 0),
    ],
)
def test_what_breaks_none(book, toolkit, qos, end, arrivals):
    book.publish(toolkit, qos, end, arrivals)
    assert book.broken == {}


def test_a_message_that_arrives_after_its_answer(book):
    topic = book.topic("cut")
    unsent, done = (book.ledger.called(topic, 2, "call") for _ in range(2))
    book.ledger.answered(topic, unsent, End.UNSENT, "not sent")
    book.ledger.answered(topic, done, End.DONE, "")
    assert book.ledger.outstanding() == 1
    for count in (unsent, done):
        book.ledger.arrived(topic.name, 2, payload_of(count, "").encode())
    assert book.ledger.outstanding() == 0
    assert book.broken == {"unsent": 1}


def test_a_message_that_arrives_again_once_it_is_settled(book):
    topic = book.topic()
    book.publish("steady", 2, End.DONE, 1)
    book.pass_by(module.SETTLED + 1)
    assert topic.open == {}
    book.ledger.arrived(topic.name, 2, payload_of(1, "").encode())
    assert book.broken == {"once": 1}


@pytest.mark.parametrize("name", ["soak/steady/p", "soak/steady/nobody", "forbidden/x"])
def test_a_message_that_nobody_published(book, name):
    book.publish("steady", 1, End.DONE, 1)
    book.ledger.arrived(name, 1, payload_of(2, "").encode())
    assert book.broken == {"invented": 1}


def test_what_hostile_clients_publish_within_their_part_is_theirs(book):
    book.ledger.arrived("hostile/x", 1, b"anything")
    assert book.broken == {} and book.ledger.hostile == 1


@pytest.mark.parametrize("payload", [b"", b"1", b"1 zz x", payload_of(1, "ab").encode()[:-1]])
def test_a_payload_that_is_damaged(book, payload):
    book.publish("steady", 1, End.DONE, 1)
    book.ledger.arrived("soak/steady/p", 1, payload)
    assert book.broken == {"intact": 1}


def test_a_message_at_another_qos(book):
    topic = book.topic()
    count = book.ledger.called(topic, 1, "call")
    book.ledger.arrived(topic.name, 0, payload_of(count, "").encode())
    assert book.broken == {"intact": 1}


def test_what_a_broker_had_acknowledged_just_before_it_was_killed_may_be_lost(book):
    book.publish("mortal", 1, End.DONE, 0)
    book.now += module.UNFLUSHED - 1
    book.disturbances["mortal"].begin("killed").end()
    assert book.broken == {} and book.ledger.lost_with_broker == 1


def test_what_it_had_acknowledged_long_before_is_not(book):
    book.publish("mortal", 1, End.DONE, 0)
    book.now += module.UNFLUSHED + 1
    book.disturbances["mortal"].begin("killed").end()
    assert book.broken == {"arrived": 1}


@pytest.mark.parametrize("padding", ["", " ", "a b", '"\\\n', "漢😀"])
def test_a_payload_tells_its_number(padding):
    assert number_of(payload_of(17, padding).encode()) == 17
