"""What an engine's segment says, as a document for `agent stats`. Everything is a pure function of a Segment."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from agent import limits
from agent.book.stale import explain_stale
from agent.monitor.states import describe_market
from agent.shm.histogram import QUANTILES, Histogram
from agent.shm.ring import Fill
from agent.shm.segment import Segment, Symbol
from hosttune.output import escape

if TYPE_CHECKING:
    from prometheus_client import Metric

    from hosttune.report.document import Page


class Statistics(msgspec.Struct, frozen=True):
    """One reading of a segment as a document. journal: how full the ring is that carries the engine's journal; None:
    there is none, of an engine that has ended, say."""

    segment: Segment
    journal: Fill | None = None

    def as_data(self) -> dict[str, Any]:
        """Returns the reading as plain data: limits in the words and units of agent.toml, counters by name, latencies
        in ns, symbols by name (describe_symbol)."""
        counters = self.segment.counters
        return {
            "path": self.segment.path,
            "pid": self.segment.pid,
            "alive": self.segment.alive,
            "up": self.segment.up,
            "state": self.segment.condition,
            "ended": self.segment.ended,
            "tripped": self.segment.tripped,
            "started_ns": self.segment.started_ns,
            "heartbeat_age_ns": self.segment.heartbeat_age_ns,
            "build": self.segment.build,
            "abi": self.segment.abi,
            "feed_session": self.segment.feed_session,
            "journal_waiting": self.journal.used if self.journal else None,
            "journal_writer": self.journal.reader if self.journal else None,
            "ticks_in": counters["book_ticker"] + counters["trade"],
            "malformed": sum(count for name, count in counters.items() if name.startswith("malformed_")),
            "rejects": sum(count for name, count in counters.items() if name.startswith("reject_")),
            "limits": limits.from_words(self.segment.limits),
            "counters": counters,
            "latency_ns": {name: summarize(histogram) for name, histogram in self.segment.histograms.items()},
            "symbols": {symbol.name: describe_symbol(symbol) for symbol in self.segment.symbols},
        }

    def as_text(self, page: "Page") -> str:
        """Returns the state, every counter that is not zero, and the latencies in microseconds."""
        data, counters = self.as_data(), self.segment.counters
        head = f"agent {self.segment.path}: pid {self.segment.pid}, {data['state']}"
        if data["ended"]:
            head += f" ({data['ended']})"
        elif data["state"] == "died":
            head += " (the process is gone; these are its last numbers)"
        elif data["state"] == "hung":
            head += f" (its loop has not been seen for {data['heartbeat_age_ns'] / 1e9:.1f} s)"
        lines = [
            head,
            *([f"  beyond its limit: {escape(data['tripped'])}"] if data["tripped"] else []),
            f"  ticks in {data['ticks_in']:,}, lost {counters['lost']:,}, "
            f"kernel drops {counters['kernel_drops']:,}, malformed {data['malformed']:,}",
            f"  feed session {escape(data['feed_session']) or 'none yet'}, packets of another session "
            f"{counters['wrong_session']:,}, from another address {counters['wrong_source']:,}"
            + ("; another session is in sequence beside it" if counters["feed_contested"] else ""),
            *(
                [f"  market {words}, day {counters['day_starts']:,} of the feed"]
                if (words := describe_market(counters))
                else []
            ),
            *(
                [
                    f"  journal {self.journal.used:,} bytes wait for its writer"
                    + ("" if self.journal.reader else ", which does not run")
                ]
                if self.journal
                else []
            ),
            f"  orders sent {counters['orders_sent']:,}, accepted {counters['accepted']:,}, "
            f"rejected by the gate {data['rejects']:,}",
            "  counters (those at zero are left out):",
            *(f"    {name:<22}{count:>16,}" for name, count in counters.items() if count),
            "  latency, microseconds:",
            *(f"    {name:<12} {_write_latency(row)}" for name, row in data["latency_ns"].items()),
        ]
        return "\n".join(lines) + "\n"

    def as_metrics(self) -> Iterable["Metric"]:
        """Returns the metric families of the segment. Needs the package prometheus-client."""
        from agent.monitor.prometheus import collect_metrics

        return collect_metrics(self.segment)


def describe_symbol(symbol: Symbol) -> dict[str, Any]:
    """Returns a symbol's row: best bid and offer, each [price, size] as exact decimals in texts or None; why its book
    is stale, "" where it is not; profit as such a text; all else by its name in the segment."""
    fields = msgspec.structs.asdict(symbol)
    del fields["name"]
    found: dict[str, Any] = {}
    for side in ("bid", "ask"):
        price, size = fields.pop(side), fields.pop(f"{side}_size")
        found[side] = [_write_decimal(price), _write_decimal(size)] if price else None
    return found | fields | {"stale": explain_stale(symbol.stale), "profit": _write_decimal(symbol.profit)}


def _write_decimal(value: int) -> str:
    """Returns a value in units of 1e-8, exact, without zeros at its end."""
    whole, part = divmod(abs(value), 10**8)
    return f"{'-' if value < 0 else ''}{whole}.{part:08d}".rstrip("0").removesuffix(".")


def summarize(histogram: Histogram) -> dict[str, Any]:
    """Returns count, min, mean, the percentiles and max of a histogram, in ns; of an empty one the count alone."""
    summary: dict[str, Any] = {"count": histogram.count}
    if histogram.count:
        summary["min"] = histogram.min
        summary["mean"] = round(histogram.sum / histogram.count, 1)
        summary |= {name: round(histogram.quantile(q), 1) for name, q in QUANTILES}
        summary["max"] = histogram.max
    return summary


def _write_latency(row: dict[str, Any]) -> str:
    if not row["count"]:
        return "no samples"
    quantiles = " ".join(f"{name} {row[name] / 1e3:.2f}" for name, _ in QUANTILES)
    return f"{quantiles} max {row['max'] / 1e3:.2f} ({row['count']:,} samples)"
