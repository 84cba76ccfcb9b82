"""`scripts/outage`: every kind of run at full length."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Iterable

from peers import OWN, PEERS

from outage import publishing, reversing, subscribing
from outage.asking import DEVICES
from outage.faults import KINDS
from outage.plan import Plan, Progress

#: Those without `--reverse`.
RUNS = {"publish": publishing.run, "receive": subscribing.receiving, "updates": subscribing.updating}
VERSIONS = ("5", "3.1.1")
SESSIONS = {"kept": True, "clean": False}
#: Violations that are printed of a run.
SHOWN = 20
EXAMPLES = """examples:
  scripts/outage                                      everything, 10,000 messages each
  scripts/outage --count 1000 --seed 7                shorter, with other random numbers
  scripts/outage --runs publish --faults cut --qos 1  publishes at QoS 1 while the link is cut
  scripts/outage --faults kill kill-persistent        what a broker that is killed loses
  scripts/outage --sessions clean --versions 3.1.1    without sessions that outlive a connection, MQTT 3.1.1
  scripts/outage --reverse                            requests of machines for tools, while links and gateways end
  scripts/outage --reverse --faults queue group       of gateways with a queue
  scripts/outage --reverse --device-version 5         of devices whose requests expire
  scripts/outage --reverse --faults group --broker redelivering --session-expiry 0
                                                      in front of a broker that redelivers to the other member of a group
  TIDEGATE=target/debug/tidegate scripts/outage …     with an existing binary

faults:
"""


def parser() -> argparse.ArgumentParser:
    def words(kinds: dict) -> str:
        return "".join(f"  {name:16}{kind.words}\n" for name, kind in kinds.items())

    made = argparse.ArgumentParser(
        prog="scripts/outage",
        description="Publishes and receives numbered messages through a link or a broker that fails each 200 to 400 of them.\n"
        "Fails if a message that was done is missing, if one that was not sent arrived, if a call was not answered, if a\n"
        "message of QoS 2 arrived twice, or if a subscriber misses a message and is not told.",
        epilog=f"{EXAMPLES}{words(KINDS)}\nfaults with --reverse:\n{words(reversing.FAULTS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--count", type=int, default=10_000, help="messages of a run (%(default)s)")
    made.add_argument("--reverse", action="store_true", help="requests of machines instead: see outage/reversing.py")
    made.add_argument("--seed", type=int, default=1, help="of the random numbers (%(default)s)")
    names = list(dict.fromkeys([*KINDS, *reversing.FAULTS]))
    made.add_argument("--faults", nargs="+", choices=names, help="all by default")
    choices = {"runs": RUNS, "versions": VERSIONS, "sessions": SESSIONS}
    for name, values in choices.items():
        made.add_argument(f"--{name}", nargs="+", choices=list(values), default=list(values), help="all by default")
    made.add_argument("--qos", nargs="+", type=int, choices=(1, 2), help="of publishes (1 and 2); with --reverse, of requests (1)")
    brokers = [reversing.MOSQUITTO, *(it.__name__.lower() for it in (*PEERS, *OWN) if "5" in it.versions)]
    group = made.add_argument_group("with --reverse")
    group.add_argument(
        "--broker", choices=dict.fromkeys(brokers), default=reversing.MOSQUITTO, help="one of peers.py, with MQTT 5 (%(default)s)"
    )
    devices = list(DEVICES)
    group.add_argument("--device-version", nargs="+", choices=devices, default=devices, help="MQTT of devices; all by default")
    group.add_argument("--session-expiry", type=int, default=300, help="of gateways in a group, in seconds (%(default)s)")
    group.add_argument("--pause", type=float, default=0.0, help="before a gateway is started again, in seconds (%(default)s)")
    return made


def chosen(options: argparse.Namespace, faults: Iterable[str]) -> list[str]:
    """Those of a mode's faults that are asked for."""
    return [name for name in faults if options.faults is None or name in options.faults]


def reverse_plans(options: argparse.Namespace) -> list[tuple[str, reversing.Plan]]:
    group = {"broker": options.broker, "expiry": options.session_expiry, "pause": options.pause}
    return [
        ("reverse", reversing.Plan(options.count, fault, version, options.seed, qos=qos, device_version=devices, **group))
        for fault in chosen(options, reversing.FAULTS)
        for version in reversing.FAULTS[fault].versions
        if version in options.versions and (version == "5" or options.broker == reversing.MOSQUITTO)
        for qos in options.qos or [1]
        for devices in reversing.devices_of(version)
        if devices in options.device_version
    ]


def plans(options: argparse.Namespace) -> list[tuple[str, Plan]]:
    faults = chosen(options, KINDS)
    combinations = itertools.product(options.runs, faults, options.versions, options.sessions, options.qos or [1, 2])
    made = [
        (run, Plan(options.count, fault, qos if run == "publish" else 1, version, SESSIONS[sessions], options.seed))
        for run, fault, version, sessions, qos in combinations
    ]
    return list(dict.fromkeys(made))


def progress(count: int) -> Progress:
    """Says on standard error how far it is, each ten seconds."""
    said = time.monotonic()

    def say(done: int, strikes: int) -> None:
        nonlocal said
        if time.monotonic() > said + 10:
            said = time.monotonic()
            print(f"  {done:,} of {count:,} messages, {strikes} faults", file=sys.stderr, flush=True)

    return say


def main() -> int:
    options = parser().parse_args()
    made = reverse_plans(options) if options.reverse else plans(options)
    failed = 0
    for number, (name, plan) in enumerate(made, 1):
        print(f"{number}/{len(made)} {name}: {plan}", flush=True)
        begun = time.monotonic()
        tally = asyncio.run({**RUNS, "reverse": reversing.run}[name](plan, progress(plan.count)))
        print(f"  {tally.counts()} ({time.monotonic() - begun:.0f} s)", flush=True)
        violations = tally.violations()
        failed += bool(violations)
        for violation in violations[:SHOWN]:
            print(f"  VIOLATED: {violation}", flush=True)
        if len(violations) > SHOWN:
            print(f"  and {len(violations) - SHOWN} more", flush=True)
    print(f"{len(made)} runs, {failed} with violations")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
