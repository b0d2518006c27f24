"""Two readings as a document: plain data, and one screen for people. Everything is a pure function."""

from typing import Any

from agent.shm import place
from agent.shm.segment import Segment
from desk.counters import Snapshot, split_name
from desk.errors import FAILED, OK, UNKNOWN
from desk.numbers import find_number
from desk.status.judge import find_state, list_findings, list_unknown
from desk.status.reading import Reading
from hosttune.host import cpulist
from hosttune.output import escape, escape_values
from hosttune.report.columns import clip, pad

VERDICTS = {"well": OK, "not well": FAILED, "unknown": UNKNOWN}
#: Numbers and texts of a process, and rows of each part, that a screen shows at most.
_MOST_NUMBERS, _MOST_ROWS = 16, 40
#: Places of a line with numbers, and of a text in one.
_WIDTH, _MOST_TEXT = 118, 100
#: Words in the names of the numbers that come first on a screen.
_FIRST = ("lag", "age", "lost", "module", "error", "dropped", "refused", "waiting", "used", "bytes", "pause")
_USAGE = f"{'CPU':>6}{'memory':>10}{'threads':>9}  placement"


def describe(before: Reading, now: Reading) -> dict[str, Any]:
    """Returns what `now` says as plain data: rates and CPU shares since `before`. verdict: one of VERDICTS."""
    findings, unknown = list_findings(now), list_unknown(now)
    return {
        "verdict": "not well" if findings else "unknown" if unknown else "well",
        "findings": findings,
        "unknown": unknown,
        "engines": [_describe_engine(engine, before, now) for engine in now.engines],
        "rings": [
            {"path": path, "share": round(fill.used / fill.capacity, 4), **fill._asdict()}
            for path, fill in now.rings.items()
        ],
        "processes": [_describe_process(process, before, now) for process in now.processes],
        "isolated_cpus": None if now.isolated is None else sorted(now.isolated),
    }


def _describe_engine(engine: Segment, before: Reading, now: Reading) -> dict[str, Any]:
    age = engine.heartbeat_age_ns
    old = next((one for one in before.engines if (one.path, one.pid) == (engine.path, engine.pid)), None)
    counters, old_counters, seconds = engine.counters, old.counters if old else {}, now.at - before.at
    return {
        "path": engine.path,
        "pid": engine.pid,
        "state": find_state(engine, now.usage.get(engine.pid)),
        "heartbeat_age_s": None if age is None else age / 1e9,
        "kill": bool(engine.limits["kill"]),
        "tripped": engine.tripped,
        "lost": counters["lost"],
        "gaps": counters["gaps"],
        "messages_per_s": _rate(counters["messages"], old_counters.get("messages"), seconds),
        "orders_per_s": _rate(counters["orders_sent"], old_counters.get("orders_sent"), seconds),
        "usage": _describe_usage(engine.pid, before, now),
    }


def _describe_process(process: Snapshot, before: Reading, now: Reading) -> dict[str, Any]:
    old = next((one for one in before.processes if (one.path, one.pid) == (process.path, process.pid)), None)
    state = find_state(process, now.usage.get(process.pid))
    # A process says when it has published: the looks at it may be closer to each other than that.
    between = process.uptime - old.uptime if old else 0.0
    rates = (
        {
            name: _rate(value, old.numbers.get(name), between)
            for name, value in process.numbers.items()
            if find_number(process.kind, split_name(name)[0]).kind == "counter"
        }
        if old
        else {}
    )
    return {
        "name": process.name,
        "kind": process.kind,
        "path": str(process.path),
        "pid": process.pid,
        "state": state,
        "heartbeat_age_s": process.age,
        "uptime_s": process.uptime,
        "numbers": process.numbers,
        "per_s": {name: rate for name, rate in rates.items() if rate is not None},
        "texts": process.texts,
        "usage": _describe_usage(process.pid, before, now) if state in ("runs", "hung") else None,
    }


def _rate(value: float, old: float | None, seconds: float) -> float | None:
    return None if old is None or seconds <= 0 or value < old else round((value - old) / seconds, 3)


def _describe_usage(pid: int, before: Reading, now: Reading) -> dict[str, Any] | None:
    usage, old = now.usage.get(pid), before.usage.get(pid)
    if usage is None:
        return None
    return {
        "cpu": _rate(usage.cpu_seconds, old.cpu_seconds if old else None, now.at - before.at),
        "rss": usage.rss,
        "threads": usage.threads,
        "cpus": sorted(usage.cpus),
        "policy": usage.policy,
        "nice": usage.nice,
        "status": usage.status,
    }


def as_text(data: dict[str, Any]) -> str:
    """Returns describe() as one screen."""
    data = escape_values(data)
    lines = [data["verdict"]]
    lines += [f"  not well: {line}" for line in data["findings"][:_MOST_ROWS]]
    lines += [f"  not known: {line}" for line in data["unknown"][:_MOST_ROWS]]
    lines += _count_more(data["findings"], data["unknown"])
    if data["engines"]:
        lines += [
            "",
            f"{'engine':<20}{'state':<12}{'seen':>8}{'ticks/s':>10}{'orders/s':>9}{'lost':>7}{'gaps':>7}  {_USAGE}",
        ]
    for one in data["engines"][:_MOST_ROWS]:
        name = one["path"].rpartition("/")[2].removesuffix(place.SEGMENT_SUFFIX)
        lines.append(
            f"{pad(clip(name, 19), 20)}{'killed' if one['kill'] else one['state']:<12}{_age(one['heartbeat_age_s']):>8}"
            f"{_show(one['messages_per_s']):>10}{_show(one['orders_per_s']):>9}{one['lost']:>7,}{one['gaps']:>7,}"
            f"  {_show_usage(one['usage'])}"
        )
    if data["rings"]:
        lines += ["", f"{'ring':<60}{'bytes used':>14}{'of':>14}{'':>7}  ends"]
    for one in data["rings"][:_MOST_ROWS]:
        ends = ", ".join(end for end in ("writer", "reader") if one[end]) or "nobody"
        numbers = f"{one['used']:>14,}{one['capacity']:>14,}{one['share']:>7.0%}"
        lines.append(f"{pad(clip(one['path'], 59), 60)}{numbers}  {ends}")
    if data["processes"]:
        lines += ["", f"{'process':<32}{'state':<8}{'seen':>8}  {_USAGE}"]
    for one in data["processes"][:_MOST_ROWS]:
        title = f"{pad(clip(one['name'], 31), 32)}{one['state']:<8}{_age(one['heartbeat_age_s']):>8}  "
        lines.append(title + _show_usage(one["usage"]))
        lines += _show_numbers(one)
        lines += [f"    {word}: {clip(text, _MOST_TEXT)}" for word, text in one["texts"].items() if text][
            :_MOST_NUMBERS
        ]
    lines += _count_more(data["engines"], data["rings"], data["processes"])
    return "".join(f"{escape(line.rstrip())}\n" for line in lines)


def _count_more(*parts: list[Any]) -> list[str]:
    more = sum(max(0, len(part) - _MOST_ROWS) for part in parts)
    return [f"  ... and {more} more, which --format json has"] if more else []


def _age(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.1f} s"


def _show(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, float) and abs(value) >= 1e15:
        return f"{value:.4g}"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.3g}"


def _show_usage(usage: dict[str, Any] | None) -> str:
    if usage is None:
        return f"{'-':>6}{'-':>10}{'-':>9}"
    share = "-" if usage["cpu"] is None else f"{usage['cpu']:.0%}"
    nice = f", nice {usage['nice']}" if usage["nice"] else ""
    cpus = clip(cpulist.show(frozenset(usage["cpus"])), 30)
    return f"{share:>6}{usage['rss'] / (1 << 20):>7,.0f} MB{usage['threads']:>9}  CPUs {cpus}, {usage['policy']}{nice}"


def _show_numbers(process: dict[str, Any]) -> list[str]:
    """Returns lines with a process's numbers: those of _FIRST, then those that move; a counter by its rate, too."""

    def rank(name: str) -> tuple[int, str]:
        first = [at for at, word in enumerate(_FIRST) if word in name]
        return (first[0] if first else len(_FIRST) + (name not in process["per_s"])), name

    cells = []
    for name in sorted(process["numbers"], key=rank)[:_MOST_NUMBERS]:
        rate = process["per_s"].get(name)
        cells.append(f"{clip(name, 50)} {_show(process['numbers'][name])}" + (f" ({_show(rate)}/s)" if rate else ""))
    more = len(process["numbers"]) - _MOST_NUMBERS
    cells += [f"and {more} more"] if more > 0 else []
    lines: list[str] = []
    for cell in cells:
        if lines and len(lines[-1]) + len(cell) + 3 <= _WIDTH:
            lines[-1] += f"   {cell}"
        else:
            lines.append(f"    {cell}")
    return lines
