"""`agent top`: a running engine, once a second. Each frame is a pure function of two readings of its segment."""

import sys
import time
from pathlib import Path

from agent.monitor import stats
from agent.shm import segment as shm
from agent.shm.segment import Histogram, Segment

_CLEAR = "\x1b[H\x1b[J"
_RATES = ("datagrams", "messages", "events", "orders_sent", "replaces_sent", "cancels_sent", "accepted", "executed",
          "canceled", "rejected")  # fmt: skip
#: What should not grow.
_TROUBLE = ("kernel_drops", "gaps", "lost", "wrong_session", "book_inconsistent", "books_stale", "strategy_errors",
            "send_short", "send_refused", "connection_lost", "orders_never_reached", "major_faults", "minor_faults",
            "involuntary_switches", "ring_damaged", "broken_trades")  # fmt: skip


def difference(now: Histogram, before: Histogram) -> Histogram:
    """What was recorded between two readings; min and max are those of `now`."""
    return Histogram(
        count=now.count - before.count,
        sum=now.sum - before.sum,
        min=now.min,
        max=now.max,
        bits=now.bits,
        buckets=tuple(a - b for a, b in zip(now.buckets, before.buckets, strict=True)),
    )


def frame(before: Segment, now: Segment, seconds: float, rows: int = 20) -> str:
    """One screen: state, rates and latencies since `before`, what went wrong, positions of at most `rows` symbols."""
    c, was = now.counters, before.counters
    state = now.state if now.alive or now.state == "stopped" else "died"
    killed = "   KILLED (agent resume lets orders pass again)" if now.limits["kill"] else ""
    lines = [f"{now.path}  pid {now.pid}  {state}{f' ({now.ended})' if now.ended else ''}{killed}", ""]
    lines.append(f"{'':<16}{'per second':>14}{'total':>18}")
    for name in _RATES:
        rate = (c[name] - was[name]) / seconds if seconds > 0 else 0.0
        lines.append(f"{name:<16}{rate:>14,.0f}{c[name]:>18,}")
    lines += ["", f"{'microseconds':<16}{'samples':>12}" + "".join(f"{q:>11}" for q, _ in shm.QUANTILES)]
    for name, histogram in now.histograms.items():
        part = difference(histogram, before.histograms[name])
        if part.count:
            shown = "".join(f"{part.quantile(q) / 1e3:>11.2f}" for _, q in shm.QUANTILES)
            lines.append(f"{name:<16}{part.count:>12,}{shown}")
    trouble = [(n, c[n]) for n in (*_TROUBLE, *(k for k in c if k.startswith(("malformed_", "reject_")))) if c[n]]
    lines.append("")
    for i in range(0, len(trouble), 4):
        lines.append("   ".join(f"{n} {v:,}" + ("+" if v > was[n] else "") for n, v in trouble[i : i + 4]))
    lines += ["", f"{'symbol':<10}{'bid':>16}{'ask':>16}{'position':>12}{'buying':>10}{'selling':>10}"]
    for row in now.symbols[:rows]:
        lines.append(
            f"{row.name:<10}{row.bid / 1e8:>16,.4f}{row.ask / 1e8:>16,.4f}{row.position:>12,}{row.open_buy:>10,}"
            f"{row.open_sell:>10,}  {stats.stale(row.stale)}".rstrip()
        )
    if len(now.symbols) > rows:
        lines.append(f"... and {len(now.symbols) - rows} more")
    return "\n".join(lines) + "\n"


def run(path: Path, interval: float, count: int | None) -> int:
    """Show frames until interrupted, until the engine is gone, or `count` of them; the exit code."""
    before, at, shown = shm.read(path), time.monotonic(), 0
    clear = _CLEAR if sys.stdout.isatty() else ""
    try:
        while True:
            time.sleep(interval)
            now, when = shm.read(path), time.monotonic()
            if now.pid != before.pid:
                before = now
            sys.stdout.write(clear + frame(before, now, when - at))
            sys.stdout.flush()
            shown += 1
            if shown == count or not now.alive:
                return 0
            before, at = now, when
    except KeyboardInterrupt:
        return 0
