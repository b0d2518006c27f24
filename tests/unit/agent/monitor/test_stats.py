"""`agent stats --format prometheus` and `agent top`: what they print is what the segment says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent import cli
from agent.limits import LIMITS, from_words
from agent.monitor import top
from agent.monitor.stats import Statistics
from agent.shm import _segment
from agent.shm.histogram import Histogram

from ..conftest import Hand, order
from ..ouch_answers import accepted, executed

prometheus = pytest.importorskip("prometheus_client")


@pytest.fixture
def traded(hand: Callable[..., Hand]) -> Hand:
    h = hand(give_up_after_ns=10**10)
    h.orders = [order()]
    with h.connect() as peer:
        for _ in range(20):
            h.tick()
        peer.sendall(accepted(1) + executed(1, 2))
        h.settle(2)
    return h


def test_prometheus_reads_what_is_printed(traded: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from prometheus_client.parser import text_string_to_metric_families as parse

    from agent.monitor.prometheus import describe_limit

    (tmp_path / "s").write_bytes(traded.segment)
    assert cli.main(["stats", str(tmp_path / "s"), "--format", "prometheus"]) == 0
    text = capsys.readouterr().out
    samples = {(s.name, s.labels.get("le"), s.labels.get("symbol")): s.value
               for family in parse(text) for s in family.samples}  # fmt: skip
    words = _segment.counters()
    for name, value in traded.reading.counters.items():
        gauge = words[name].kind == "gauge"
        assert samples[(f"agent_{name}" + ("" if gauge else "_total"), None, None)] == value
    assert "# HELP agent_lost_total messages given up\n" in text and "# TYPE agent_orders_open gauge\n" in text
    assert samples[("agent_symbol_position", None, "BTCUSDT")] == 2
    assert samples[("agent_limit_max_size", None, None)] == 100
    limits = from_words(traded.reading.limits)
    for name in LIMITS:
        metric, _, scale = describe_limit(name)
        assert samples[(metric, None, None)] == limits[name] * scale
    assert describe_limit("duplicate_ms") == ("agent_limit_duplicate_seconds", "seconds", 1e-3)
    assert describe_limit("max_size") == ("agent_limit_max_size", "whole units", 1)
    assert Statistics(traded.reading).as_data()["limits"] == limits
    assert samples[("agent_own_code_seconds_count", None, None)] == 20
    assert samples[("agent_own_code_seconds_bucket", "+Inf", None)] == 20
    assert samples[("agent_own_code_seconds_sum", None, None)] == traded.reading.histograms["own_code"].sum / 1e9
    buckets = [v for (n, le, _), v in samples.items() if n == "agent_own_code_seconds_bucket"]
    assert buckets == sorted(buckets) and buckets[-2] == 20
    assert samples[("agent_up", None, None)] == 0  # another boot's


def test_a_frame_shows_what_happened_since_the_last(traded: Hand) -> None:
    before = traded.reading
    for _ in range(10):
        traded.tick()
    text = top.format_frame(before, traded.reading, 2.0)
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert lines["events"] == ["5", "30"] and lines["messages"] == ["5", "30"]
    assert lines["orders_sent"] == ["0", "21"]  # the last one found the link gone
    assert lines["BTCUSDT"] == ["100.0000", "100.0100", "2", "103", "0"]
    assert "reject_closed" in text or "connection_lost" in text
    assert "order_ack" not in text  # nothing new in it
    traded.set_limits(kill=1)
    assert "KILLED" in top.format_frame(before, traded.reading, 1.0)


def test_only_the_new_samples_are_in_a_difference(traded: Hand) -> None:
    h = traded.reading.histograms["own_code"]
    assert top.subtract_histogram(h, h).count == 0
    empty = Histogram(0, 0, 0, 0, h.bits, tuple(0 for _ in h.buckets))
    assert top.subtract_histogram(h, empty) == h


def test_top_ends_with_the_engine(traded: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s").write_bytes(traded.segment)
    assert cli.main(["top", str(tmp_path / "s"), "--interval", "0.01"]) == 0
    assert capsys.readouterr().out.count("microseconds") == 1
    assert cli.main(["top", str(tmp_path / "none")]) == 2
