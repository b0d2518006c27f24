"""The metrics of a segment for Prometheus. Counters end in _total; durations are histograms in seconds; limits
are in the words and units of agent.toml, times in seconds.

The names follow https://prometheus.io/docs/practices/naming/. Each sample has the label `agent`, the engine's name.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from agent.limits import LIMITS, from_words
from agent.shm import _segment, place
from agent.shm.histogram import Histogram, bucket_middle
from agent.shm.segment import CONDITIONS, Segment, SegmentError
from hosttune.patterns import late_pattern

_NAME = late_pattern(r"[a-z0-9_]+")
#: Upper bounds of the buckets, ns.
BOUNDS = [n * 10**e for e in range(1, 9) for n in (1, 2, 5)]
#: Units of time in the words of limits, in Prometheus' own.
_SECONDS = {"ms": 1e-3, "us": 1e-6}
_PROFIT = "currency: of today, the position marked to the book; a loss is negative"
#: Fields of a symbol that are metrics as they are.
SYMBOL_FIELDS = ("position", "open_buy", "open_sell", "stale")


def collect_metrics(segment: Segment) -> Iterator[Metric]:
    """Yield the metric families of a segment: process, counters, limits, symbols, durations. Raises SegmentError for a
    counter or a stage whose name no metric can have."""
    for name in (*segment.counters, *segment.histograms):
        if not _NAME.fullmatch(name):
            raise SegmentError(f"{segment.path}: name of a value: found {name!r}, allowed: of a-z, 0-9 and _")
    agent = place.name_of(Path(segment.path))
    yield from _describe_process(segment, agent)
    counters, fields, stages = _segment.counters(), _segment.symbol_fields(), _segment.histograms()
    for name, value in segment.counters.items():
        text = counters[name].text if name in counters else name  # of an agent of another build
        if name in counters and counters[name].kind == "gauge":
            yield _make_gauge(f"agent_{name}", text, agent, value)
        else:
            family = CounterMetricFamily(f"agent_{name}", text, labels=["agent"])
            family.add_metric([agent], value)
            yield family
    for name, limit_value in from_words(segment.limits).items():
        metric, unit, scale = describe_limit(name)
        yield _make_gauge(metric, f"{unit}: {LIMITS[name].text}", agent, limit_value * scale)
    for field in SYMBOL_FIELDS:
        gauge = GaugeMetricFamily(f"agent_symbol_{field}", fields[field].text, labels=["agent", "symbol"])
        for symbol in segment.symbols:
            gauge.add_metric([agent, symbol.name], getattr(symbol, field))
        yield gauge
    profit = GaugeMetricFamily("agent_symbol_profit", _PROFIT, labels=["agent", "symbol"])
    for symbol in segment.symbols:
        profit.add_metric([agent, symbol.name], symbol.profit / 1e8)
    yield profit
    for name, histogram in segment.histograms.items():
        text = stages[name].text if name in stages else name
        durations = HistogramMetricFamily(f"agent_{name}_seconds", f"duration: {text}", labels=["agent"])
        durations.add_metric([agent], count_buckets(histogram), sum_value=histogram.sum / 1e9)
        yield durations


def describe_limit(name: str) -> tuple[str, str, float]:
    """Returns the metric of a limit, its unit, and how many of that unit one of agent.toml's is: times are in seconds,
    all else as it is there."""
    word, _, unit = name.rpartition("_")
    if unit in _SECONDS:
        return f"agent_limit_{word}_seconds", "seconds", _SECONDS[unit]
    return f"agent_limit_{name}", LIMITS[name].unit, 1


def _describe_process(segment: Segment, agent: str) -> Iterator[Metric]:
    """Yield what the segment's head says of the engine, whether it runs or not."""
    yield _make_gauge("agent_up", "1: the engine's loop runs; 0: not yet, not any more, or it hangs", agent,
                      float(segment.up))  # fmt: skip
    state = GaugeMetricFamily("agent_state", "1: the engine is in this state", labels=["agent", "state"])
    condition = segment.condition
    for name in CONDITIONS:
        state.add_metric([agent, name], float(name == condition))
    yield state
    if (age := segment.heartbeat_age_ns) is not None:
        yield _make_gauge("agent_heartbeat_age_seconds", "time since the loop was last seen", agent, age / 1e9)
    yield _make_gauge(
        "agent_start_time_seconds", "when the engine started, since 1970", agent, segment.started_ns / 1e9
    )
    labels = {"agent": agent, "version": segment.build, "abi": str(segment.abi), "segment": str(_segment.VERSION)}
    text = "the engine's build: version of its package, of the strategies' ABI, of its segment's layout"
    build = GaugeMetricFamily("agent_build_info", text, labels=list(labels))
    build.add_metric(list(labels.values()), 1.0)
    yield build


def count_buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Returns (upper bound in seconds, samples up to it) for each of BOUNDS, and +Inf last. A sample counts with the
    middle of its bucket in the segment."""
    counts, seen, begin = [], 0, 0
    held = histogram.buckets
    for text, end in _find_ends(histogram.bits, len(held)):
        seen += sum(held[begin:end])
        begin = end
        counts.append((text, float(seen)))
    return [*counts, ("+Inf", float(histogram.count))]


@functools.lru_cache(maxsize=4)
def _find_ends(bits: int, buckets: int) -> list[tuple[str, int]]:
    """Returns for each of BOUNDS its text in seconds, and how many of a histogram's buckets are up to it."""
    ends, index = [], 0
    for bound in BOUNDS:
        while index < buckets and bucket_middle(index, bits) <= bound:
            index += 1
        ends.append((f"{bound / 1e9:.9f}".rstrip("0"), index))
    return ends


def _make_gauge(name: str, text: str, agent: str, value: float) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, text, labels=["agent"])
    gauge.add_metric([agent], value)
    return gauge
