"""A running engine on the screen, once a second: `agent top`. Each frame is a pure function of two readings of the
engine's segment."""

import time
from collections.abc import Iterator
from pathlib import Path

from agent.book.stale import explain_stale
from agent.monitor.states import SYMBOLS, describe_market
from agent.shm import segment as shm
from agent.shm.histogram import QUANTILES, Histogram
from agent.shm.segment import Segment
from hosttune.output import escape_values
from hosttune.report.columns import measure, pad

_RATES = ("datagrams", "messages", "events", "orders_sent", "replaces_sent", "cancels_sent", "accepted", "executed",
          "canceled", "rejected")  # fmt: skip
#: Counters that should not grow, beside those of malformed messages and of rejects.
_TROUBLE = ("kernel_drops", "gaps", "lost", "wrong_session", "wrong_source", "far_ahead", "feed_contested",
            "book_inconsistent", "books_stale", "strategy_errors", "send_short", "send_refused", "connection_lost",
            "orders_never_reached", "major_faults", "minor_faults", "involuntary_switches", "ring_damaged",
            "broken_trades", "quotes_restarted", "stamps_mixed", "stamps_implausible")  # fmt: skip
_TROUBLE_PREFIXES = ("malformed_", "refused_", "reject_")
_TROUBLE_COLUMNS = 4


def is_comparable(before: Segment, now: Segment) -> bool:
    """Returns whether two readings are of one process, with the same values: only then is there a difference."""

    def describe(segment: Segment) -> tuple[object, ...]:
        shapes = {name: (h.bits, len(h.buckets)) for name, h in segment.histograms.items()}
        return segment.pid, segment.start_time, segment.counters.keys(), shapes

    return describe(before) == describe(now)


def subtract_histogram(now: Histogram, before: Histogram) -> Histogram:
    """Returns what was recorded between two readings of a histogram; min and max are those of `now`."""
    return Histogram(
        count=now.count - before.count,
        sum=now.sum - before.sum,
        min=now.min,
        max=now.max,
        bits=now.bits,
        buckets=tuple(a - b for a, b in zip(now.buckets, before.buckets, strict=True)),
    )


def format_frame(before: Segment, now: Segment, seconds: float, rows: int = 20) -> str:
    """Returns one screen: state, rates and latencies since `before`, `seconds` ago, what went wrong, and the positions
    of at most `rows` symbols."""
    before, now = escape_values(before), escape_values(now)
    killed = "   KILLED (agent resume lets orders pass again)" if now.limits["kill"] else ""
    ended = f" ({now.ended})" if now.ended else ""
    market = f"   market {words}" if (words := describe_market(now.counters)) else ""
    lines = [
        f"{now.path}  pid {now.pid}  {now.condition}{ended}{market}{killed}",
        "",
        *_list_rates(before, now, seconds),
        "",
        *_list_latencies(before, now),
        "",
        *_list_trouble(before, now),
        "",
        *_list_symbols(now, rows),
    ]
    return "\n".join(lines) + "\n"


def _list_rates(before: Segment, now: Segment, seconds: float) -> list[str]:
    lines = [f"{'':<16}{'per second':>14}{'total':>18}"]
    for name in _RATES:
        total = now.counters[name]
        rate = (total - before.counters[name]) / seconds if seconds > 0 else 0.0
        lines.append(f"{name:<16}{rate:>14,.0f}{total:>18,}")
    return lines


def _list_latencies(before: Segment, now: Segment) -> list[str]:
    lines = [f"{'microseconds':<16}{'samples':>12}" + "".join(f"{name:>11}" for name, _ in QUANTILES)]
    for name, histogram in now.histograms.items():
        recent = subtract_histogram(histogram, before.histograms[name])
        if recent.count:
            quantiles = "".join(f"{recent.quantile(q) / 1e3:>11.2f}" for _, q in QUANTILES)
            lines.append(f"{name:<16}{recent.count:>12,}{quantiles}")
    return lines


def _list_trouble(before: Segment, now: Segment) -> list[str]:
    names = [*_TROUBLE, *(name for name in now.counters if name.startswith(_TROUBLE_PREFIXES))]
    cells = [
        f"{name} {count:,}" + ("+" if count > before.counters[name] else "")
        for name in names
        if (count := now.counters[name])
    ]
    return ["   ".join(cells[i : i + _TROUBLE_COLUMNS]) for i in range(0, len(cells), _TROUBLE_COLUMNS)]


def _list_symbols(now: Segment, rows: int) -> list[str]:
    width = max([10, *(measure(symbol.name) + 1 for symbol in now.symbols[:rows])])
    lines = [f"{'symbol':<{width}}{'bid':>16}{'ask':>16}{'position':>12}{'buying':>10}{'selling':>10}{'state':>13}"]
    for symbol in now.symbols[:rows]:
        lines.append(
            f"{pad(symbol.name, width)}{symbol.bid / 1e8:>16,.4f}{symbol.ask / 1e8:>16,.4f}{symbol.position:>12,}"
            f"{symbol.open_buy:>10,}{symbol.open_sell:>10,}{SYMBOLS.get(symbol.state, ''):>13}  "
            f"{explain_stale(symbol.stale)}".rstrip()
        )
    if len(now.symbols) > rows:
        lines.append(f"... and {len(now.symbols) - rows} more")
    return lines


def watch_engine(path: Path, interval: float, count: int | None) -> Iterator[str]:
    """Yield a frame every `interval` seconds, until the engine is gone, or `count` of them. Raises SegmentError."""
    before, before_time, shown = shm.read(path), time.monotonic(), 0
    while True:
        time.sleep(interval)
        now, now_time = shm.read(path), time.monotonic()
        if not is_comparable(before, now):
            before = now
        yield format_frame(before, now, now_time - before_time)
        shown += 1
        if shown == count or not now.alive:
            return
        before, before_time = now, now_time
