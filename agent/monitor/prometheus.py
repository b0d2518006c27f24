"""`agent stats --format prometheus`: a segment in Prometheus's text format, for a node exporter's textfile directory
or a scraper's exec. Counters end in _total; durations are histograms in seconds.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from agent.shm.segment import Histogram, Segment, middle

#: Upper bounds of the buckets, ns.
BOUNDS = [n * 10**e for e in range(1, 9) for n in (1, 2, 5)]
#: Counters of shm/include/agent_shm.h that say how it is now.
GAUGES = ("receive_buffer", "orders_open", "ring_damaged", "exchange_sequence", "book_huge_pages")


class _Collector:
    def __init__(self, segment: Segment, name: str) -> None:
        self.segment, self.name = segment, name

    def collect(self) -> Iterator[Metric]:
        s, label = self.segment, [self.name]
        up = GaugeMetricFamily("agent_up", "1: the engine's process runs", labels=["agent"])
        up.add_metric(label, float(s.alive))
        yield up
        for counter, value in s.counters.items():
            if counter in GAUGES:
                gauge = GaugeMetricFamily(f"agent_{counter}", counter.replace("_", " "), labels=["agent"])
                gauge.add_metric(label, value)
                yield gauge
            else:
                family = CounterMetricFamily(f"agent_{counter}", counter.replace("_", " "), labels=["agent"])
                family.add_metric(label, value)
                yield family
        for limit, value in s.limits.items():
            gauge = GaugeMetricFamily(f"agent_limit_{limit}", f"risk limit {limit}, 0: none", labels=["agent"])
            gauge.add_metric(label, value)
            yield gauge
        for field in ("position", "open_buy", "open_sell", "stale"):
            gauge = GaugeMetricFamily(f"agent_symbol_{field}", f"{field.replace('_', ' ')} of a symbol",
                                      labels=["agent", "symbol"])  # fmt: skip
            for row in s.symbols:
                gauge.add_metric([self.name, row.name], getattr(row, field))
            yield gauge
        for stage, histogram in s.histograms.items():
            durations = HistogramMetricFamily(f"agent_{stage}_seconds", f"duration: {stage}", labels=["agent"])
            durations.add_metric(label, _buckets(histogram), sum_value=histogram.sum / 1e9)
            yield durations


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """(upper bound in seconds, samples up to it), and +Inf last. A sample counts with its bucket's middle."""
    found, seen, place = [], 0, 0
    held = histogram.buckets
    for bound in BOUNDS:
        while place < len(held) and middle(place, histogram.bits) <= bound:
            seen += held[place]
            place += 1
        found.append((f"{bound / 1e9:.9f}".rstrip("0"), float(seen)))
    return [*found, ("+Inf", float(histogram.count))]


def as_text(segment: Segment, name: str) -> str:
    """The exposition; `name` is the label `agent` of every sample."""
    registry = CollectorRegistry()
    registry.register(_Collector(segment, name))
    return generate_latest(registry).decode()
