"""`python -m benchmarks.agent`: rounds of ours and the reference, interleaved: ratios, since times are not stable.

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

from benchmarks.agent import machine, plot
from benchmarks.agent.sample import BenchError, Curves, Sample

#: Modules of this folder; those of another with its name.
NAMES = (
    "tick_to_order",
    "own_code",
    "replay",
    "book",
    "receive",
    "ring",
    "itch_decode",
    "strategy_call",
    "metric_record",
    "kernels",
    "launch",
    "desk.decode",
    "desk.bus",
    "desk.follow",
    "desk.ingest",
    "desk.worker",
)
ROUNDS = 7
#: Rounds of a benchmark that may go wrong.
FAILURES = 3


def load(names: list[str]) -> list[ModuleType]:
    """The benchmarks called so; all of them for none. Raises BenchError for an unknown name."""
    for name in names:
        if name not in NAMES:
            raise BenchError(f"bench: found {name!r}, allowed: {', '.join(NAMES)}")
    return [
        importlib.import_module(f"benchmarks.{name if '.' in name else f'agent.{name}'}") for name in names or NAMES
    ]


def measure(bench: ModuleType, rounds: int, directory: Path, quiet: float = machine.QUIET) -> dict[str, Any]:
    """Run one: {"bench", "results": [...], "failed": [...]} or {"bench", "refused": why, "failed": [...]}.

    A module's rounds() yields the same samples, in the same order, each round. Where some reference may be missing
    on a machine, its left_out() says which are, and why: then rounds() does without. A round that is not quiet, or in
    which something was lost or went wrong (BenchError), is discarded, and run again; failed: what went wrong. After
    FAILURES of these the benchmark is refused, as when there are too few quiet rounds.
    """
    name = bench.__name__.rpartition(".")[2]
    kept: list[list[Sample]] = []
    failed: list[str] = []
    discarded, worst = -1, 0.0  # the first one warms caches up, and counts for nothing
    play: Iterator[list[Sample]] = bench.rounds(directory)
    while len(kept) < rounds and discarded <= 2 * rounds and len(failed) < FAILURES:
        before = machine.moment()
        try:
            samples = next(play)
        except BenchError as error:
            failed.append(str(error))
            discarded += 1
            play = bench.rounds(directory)
            continue
        if discarded < 0:
            discarded = 0
        elif (share := machine.foreign(before, machine.moment())) > quiet:
            discarded, worst = discarded + 1, max(worst, share)
        else:
            kept.append(samples)
    play.close()  # type: ignore[attr-defined]
    if len(kept) == rounds:
        results = [summary(name, column, discarded) for column in zip(*kept, strict=True)]
        return {"bench": name, "results": results, "failed": failed}
    busy = (
        f"the machine was busy: {discarded} rounds discarded, others used up to {worst:.0%} of it, "
        f"allowed {quiet:.0%}; {len(kept)} of {rounds} rounds left"
    )
    return {"bench": name, "refused": failed[-1] if len(failed) == FAILURES else busy, "failed": failed}


def summary(name: str, samples: tuple[Sample, ...], discarded: int) -> dict[str, Any]:
    """One metric over all rounds: medians, and the ratio's median and range. The ratio is taken in each round."""
    first = samples[0]
    ours = statistics.median(s.ours for s in samples)
    ratios = [s.ours / s.reference for s in samples if s.reference]
    ratio = statistics.median(ratios) if ratios else None
    met = None
    if first.bar is not None:
        met = ours == 0 if ratio is None else ratio <= first.bar if first.better == "lower" else ratio >= first.bar
    return {
        "bench": name,
        "metric": first.metric,
        "unit": first.unit,
        "ours": round(ours, 3),
        "reference": round(statistics.median(s.reference for s in samples), 3),
        "reference_name": first.reference_name,
        "ratio": None if ratio is None else round(ratio, 3),
        "ratios": [round(r, 4) for r in ratios],
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)] if ratios else None,
        "better": first.better,
        "bar": first.bar,
        "met": met,
        "rounds": len(samples),
        "discarded": discarded,
        "curves": _median_curves([s.curves for s in samples if s.curves]),
    }


def _median_curves(rounds: list[Curves]) -> dict[str, Any] | None:
    """Each point of the curves (sample.NINES), the median of the rounds'; None for no curves."""
    if not rounds:
        return None
    sides = {"ours": [c.ours for c in rounds], "reference": [c.reference for c in rounds]}
    points = {
        side: [round(statistics.median(column), 3) for column in zip(*curves, strict=False)]
        for side, curves in sides.items()
    }
    return {"title": rounds[0].title, **points}


def run(names: list[str], rounds: int, form: str, out: Path | None) -> int:
    """Measure and print; 0, or 1 if a benchmark was refused. Writes bench.json and the plots to `out` if given."""
    benches = load(names)
    with tempfile.TemporaryDirectory(prefix="agent-bench-") as directory:
        found, left_out = [], []
        for bench in benches:
            print(f"{bench.__name__.rpartition('.')[2]}: {rounds} rounds ...", file=sys.stderr, flush=True)
            found.append(measure(bench, rounds, Path(directory)))
            for reference, why in getattr(bench, "left_out", dict)().items():
                left_out.append({"bench": found[-1]["bench"], "reference_name": reference, "why": why})
    results = [row for one in found for row in one.get("results", [])]
    refused = [one for one in found if "refused" in one]
    about = machine.describe()
    text = msgspec.json.format(msgspec.json.encode(results), indent=2).decode() + "\n"
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            whole = {"machine": about, "results": results, "refused": refused, "left_out": left_out}
            whole["failed"] = [{"bench": one["bench"], "why": why} for one in found for why in one["failed"]]
            (out / "bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=2))
            why = plot.missing()
            if why:
                print(f"agent: bench: no plots: {why}", file=sys.stderr)
            for one in [] if why else found:
                if "results" in one:
                    plot.draw(one["bench"], one["results"], about, out)
                    plot.draw_curves(one["bench"], one["results"], about, out)
        except OSError as error:
            raise BenchError(f"--out {out}: {error.strerror}") from None
    if form == "json":
        sys.stdout.write(text)
    else:
        sys.stdout.write(as_text(about, results))
    for one in found:
        for why in one["failed"]:
            print(f"agent: {one['bench']}: a round went wrong: {why}", file=sys.stderr)
    for one in refused:
        print(f"agent: {one['bench']}: refused: {one['refused']}", file=sys.stderr)
    for one in left_out:
        print(f"agent: {one['bench']}: without {one['reference_name']}: {one['why']}", file=sys.stderr)
    return 1 if refused else 0


def as_text(about: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """A table of ratios, below the machine that they are of."""
    lines = [
        f"{about['host']}: {about['cpus']} x {about['cpu']}, Linux {about['kernel']}, isolated "
        f"{about['isolated_cpus'] or 'none'}, {about['scheduler']}, sched_rt_runtime_us {about['sched_rt_runtime_us']}",
        f"{'bench':<14}{'metric':<38}{'ours':>14}{'reference':>14} {'unit':<7}{'ratio':>8} {'bar':>7}      range",
    ]
    for r in results:
        ratio = "-" if r["ratio"] is None else f"{r['ratio']:.3g}"
        spread = "" if r["ratio_range"] is None else "{:.3g}-{:.3g}, ".format(*r["ratio_range"])
        bar = "" if r["bar"] is None else ("<=" if r["better"] == "lower" else ">=") + f"{r['bar']:g}"
        met = {True: "met", False: "NOT", None: ""}[r["met"]]
        lines.append(
            f"{r['bench']:<14}{r['metric']:<38}{r['ours']:>14,.2f}{r['reference']:>14,.2f} {r['unit']:<7}"
            f"{ratio:>8} {bar:>7} {met:<4} {spread}{r['rounds']} rounds, {r['discarded']} discarded; "
            f"{r['reference_name']}"
        )
    return "\n".join(lines) + "\n"
