"""The `gaps` command: spin on one CPU and say when and why the thread did not run."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

MEASURED, TOO_LONG, COULD_NOT_TELL = 0, 1, 3
_EPILOG = "exit status: 0 measured, 1 a gap was longer than --fail-above, 2 usage error, 3 could not measure"
_MAX_SECONDS = 3600.0
_CAPACITY = 100_000
_EXPLAIN_NS = 10_000_000
_SHOWN = 10


def add_gaps(commands: Any) -> None:
    """Add the command to the subparsers of the `hosttune` parser."""
    gaps = commands.add_parser("gaps", help="spin on one CPU and find the time it loses", epilog=_EPILOG)
    gaps.add_argument("--cpu", metavar="N", type=int, required=True)
    gaps.add_argument("--seconds", metavar="S", type=float, default=5.0, help="default: %(default)g")
    gaps.add_argument(
        "--threshold",
        metavar="US",
        type=float,
        default=100.0,
        help="gaps longer than this; default: %(default)g",
    )
    gaps.add_argument("--policy", choices=("other", "fifo", "rr"), default="other", help="default: %(default)s")
    gaps.add_argument("--priority", metavar="N", type=int, default=None, help="1 to 98; default with fifo and rr: 1")
    gaps.add_argument("--fail-above", metavar="US", type=float, help="exit 1 if the longest gap is longer")
    gaps.add_argument("--format", choices=("text", "json"), default="text")
    gaps.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    from hosttune.cli.main import UsageError
    from hosttune.launch.plan import HIGHEST_PRIORITY

    realtime = arguments.policy != "other"
    priority = arguments.priority if arguments.priority is not None else int(realtime)
    if not (1 <= priority <= HIGHEST_PRIORITY if realtime else priority == 0):
        raise UsageError(f"--priority {priority}: wanted 1 to {HIGHEST_PRIORITY} with fifo and rr, none with other")
    if not 0 < arguments.seconds <= _MAX_SECONDS or arguments.threshold < 1 or arguments.cpu < 0:
        raise UsageError(f"wanted 0 < --seconds <= {_MAX_SECONDS:g}, --threshold >= 1, --cpu >= 0")
    try:
        document = measure(arguments.cpu, arguments.seconds, arguments.threshold, arguments.policy, priority)
    except OSError as error:
        print(
            f"hosttune gaps: cannot run {arguments.policy} {priority} on CPU {arguments.cpu}: {error.strerror}",
            file=sys.stderr,
        )
        return COULD_NOT_TELL
    if arguments.format == "json":
        import json

        print(json.dumps(document, indent=2))
    else:
        print(as_text(document))
    limit = arguments.fail_above
    return TOO_LONG if limit is not None and document["longest_ns"] > limit * 1000 else MEASURED


def measure(cpu: int, seconds: float, threshold_us: float, policy: str, priority: int) -> dict[str, Any]:
    """Spin on `cpu` in a child process, so that the caller keeps its own placement.

    Returns what :func:`hosttune.measure.gaps.spin` does with the gaps as dicts that have a `cause`, and the
    `interrupts` that the CPU took. Raises OSError if the thread cannot be placed so.
    """
    import json

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            try:
                answer: Any = _spin(cpu, seconds, threshold_us, policy, priority)
            except OSError as error:
                answer = error.errno
            with open(writer, "w", encoding="utf-8") as pipe:
                json.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        raise ChildProcessError(0, "the measuring process ended early")
    answer = json.loads(text)
    if not isinstance(answer, dict):
        raise OSError(answer, os.strerror(answer))
    return answer


def _spin(cpu: int, seconds: float, threshold_us: float, policy: str, priority: int) -> dict[str, Any]:
    import gc

    from hosttune.launch.facts import SCHED
    from hosttune.measure.causes import Gap, interrupt_deltas
    from hosttune.measure.gaps import spin

    gc.disable()
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, SCHED[policy], os.sched_param(priority))
    before = _interrupts()
    result = spin(cpu, int(seconds * 1e9), int(threshold_us * 1000), _EXPLAIN_NS, _CAPACITY)
    after = _interrupts()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    gaps = [Gap(*row) for row in result["gaps"]]
    fields = Gap.__struct_fields__
    return {
        "cpu": cpu,
        "policy": policy,
        "priority": priority,
        "threshold_us": threshold_us,
        **result,
        "gaps": [{**{name: getattr(gap, name) for name in fields}, "cause": gap.cause} for gap in gaps],
        "interrupts": interrupt_deltas(before, after, cpu),
    }


def _interrupts() -> str:
    with open("/proc/interrupts", encoding="utf-8", errors="replace") as file:
        return file.read()


def as_text(document: dict[str, Any]) -> str:
    """Totals, the longest gaps with their causes, and what each cause means."""
    from hosttune.measure.causes import EXPLAIN, Cause

    seconds = document["spun_ns"] / 1e9
    policy = document["policy"] + (f" {document['priority']}" if document["priority"] else "")
    longest = document["longest_ns"] / 1000
    lines = [
        f"CPU {document['cpu']}, {policy}, {seconds:.2f} s: longest gap {longest:.1f} µs, "
        f"{document['count']} over {document['threshold_us']:g} µs, {document['lost_ns'] / 1e6:.2f} ms "
        f"({document['lost_ns'] / document['spun_ns'] * 100:.2f} %) lost"
    ]
    gaps = sorted(document["gaps"], key=lambda gap: -gap["length_ns"])[:_SHOWN]
    if gaps:
        lines.append(f"  {'AT ms':>10}{'LENGTH µs':>12}  CAUSE")
    for gap in sorted(gaps, key=lambda gap: gap["start_ns"]):
        lines.append(f"  {gap['start_ns'] / 1e6:>10.2f}{gap['length_ns'] / 1000:>12.1f}  {gap['cause']}")
    causes: list[Cause] = sorted({gap["cause"] for gap in gaps})
    lines += [f"  {cause}: {EXPLAIN[cause]}" for cause in causes]
    most = list(document["interrupts"].items())[:5]
    if most:
        lines.append("  interrupts: " + ", ".join(f"{name} {count}" for name, count in most))
    return "\n".join(lines)
