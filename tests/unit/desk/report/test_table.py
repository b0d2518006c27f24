"""The table out of what the rounds measured: ratios, bars, and what is not known."""

from array import array
from typing import Any

import msgspec
import pytest

from agent.cli.output import format_document
from agent.shm.histogram import Histogram
from agent.shm.segment import Segment
from desk.report import table
from desk.report.before import STAGES, Before, find_signal, make_order, parse
from desk.report.engine import EngineError, Run, Wish, _check
from desk.report.measure import Rates
from desk.report.round import Round
from desk.report.table import Machine, make_report
from desk.report.ticks import make_ticks

from ...house.hostile import fill

MACHINE = Machine(about={"host": "h", "cpus": 2, "cpu": "c", "kernel": "k", "python": "3", "time": "t"}, cpus=(0, 1))


def make_before(scale: float = 1.0) -> Before:
    stages = dict.fromkeys(STAGES, 100.0 * scale) | {"pipeline": 500.0 * scale}
    return Before(
        stages=stages, rate=2000.0 / scale, seconds=1.5, rss_bytes=50_000_000, pauses=2, longest_pause_us=80.0
    )


def make_run(rate: float = 50_000.0, latency: float = 10.0, pauses: list[float] | None = None) -> Run:
    one = Histogram(count=1, sum=1000, min=1000, max=1000, bits=7, buckets=(0,) * 2000)
    names = ("parse", "book", "strategy", "risk", "encode", "send")
    segment = fill(
        Segment, "x", {"Segment.pid": lambda text: 0, "Segment.histograms": lambda text: dict.fromkeys(names, one)}
    )
    return Run(latency, rate, 0.5, segment, 100_000_000, pauses or [])


def make_round(**more: Any) -> Round:
    run = make_run()
    given = {"before": make_before(), "paced": run, "stamped": run, "orders": run, "flood": make_run(200_000.0)}
    return Round(**{**given, **more})


def find(report: table.Report, name: str) -> table.Row:
    return next(row for row in report.rows if row.name == name)


def test_ratios_are_medians_of_the_rounds() -> None:
    rounds = [make_round(), make_round(before=make_before(2.0)), make_round(before=make_before(4.0))]
    report = make_report(rounds, MACHINE)
    pipeline = find(report, "pipeline")
    assert pipeline.before == [500.0, 1000.0, 2000.0] and pipeline.ratios == [50.0, 100.0, 200.0]
    assert (pipeline.ratio, pipeline.bar, pipeline.met) == (100.0, ">=11", True)
    assert find(report, "orders/s").ratios == [25.0, 50.0, 100.0] and find(report, "ticks/s").met
    signal = find(report, "signal")
    assert signal.after == [2.0] * 3 and signal.ratio == 100.0 and signal.bar == "" and signal.met is None
    pauses = find(report, "GC pauses")
    assert pauses.before == [80.0] * 3 and pauses.after == [0.0] * 3 and pauses.met and pauses.ratio is None
    assert find(report, "memory").ratio == 0.5
    assert report.missed == [] and report.unknown == []


def test_a_bar_that_is_missed() -> None:
    slow = make_run(latency=50.0, pauses=[12.0])
    report = make_report([make_round(paced=slow, orders=make_run(30_000.0))], MACHINE)
    assert report.missed == ["pipeline", "orders/s", "GC pauses"]
    assert find(report, "GC pauses").after == [pytest.approx(60 * 1 / 1.5)]
    assert "NOT met" in format_document(report, "text")


def test_what_a_round_lacks_is_not_measured() -> None:
    report = make_report([make_round(), make_round(orders=None, why={"orders": "5 orders are missing"})], MACHINE)
    row = find(report, "orders/s")
    assert (row.after, row.ratio, row.met, row.why) == ([], None, None, "5 orders are missing")
    assert report.unknown == ["orders/s"] and find(report, "GC pauses").met and find(report, "pipeline").met
    shown = format_document(report, "text")
    assert "not measured: 5 orders are missing" in shown and ">=19 not measured" in shown


def test_without_redis_nothing_of_the_whole_loop_is_told() -> None:
    report = make_report([make_round(why={"redis": "redis-server is not installed"})], MACHINE)
    assert report.unknown == ["risk", "pipeline", "orders/s", "ticks/s", "GC pauses"]
    assert find(report, "pipeline").before == [] and find(report, "pipeline").met is None
    assert find(report, "parse").ratio == 100.0 and find(report, "GC pauses").met


def test_a_machine_that_was_busy_is_named() -> None:
    assert "BUSY: others used 30%" in format_document(make_report([make_round(others=0.3)], MACHINE), "text")
    assert "BUSY" not in format_document(make_report([make_round(others=0.01)], MACHINE), "text")


def test_a_page_with_a_plot() -> None:
    pytest.importorskip("jinja2")
    hostile = msgspec.structs.replace(MACHINE, about={**MACHINE.about, "host": "<script>\x1b[2J"})
    page = format_document(make_report([make_round(), make_round()], hostile), "html")
    assert page.count("<circle") == 2 * 2 * 9 and "<script>" not in page and "\x1b" not in page
    assert "NaN" not in page and ">=11 met" in page.replace("&gt;", ">")


def test_points_of_the_plot_are_within_it() -> None:
    for place in make_report([make_round(), make_round(before=make_before(3.0))], MACHINE).plot:
        assert all(0.0 <= at <= 1.0 for at in place["before"] + place["after"]), place


def test_an_offer_that_loses_something_is_lowered_for_good() -> None:
    tried = []

    def attempt(rate: float) -> Run:
        tried.append(rate)
        if rate > 2.0:
            raise EngineError("lost 1")
        return make_run(rate)

    rates = Rates([4.0, 3.0, 2.0, 1.0])
    assert rates.run(attempt).rate == 2.0 and rates.run(attempt).rate == 2.0
    assert tried == [4.0, 3.0, 2.0, 2.0]
    with pytest.raises(EngineError, match="lost 1"):
        Rates([9.0, 8.0]).run(attempt)


@pytest.mark.parametrize(
    ("orders", "counters", "said"),
    [
        ({"matched": 9}, {}, "one tick after the other: orders 9 of 10"),
        ({"duplicates": 1}, {}, "duplicates 1"),
        ({}, {"lost": 2}, "lost 2"),
        ({}, {"messages": 8}, "messages 8 of 10"),
        ({}, {"kernel_drops": 3}, "kernel_drops 3"),
    ],
)
def test_a_run_that_lost_something_says_nothing(orders: dict[str, int], counters: dict[str, int], said: str) -> None:
    good = {"matched": 10, "duplicates": 0, "unmatched": 0, "out_of_order": 0}
    counted = {"lost": 0, "gaps": 0, "kernel_drops": 0, "messages": 10}
    segment = fill(Segment, "x", {"Segment.pid": lambda text: 0, "Segment.counters": lambda text: counted})
    _check({"orders": good}, segment, Wish(), 10)
    segment = msgspec.structs.replace(segment, counters=counted | counters)
    with pytest.raises(EngineError, match=said):
        _check({"orders": good | orders}, segment, Wish(), 10)


def test_the_loop_before_does_what_it_says() -> None:
    ticks = make_ticks(300, 7)
    assert ticks == make_ticks(300, 7) and ticks != make_ticks(300, 8)
    symbol, price = parse(ticks[0])
    assert symbol == "BTCUSDT" and 59_999 < price < 60_001
    prices = array("d", [100.0] * 50)
    assert find_signal(prices, 101.0) == 1 and find_signal(prices, 90.0) == -1 and prices[-1] == 90.0
    order = make_order(7, symbol, -1, price)
    assert order.startswith(b"type=NEW|id=7|symbol=BTCUSDT|side=SELL|") and order.endswith(b"\n")
    body, _, given = order.decode().strip().rpartition("|checksum=")
    assert int(given) == sum(body.encode()) % 256
