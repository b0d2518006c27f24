"""`agent bench`: rounds of ours and the reference, interleaved; ratios, never absolute times as if they were stable.

A round in which others used more than QUIET of the machine is discarded and run again. With too few quiet rounds in
the end a benchmark is refused: it says why, and gives no number.
"""

import importlib
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from agent.bench import machine
from agent.bench.sample import BenchError, Sample

NAMES = ("tick_to_order", "ring", "strategy_call", "itch_decode", "metric_record")
ROUNDS = 7
#: Share of the machine's CPU time that others may use in a round.
QUIET = 0.05


def load(names: list[str]) -> list[ModuleType]:
    """The benchmarks called so; all of them for none. Raises BenchError for an unknown name."""
    for name in names:
        if name not in NAMES:
            raise BenchError(f"bench: found {name!r}, allowed: {', '.join(NAMES)}")
    return [importlib.import_module(f"agent.bench.{name}") for name in names or NAMES]


def measure(bench: ModuleType, rounds: int, directory: Path, quiet: float = QUIET) -> dict[str, Any]:
    """Run one: {"bench", "results": [...]} or {"bench", "refused": why}. discarded: rounds that were not quiet."""
    name = bench.__name__.rpartition(".")[2]
    kept: list[list[Sample]] = []
    discarded, worst = 0, 0.0
    try:
        play: Iterator[list[Sample]] = bench.rounds(directory)
        next(play)  # the first one warms caches up, and counts for nothing
        while len(kept) < rounds and discarded <= 2 * rounds:
            before = machine.moment()
            samples = next(play)
            share = machine.foreign(before, machine.moment())
            if share > quiet:
                discarded, worst = discarded + 1, max(worst, share)
            else:
                kept.append(samples)
    except BenchError as error:
        return {"bench": name, "refused": str(error)}
    if len(kept) < rounds:
        return {
            "bench": name,
            "refused": f"the machine was busy: {discarded} rounds discarded, others used up to {worst:.0%} of it, "
            f"allowed {quiet:.0%}; {len(kept)} of {rounds} rounds left",
        }
    return {"bench": name, "results": [summary(name, column, discarded) for column in zip(*kept, strict=True)]}


def summary(name: str, samples: tuple[Sample, ...], discarded: int) -> dict[str, Any]:
    """One metric over all rounds: medians, and the ratio's median and range. The ratio is taken in each round."""
    first = samples[0]
    ratios = [s.ours / s.reference for s in samples]
    return {
        "bench": name,
        "metric": first.metric,
        "unit": first.unit,
        "ours": round(statistics.median(s.ours for s in samples), 3),
        "reference": round(statistics.median(s.reference for s in samples), 3),
        "reference_name": first.reference_name,
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "rounds": len(samples),
        "discarded": discarded,
    }


def run(names: list[str], rounds: int, form: str, out: Path | None) -> int:
    """Measure and print; 0, or 1 if a benchmark was refused. Writes bench.json to `out` if given."""
    benches = load(names)
    with tempfile.TemporaryDirectory(prefix="agent-bench-") as directory:
        found = []
        for bench in benches:
            print(f"{bench.__name__.rpartition('.')[2]}: {rounds} rounds ...", file=sys.stderr, flush=True)
            found.append(measure(bench, rounds, Path(directory)))
    results = [row for one in found for row in one.get("results", [])]
    refused = [one for one in found if "refused" in one]
    about = machine.describe()
    text = msgspec.json.format(msgspec.json.encode(results), indent=2).decode() + "\n"
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            whole = {"machine": about, "results": results, "refused": refused}
            (out / "bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=2))
        except OSError as error:
            raise BenchError(f"--out {out}: {error.strerror}") from None
    if form == "json":
        sys.stdout.write(text)
    else:
        sys.stdout.write(as_text(about, results))
    for one in refused:
        print(f"agent: {one['bench']}: refused: {one['refused']}", file=sys.stderr)
    return 1 if refused else 0


def as_text(about: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """A table of ratios, below the machine that they are of."""
    lines = [
        f"{about['host']}: {about['cpus']} x {about['cpu']}, Linux {about['kernel']}, isolated "
        f"{about['isolated_cpus'] or 'none'}, {about['scheduler']}, sched_rt_runtime_us {about['sched_rt_runtime_us']}",
        f"{'bench':<16}{'metric':<30}{'ours':>12}{'reference':>12} {'unit':<7}{'ratio':>7}  range",
    ]
    for r in results:
        low, high = r["ratio_range"]
        lines.append(
            f"{r['bench']:<16}{r['metric']:<30}{r['ours']:>12,.2f}{r['reference']:>12,.2f} {r['unit']:<7}"
            f"{r['ratio']:>7.2f}  {low:.2f}-{high:.2f}, {r['rounds']} rounds, {r['discarded']} discarded; "
            f"{r['reference_name']}"
        )
    return "\n".join(lines) + "\n"
