"""`agent stats`: what a segment says, as text or JSON. Everything is a pure function of a Segment."""

from typing import Any

import msgspec

from agent.shm.segment import QUANTILES, Histogram, Segment, now_ns

_STALE_NS = 1_000_000_000

#: Why a book is stale, by the number in its symbol's row (book.pxd).
_STALE = {1: "messages were lost", 2: "no room for more orders", 3: "no room for more price levels",
          4: "a message contradicts the book"}  # fmt: skip


def stale(reason: int) -> str:
    """The reason in words; "" for a book that can be trusted."""
    return _STALE.get(reason, f"reason {reason}") if reason else ""


def as_dict(segment: Segment) -> dict[str, Any]:
    """The reading as plain data: counters by name, latencies in ns."""
    alive = segment.alive
    return {
        "path": segment.path,
        "pid": segment.pid,
        "alive": alive,
        "state": segment.state if alive or segment.state == "stopped" else "died",
        "ended": segment.ended,
        "heartbeat_age_ns": now_ns() - segment.heartbeat_ns if alive else None,
        "ticks_in": segment.counters["book_ticker"] + segment.counters["trade"],
        "malformed": sum(n for name, n in segment.counters.items() if name.startswith("malformed_")),
        "rejects": sum(n for name, n in segment.counters.items() if name.startswith("reject_")),
        "counters": segment.counters,
        "latency_ns": {name: summary(h) for name, h in segment.histograms.items()},
    }


def summary(histogram: Histogram) -> dict[str, Any]:
    """count, min, mean, the percentiles and max of a histogram, in ns."""
    shown: dict[str, Any] = {"count": histogram.count}
    if histogram.count:
        shown["min"] = histogram.min
        shown["mean"] = round(histogram.sum / histogram.count, 1)
        shown |= {name: round(histogram.quantile(q), 1) for name, q in QUANTILES}
        shown["max"] = histogram.max
    return shown


def as_json(segment: Segment) -> str:
    """One JSON object and a newline."""
    return msgspec.json.format(msgspec.json.encode(as_dict(segment)), indent=2).decode() + "\n"


def as_text(segment: Segment) -> str:
    """For people: state, every counter that is not zero, and the latencies in microseconds."""
    data = as_dict(segment)
    head = f"agent {segment.path}: pid {segment.pid}, {data['state']}"
    if data["ended"]:
        head += f" ({data['ended']})"
    elif not data["alive"]:
        head += " (the process is gone; these are its last numbers)"
    elif data["heartbeat_age_ns"] > _STALE_NS:
        head += f" (its loop has not been seen for {data['heartbeat_age_ns'] / 1e9:.1f} s)"
    lines = [head]
    lines.append(
        f"  ticks in {data['ticks_in']:,}, lost {segment.counters['lost']:,}, "
        f"kernel drops {segment.counters['kernel_drops']:,}, malformed {data['malformed']:,}"
    )
    lines.append(
        f"  orders sent {segment.counters['orders_sent']:,}, accepted {segment.counters['accepted']:,}, "
        f"rejected by the gate {data['rejects']:,}"
    )
    lines.append("  counters (those at zero are left out):")
    lines += [f"    {name:<22}{n:>16,}" for name, n in segment.counters.items() if n]
    lines.append("  latency, microseconds:")
    for name, row in data["latency_ns"].items():
        if not row["count"]:
            lines.append(f"    {name:<12} no samples")
            continue
        parts = " ".join(f"{q} {row[q] / 1e3:.2f}" for q, _ in QUANTILES)
        lines.append(f"    {name:<12} {parts} max {row['max'] / 1e3:.2f} ({row['count']:,} samples)")
    return "\n".join(lines) + "\n"
