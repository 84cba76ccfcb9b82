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

DESCRIPTION = """Runs one gateway with well-behaved clients, faults and hostile clients at the same time, and reports the
violated claims. Requires mosquitto and openssl (scripts/install-test-tools)."""


def main() -> int:
    kinds = sorted({*KINDS, *faults.KINDS, "neighbours"})
    parser = argparse.ArgumentParser(prog="scripts/soak", description=DESCRIPTION)
    parser.add_argument("--seconds", type=float, default=600, help="duration of the run (default: 600)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (default: 1)")
    parser.add_argument("--load", type=float, default=1.0, help="factor for the call rate of neighbours (default: 1)")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--without", nargs="+", default=[], metavar="KIND", choices=kinds, help=", ".join(kinds))
    choice.add_argument("--only", nargs="*", metavar="KIND", choices=kinds, help="neighbours and only these kinds")
    parser.add_argument("--tidegate", type=Path, required=True, help="tidegate binary to run")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file for the report in JSON")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="folder for configs and logs")
    asked = parser.parse_args()
    without = set(asked.without) if asked.only is None else set(kinds) - {"neighbours"} - set(asked.only)
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="tidegate-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(asked.seconds, asked.seed, asked.load, without, asked.tidegate.resolve(), folder)
    try:
        outcome = asyncio.run(stoppable(plan))
    # An error of the soak itself is not a violation.
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        print(f"soak: internal error; configs and logs are in {folder}", file=sys.stderr)
        return 2
    if outcome is None:
        return 130
    print(f"\n{report.summary(outcome)}")
    if asked.output:
        report.write(outcome, asked.output)
    if outcome.stage.claims.total:
        broken = ", ".join(outcome.stage.claims.counts)
        print(f"\nsoak: violated: {broken}; seed {plan.seed}; configs and logs are in {folder}")
        return 1
    print("\nsoak: all claims hold")
    if not asked.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


async def stoppable(plan: Plan) -> Outcome | None:
    """Runs the plan; SIGINT and SIGTERM stop it and its processes (returns None)."""
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
