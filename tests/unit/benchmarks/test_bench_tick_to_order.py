"""Tick to order, and the engine's own code: that nothing is lost, and that the counters can count."""

import re
import struct
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from agent import strategy
from agent.exchange import feed, generator
from agent.limits import Risk
from benchmarks.agent import drive, machine, own_code, stage, tick_to_order
from benchmarks.agent.sample import NINES, BenchError, Sample

pytestmark = pytest.mark.skipif(len(machine.os.sched_getaffinity(0)) < 2, reason="one CPU: both sides spin")


def first(bench: object, tmp_path: Path) -> list[Sample]:
    plays = bench.rounds(tmp_path)  # type: ignore[attr-defined]
    try:
        return list(next(plays))
    finally:
        plays.close()


def test_each_quote_moves_the_best_bid_or_offer() -> None:
    quotes = feed.quotes(500, 1)
    marks = [tuple(quotes.marks[4 * i : 4 * i + 4]) for i in range(len(quotes))]
    assert len(quotes) == 500 and all(a != b for a, b in pairwise(marks))
    assert all(0 < bid < ask for bid, ask, _, _ in marks[1:])
    assert generator.quotes(1, 50) == generator.quotes(1, 50) != generator.quotes(2, 50)


def test_an_order_for_every_tick_at_each_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick_to_order, "RATES", {1_000: 200, 10_000: 500})
    monkeypatch.setattr(tick_to_order, "PEERS", {})
    samples = first(tick_to_order, tmp_path)
    assert all(s.ours > 0 and s.reference > 0 for s in samples)
    assert {s.metric: s.bar for s in samples if s.bar} == {
        "service p50, 10,000 ticks/s": 1.05,
        "service p99, 10,000 ticks/s": 1.30,
    }
    curves = {s.curves.title: s.curves for s in samples if s.curves}
    assert list(curves) == [
        f"{kind} time, {rate} ticks/s" for rate in ("1,000", "10,000") for kind in ("service", "response")
    ]
    # Two turns of 500 ticks: up to p99.9, which one of a thousand is above.
    for side in (curves["service time, 10,000 ticks/s"].ours, curves["response time, 10,000 ticks/s"].reference):
        assert len(side) == NINES.index(3.0) + 1 and list(side) == sorted(side) and side[0] > 0


def test_a_missing_order_is_an_error_and_says_what_the_engine_counted(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"orders for 300 ticks at 1000/s; .*messages 300"):
        # A strategy that hardly ever trades.
        stage.run_engine(tmp_path, "ema_cross_cython", feed.quotes(300, 1), 1000.0, 1)


def test_the_engines_own_code_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "TICKS", 1_500)
    monkeypatch.setattr(own_code, "RATE", 500.0)
    monkeypatch.setattr(own_code, "FROM", 200)
    samples = first(own_code, tmp_path)
    promised = {s.metric: s for s in samples if s.reference_name == "C, the same steps"}
    assert [(s.metric, s.bar) for s in promised.values()] == [
        ("datagram in memory to send, p50", 1.3),
        ("datagram in memory to send, p99", None),
        ("datagram in memory to send, p99.9", None),
    ]
    assert all(s.ours > 0 and s.reference > 0 for s in promised.values())
    (curves,) = (s.curves for s in samples if s.curves)
    # Two turns of 1,500 ticks.
    assert len(curves.ours) == len(curves.reference) == sum(10**n <= 3_000 for n in NINES)
    # What is there for information promises nothing.
    assert [s.reference for s in samples if "for information" in s.reference_name] == [200.0, 1_000.0]
    assert not any(s.bar for s in samples if "for information" in s.reference_name)
    found = {s.metric: s.ours for s in samples}
    assert found["allocations and mappings"] == found["ticks not handled with the GIL held"] == 0
    assert found["receives and sends for a tick"] <= 2.0


def test_the_c_program_measures_each_order(tmp_path: Path) -> None:
    ticks = feed.quotes(1_000, 1, stage.SYMBOL)
    times = own_code.run_reference(machine.build("own_code", tmp_path), tmp_path, 1, ticks)
    assert times.count == len(ticks) and 0 < times.min <= times.quantile(0.5) <= times.quantile(0.99) <= times.max
    # Each order is in its journal, and then that the exchange accepted it; all of them of the one symbol.
    rows = list(_RECORD.iter_unpack((tmp_path / "journal").read_bytes()))
    assert [row[0] for row in rows] == list(range(1, 2_001))
    assert [row[6] for row in rows if row[5] == 1] == [row[6] for row in rows if row[5] == 3] == list(range(1, 1_001))
    assert {row[10] for row in rows} == {0}


#: Of what the C program writes: number, time, answer, price, tag, kind, id, original, quantity, side, symbol.
_RECORD = struct.Struct("=5Q4IiI")


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        ({"kill": 1}, 0),
        ({"max_size": 0}, 0),
        ({"max_notional": 1}, 0),
        ({"max_position": 7}, 14),  # buy and sell in turn, and none is executed
        ({"max_open_orders": 9}, 9),
        ({"rate_interval_ns": 1 << 60, "rate_burst_ns": 1 << 60}, 1),
        ({"max_tick_age_ns": 1}, 0),
        ({"max_orders_per_day": 3}, 3),
        ({"duplicate_ns": 1 << 60}, 399),  # the first two: without an offer yet, both sell at the bid
    ],
)
def test_the_c_program_holds_the_limits(
    words: dict[str, int], passed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Risk.words.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Risk, "words", property(lambda risk: given(risk) | words))
    monkeypatch.setattr(own_code, "RATE", 500.0)
    ticks = feed.quotes(400, 1, stage.SYMBOL)
    program = machine.build("own_code", tmp_path)
    with pytest.raises(BenchError, match=rf"own_code: {passed} orders for 400 ticks"):
        own_code.run_reference(program, tmp_path, 1, ticks)


def test_the_c_program_refuses_what_the_engine_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of orders that could trade with an own one; some pass, since the market moves away."""
    tables = stage.tables

    def strict(ports: tuple[int, int], strategy: str) -> drive.Tables:
        given = tables(ports, strategy)
        return given | {"risk": given["risk"] | {"refuse_self_match": 1}}

    monkeypatch.setattr(stage, "tables", strict)
    monkeypatch.setattr(own_code, "RATE", 500.0)
    ticks = feed.quotes(400, 1, stage.SYMBOL)
    said = []
    for play in (
        lambda: own_code.run_reference(machine.build("own_code", tmp_path), tmp_path, 1, ticks),
        lambda: stage.run_engine(tmp_path, own_code.STRATEGY, ticks, own_code.RATE, 1),
    ):
        with pytest.raises(BenchError) as caught:
            play()
        said.append(re.search(r"(\d+) orders for 400 ticks", str(caught.value)))
    assert said[0] and said[1] and said[0][1] == said[1][1] and 0 < int(said[0][1]) < 400


def test_a_c_program_that_leaves_no_times_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "play", lambda *arguments: {})
    with pytest.raises(BenchError, match="left no times: No such file"):
        own_code.run_reference(tmp_path / "program", tmp_path, 1, feed.quotes(10, 1))


#: An order on each event, behind an allocation and a take of the GIL.
GREEDY = """
#include "agent_strategy.h"
#include <stdlib.h>
extern int PyGILState_Ensure(void);
extern void PyGILState_Release(int);
static int32_t on_event(void *state, const struct agent_event *e, struct agent_order *out)
{
    (void)state;
    free(malloc(100));
    PyGILState_Release(PyGILState_Ensure());
    out[0] = (struct agent_order){ .symbol = e->symbol, .size = 1, .side = AGENT_SELL, .price = e->bid * 1e-8 };
    return e->bid != 0;
}
struct agent_strategy agent_strategy = { .abi = AGENT_ABI, .size = sizeof(struct agent_strategy), .state_size = 8,
                                         .on_event = on_event };
__attribute__((constructor)) static void hash(void) { agent_strategy.layout = agent_layout_hash(); }
"""


@pytest.fixture
def greedy(tmp_path: Path) -> str:
    source, library = tmp_path / "greedy.c", tmp_path / "greedy.so"
    source.write_text(GREEDY)
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-fno-builtin",
        "-I",
        str(strategy.include()),
        "-o",
        str(library),
        str(source),
    ]
    subprocess.run(command, check=True, timeout=60)
    return str(library)


def test_an_allocation_for_each_tick_is_counted(greedy: str, tmp_path: Path) -> None:
    library = machine.build("counters", tmp_path, "-ldl", shared=True)
    calls = own_code.counted(tmp_path, 1, feed.quotes(300, 1), library, 1, greedy)
    assert calls["orders"] == calls["allocations"] == 299


def test_a_loop_that_takes_the_gil_stands_still_while_it_is_held(
    greedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_code, "RATE", 500.0)
    monkeypatch.setattr(own_code, "FROM", 200)
    holder = machine.build("hold", tmp_path, shared=True)
    # One order may be under way.
    assert own_code.held_gil(tmp_path, 1, feed.quotes(1_500, 1), holder, greedy) >= 1_500 // 4 - 1
