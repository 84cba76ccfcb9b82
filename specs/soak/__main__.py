"""The command line of the soak."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from soak import faults, report
from soak.hostile import KINDS
from soak.run import Outcome, Plan, run

DESCRIPTION = """Runs one gateway with well-behaved clients, faults and hostile clients together, and tells which of its
claims do not hold. Needs mosquitto (scripts/install-test-tools)."""


def main() -> int:
    kinds = sorted({*KINDS, *faults.KINDS, "neighbours"})
    parser = argparse.ArgumentParser(prog="scripts/soak", description=DESCRIPTION)
    parser.add_argument("--seconds", type=float, default=600, help="how long all of them play (default: 600)")
    parser.add_argument("--seed", type=int, default=1, help="what every choice is drawn from (default: 1)")
    parser.add_argument("--load", type=float, default=1.0, help="how often neighbours call, as a factor (default: 1)")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--without", nargs="+", default=[], metavar="KIND", choices=kinds, help=", ".join(kinds))
    choice.add_argument("--only", nargs="*", metavar="KIND", choices=kinds, help="neighbours, and these kinds alone")
    parser.add_argument("--tidegate", type=Path, required=True, help="the binary to run")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a JSON file for the whole report")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where configs and logs stay")
    asked = parser.parse_args()
    without = set(asked.without) if asked.only is None else set(kinds) - {"neighbours"} - set(asked.only)
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="tidegate-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(asked.seconds, asked.seed, asked.load, without, asked.tidegate.resolve(), folder)
    try:
        outcome = asyncio.run(stoppable(plan))
    # Whatever it is, it is no claim that was broken.
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        print(f"soak: it failed itself; configs and logs are in {folder}", file=sys.stderr)
        return 2
    if outcome is None:
        return 130
    print(f"\n{report.summary(outcome)}")
    if asked.output:
        report.write(outcome, asked.output)
    if outcome.stage.claims.total:
        broken = ", ".join(outcome.stage.claims.counts)
        print(f"\nsoak: broken: {broken}; seed {plan.seed}; configs and logs are in {folder}")
        return 1
    print("\nsoak: every claim holds")
    if not asked.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


async def stoppable(plan: Plan) -> Outcome | None:
    """A run that SIGINT and SIGTERM end together with its processes; None then."""
    task = asyncio.ensure_future(run(plan, report.progress))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        print("soak: stopped", file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(main())
