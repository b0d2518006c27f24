"""What a run says of itself: its counters while it runs, and a document at its end."""

import re
import time
from collections.abc import Iterable
from typing import Any

from desk.bus.run import Runner
from hosttune.output import escape

#: Characters of a label at most.
_MOST_LABEL = 100


def count(runner: Runner) -> tuple[dict[str, int | float], dict[str, str]]:
    """Returns the numbers and the texts of a run's counters."""
    pauses, watch, faults = runner.pauses, runner.watch, runner.bus.faults
    numbers: dict[str, int | float] = {
        "gc_pauses": pauses.count,
        "gc_pause_seconds": pauses.total_ns / 1e9,
        "gc_longest_pause_seconds": pauses.worst_ns / 1e9,
        "loop_blocked": watch.blocked,
        "loop_longest_blocked_seconds": watch.longest_ns / 1e9,
        "delivery_blocked": int(runner.bus.blocked),
    }
    numbers |= _label("events", runner.bus.counts.items())
    numbers |= _label("source_events", [(one.name, one.events) for one in runner.sources])
    numbers |= _label("errors", faults.counts.items())
    slow = [one.slow for one in runner.bus.subscribers if one.slow]
    for word in ("handled", "dropped", "blocked", "waiting"):
        numbers |= _label(word, [(one.name, getattr(one, word)) for one in slow])
    problems = [f"source {one.name}: {one.problem}" for one in runner.sources if one.problem]
    problems += [f"an exception within the last minute: {faults.recent}"] if faults.recent else []
    return numbers, {"problem": "; ".join(problems), "module": str(runner.module)}


def _label(word: str, values: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Returns numbers with labels, without a bracket in a label; the counters say how many they have no room for. What
    has the same label adds up: a function with two marks is two handlers."""
    found: dict[str, int] = {}
    for name, value in values:
        label = f"{word}[{re.sub(r'[^!-Z^-~ ]', '?', name)[-_MOST_LABEL:]}]"
        found[label] = found.get(label, 0) + value
    return found


def describe(runner: Runner) -> dict[str, Any]:
    """Returns what there was, as plain data."""
    handlers = []
    for one in runner.bus.subscribers:
        row: dict[str, Any] = {"name": one.name, "where": one.where}
        row["errors"] = runner.bus.faults.counts.get(one.name, 0)
        if one.slow:
            names = ("policy", "size", "handled", "dropped", "blocked", "most_waiting")
            row["queue"] = {name: getattr(one.slow, name) for name in names}
        handlers.append(row)
    gc, watch = runner.pauses, runner.watch
    return {
        "name": runner.name,
        "module": str(runner.module),
        "ok": not runner.failed,
        "loop": runner.loop_name,
        "seconds": round(time.monotonic() - runner.begun, 3),
        "events": runner.bus.counts,
        "handlers": handlers,
        "errors": runner.bus.faults.counts,
        "sources": [{"name": one.name, "events": one.events, "problem": one.problem} for one in runner.sources],
        "stopped_by": runner.stopped_by,
        "left": runner.left,
        "not_ended": runner.bus.stuck,
        "paper": {"orders": runner.paper.orders, "executed": runner.paper.executed} if runner.paper else None,
        "gc": {
            "pauses": gc.count,
            "by_generation": gc.counts,
            "longest_ms": gc.worst_ns / 1e6,
            "total_ms": gc.total_ns / 1e6,
            "frozen_objects": gc.frozen,
        },
        "loop_blocked": {
            "count": watch.blocked,
            "longest_ms": watch.longest_ns / 1e6,
            "where": watch.longest_place,
        },
    }


def as_text(data: dict[str, Any]) -> str:
    """Returns what describe() says, for people."""
    gc, loop = data["gc"], data["loop_blocked"]
    lines = [f"{data['name']}: {data['module']}: {data['seconds']:.1f} s on {data['loop']}"]
    lines += [f"  {name:<18}{number:>14,} events" for name, number in data["events"].items()]
    for one in data["sources"]:
        problem = f"; {one['problem']}" if one["problem"] else ""
        lines.append(f"  source {one['name']}: {one['events']:,} events{problem}")
    for one in data["handlers"]:
        if queue := one.get("queue"):
            lines.append(f"  handler {one['name']}: {queue['policy']}: {queue['handled']:,} handled, "
                         f"{queue['dropped']:,} dropped, {queue['blocked']:,} times blocked, "
                         f"at most {queue['most_waiting']:,} of {queue['size']:,} waiting")  # fmt: skip
    lines += [f"  errors in {name}: {number:,}" for name, number in data["errors"].items()]
    if data["paper"]:
        lines.append(f"  on paper: {data['paper']['orders']:,} orders, {data['paper']['executed']:,} executed")
    lines.append(f"  gc pauses: {gc['pauses']:,}, the longest {gc['longest_ms']:.2f} ms, {gc['total_ms']:.2f} ms in all"
                 f"; {gc['frozen_objects']:,} objects frozen")  # fmt: skip
    if loop["count"]:
        lines.append(f"  the loop was held up {loop['count']:,} times, at most {loop['longest_ms']:.0f} ms, by "
                     f"{loop['where']}")  # fmt: skip
    if data["stopped_by"]:
        lines.append(f"  ended by: {data['stopped_by']}")
    if data["left"]:
        lines.append(f"  {data['left']:,} events were not handled in the time that drain_s gives")
    lines += [f"  did not end when it was asked to: {name}" for name in data["not_ended"]]
    return "".join(f"{escape(line)}\n" for line in lines)
