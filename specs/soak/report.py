"""Reports of a run: a progress line every few seconds, tables at the end, and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from soak.claims import CLAIMS
from soak.config import TOOLKITS
from soak.meter import MIB, Meter, thinned
from soak.run import Outcome

#: Most violations of a claim that are printed; the JSON has more.
PRINTED = 4


def progress(outcome: Outcome, watch: Meter, state: str) -> None:
    """Prints a progress line."""
    stage, sample = outcome.stage, watch.samples[-1] if watch.samples else outcome.idle
    if sample is None:
        return
    tally, at = stage.tally, stage.claims.second()
    failed = "  ".join(f"{toolkit} {tally.failed(toolkit)}" for toolkit in TOOLKITS)
    broken = ", ".join(f"{claim} {count}" for claim, count in sorted(stage.claims.counts.items()))
    print(
        f"{at:6.0f} s  {tally.calls:8,} calls ({tally.calls / max(at, 1):,.0f}/s)  arrived {stage.ledger.arrived_in_all:,}"
        f"  failed: {failed}  rss {sample.resident / MIB:.1f} MiB  fds {sample.descriptors}  threads {sample.threads}"
        f"  log {sample.log >> 10} KiB  bouts {tally.bouts.total()}  link: {state}"
        f"  {'VIOLATED: ' + broken if broken else 'no violations'}",
        flush=True,
    )


def summary(outcome: Outcome) -> str:
    """The final tables."""
    return "\n".join([
        *calls(outcome), "", *hostile(outcome), "", *process(outcome), "", *claims(outcome),
    ])  # fmt: skip


def calls(outcome: Outcome) -> list[str]:
    lines = [f"{'toolkit':8} {'operation':26} {'calls':>8} {'done':>8} {'p50':>9} {'p99':>9} {'longest':>9}  other outcomes"]
    for (toolkit, operation), row in sorted(outcome.stage.tally.rows.items()):
        others = ", ".join(f"{end} {count}" for end, count in sorted(row.ends.items()) if end != "done")
        half, most = row.latencies.quantile(0.5), row.latencies.quantile(0.99)
        lines.append(
            f"{toolkit:8} {operation:26} {row.calls:8,} {row.ends['done']:8,} {shown(half)} {shown(most)}"
            f" {shown(row.latencies.longest)}  {others}"
        )
    return lines


def shown(seconds: float) -> str:
    return f"{seconds * 1000:6.1f} ms"


def hostile(outcome: Outcome) -> list[str]:
    lines = [f"{'hostile':14} {'bouts':>6}  responses of the gateway"]
    for kind, bouts in sorted(outcome.stage.tally.bouts.items()):
        saw = ", ".join(f"{what} × {count}" for what, count in outcome.stage.tally.saw[kind].most_common(8))
        lines.append(f"{kind:14} {bouts:6}  {saw}")
    return lines


def process(outcome: Outcome) -> list[str]:
    ledger, lines = outcome.stage.ledger, []
    for name, disturbances in outcome.stage.disturbances.items():
        if disturbances.all:
            kinds = sorted({fault.kind for fault in disturbances.all})
            lines.append(f"faults of {name}: {len(disturbances.all)} ({', '.join(kinds)})")
    lines.append(
        f"messages arrived: {ledger.arrived_in_all:,}, of hostile clients {ledger.hostile:,}; again at QoS 1:"
        f" {ledger.repeated}; at QoS 0 over a faulty link lost: {ledger.lost_at_qos_0};"
        f" with a killed broker: {ledger.lost_with_broker}"
    )
    if outcome.samples and outcome.idle:
        first, last = outcome.idle, outcome.samples[-1]
        before, after = outcome.resident
        most = max(outcome.samples, key=lambda sample: sample.resident)
        quiet = outcome.quiet
        left = f", {quiet.resident / MIB:.1f} without clients" if quiet else ""
        lines.append(
            f"resident: {first.resident / MIB:.1f} MiB at the start, {before:.1f} in the first third after the first"
            f" tenth, {after:.1f} in the last third, {most.resident / MIB:.1f} at most{left}"
        )
        descriptors = f", {quiet.descriptors} at the end" if quiet else ""
        lines.append(
            f"descriptors: {first.descriptors} at the start,"
            f" {max(sample.descriptors for sample in outcome.samples)} at most{descriptors};"
            f" threads: {first.threads}, {max(sample.threads for sample in outcome.samples)} at most;"
            f" log: {last.log >> 10} KiB; processor: {last.processor - first.processor:.1f} s"
        )
    lines.append(f"audit: {outcome.audit.files} files; {'; '.join(outcome.audit.printed[:3])}")
    lines.append(f"event loop of the soak: at most {outcome.late:.2f} s late")
    for said, count in sorted(outcome.warnings.items(), key=lambda item: -item[1])[:8]:
        lines.append(f"logged {count} × {said}")
    lines.append(f"stopping: {outcome.stopping}; stopped: {outcome.stopped}; exit code {outcome.code}")
    return lines


def claims(outcome: Outcome) -> list[str]:
    found, lines = outcome.stage.claims, []
    for claim, sentence in CLAIMS.items():
        count = found.counts.get(claim, 0)
        lines.append(f"{'VIOLATED' if count else 'holds':8} {claim:12} {sentence}{f' ({count} cases)' if count else ''}")
        for case in found.cases.get(claim, [])[:PRINTED]:
            lines.append(f"          at {case.at} s: {case.description[:400]}")
            lines += [f"             {name}: {str(value)[:300]}" for name, value in case.trace.items()]
    return lines


def document(outcome: Outcome) -> dict[str, Any]:
    """The complete report as JSON."""
    plan, stage = outcome.plan, outcome.stage
    return {
        "plan": {
            "seconds": plan.seconds,
            "seed": plan.seed,
            "load": plan.load,
            "without": sorted(plan.without),
            "tidegate": str(plan.binary),
        },
        "claims": {
            claim: {
                "claim": sentence,
                "broken": stage.claims.counts.get(claim, 0),
                "cases": [asdict(case) for case in stage.claims.cases.get(claim, [])],
            }
            for claim, sentence in CLAIMS.items()
        },
        "calls": [
            {
                "toolkit": toolkit,
                "operation": operation,
                "calls": row.calls,
                "ends": dict(row.ends),
                "p50": row.latencies.quantile(0.5),
                "p99": row.latencies.quantile(0.99),
                "longest": row.latencies.longest,
            }
            for (toolkit, operation), row in sorted(stage.tally.rows.items())
        ],
        "hostile": {kind: {"bouts": bouts, "saw": stage.tally.saw[kind]} for kind, bouts in stage.tally.bouts.items()},
        "faults": {
            name: [
                [fault.kind, stage.claims.second(fault.begun), stage.claims.second(fault.ended)]
                for fault in disturbances.all
            ]
            for name, disturbances in stage.disturbances.items()
        },
        "process": {
            "idle": outcome.idle and asdict(outcome.idle),
            "quiet": outcome.quiet and asdict(outcome.quiet),
            "residentMiB": {"before": outcome.resident[0], "after": outcome.resident[1]},
            "samples": [asdict(sample) for sample in thinned(outcome.samples, 600)],
            "stopping": outcome.stopping,
            "stopped": outcome.stopped,
            "code": outcome.code,
            "warnings": outcome.warnings,
            "audit": asdict(outcome.audit),
        },
    }


def write(outcome: Outcome, path: Path) -> None:
    path.write_text(json.dumps(document(outcome), indent=1, ensure_ascii=False, default=str) + "\n")
