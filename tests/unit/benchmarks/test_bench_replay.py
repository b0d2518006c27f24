"""The replay's benchmark: one tick to a message, the same quotes for all, and crosses that are counted the same."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from agent import strategy
from agent.exchange import best_prices
from agent.protocols import _codecs
from benchmarks.agent import machine, replay
from benchmarks.agent.sample import BenchError


def test_each_row_moves_one_side_of_an_uncrossed_book() -> None:
    bid, ask = replay.walk(5_000, 1)
    moved = np.stack([np.diff(bid) != 0, np.diff(ask) != 0])
    assert (moved.sum(axis=0) == 1).all() and moved[1, 0] and moved[0, 1]
    assert (ask - bid >= 1).all() and (ask - bid <= 3).all()


def test_the_recording_says_what_the_quotes_say() -> None:
    bid, ask = replay.walk(500, 2)
    rows = replay.quotes(bid, ask)
    messages = _codecs.binaryfile_messages(replay.recording(bid, ask))[0]
    books = best_prices.ItchBooks()
    marks = [m for m in map(books.use_message, messages) if m is not None][1:]
    assert [(m[0], m[1], m[2]) for m in marks] == [
        (replay.SYMBOL, round(row["bid"] * 10_000), round(row["ask"] * 10_000)) for row in rows
    ]
    assert {m[3:] for m in marks} == {(replay.SIZE, replay.SIZE)}
    assert [int.from_bytes(m[5:11], "big") for m in messages[2:]] == rows["ts"].tolist()


def test_the_path_orders_on_the_crosses_that_plain_arithmetic_finds() -> None:
    bid, ask = replay.walk(3_000, 3)
    fast = slow = (float(bid[0]) + float(ask[0])) / 2
    above, crosses = 0, 0
    for row, mid in enumerate(((bid + ask) / 2).tolist()):
        fast += 2 / (replay.FAST + 1) * (mid - fast)
        slow += 2 / (replay.SLOW + 1) * (mid - slow)
        now = (fast > slow) - (fast < slow) or above
        crosses += now != above and above != 0 and row >= replay.SLOW
        above = now
    seconds, orders = replay.ours(strategy.load("ema_cross"), replay.recording(bid, ask), len(bid))
    assert orders == crosses > 20 and seconds > 0


def test_a_row_that_is_not_seen_is_an_error() -> None:
    bid, ask = replay.walk(100, 1)
    with pytest.raises(BenchError, match="99 of 100 rows seen"):
        replay.ours(strategy.load("ema_cross"), replay.recording(bid[:99], ask[:99]), 100)


@pytest.mark.parametrize("package", ["hftbacktest", "nautilus_trader"])
def test_each_peer_sees_the_same_crosses(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package, reason=f"needs {package} (tools/setup bench)")
    monkeypatch.setattr(replay, "ROWS", 20_000)
    monkeypatch.setattr(replay, "NAUTILUS_ROWS", 2_000)
    others = {name: "left out by this test" for name in replay._PEERS if name != package}
    monkeypatch.setattr(replay, "left_out", lambda: others)
    plays = replay.rounds(tmp_path)
    (sample,) = next(plays)
    plays.close()  # type: ignore[attr-defined]
    assert sample.ours > 0 and sample.reference > 0 and sample.better == "higher"
    assert sample.reference_name.startswith(f"{package} ")


def test_depth_events_are_the_new_price_and_the_end_of_the_old_one() -> None:
    pytest.importorskip("hftbacktest", reason="needs hftbacktest (tools/setup bench)")
    from benchmarks.agent.peers import hftbacktest_replay

    bid, ask = replay.walk(50, 1)
    rows = replay.quotes(bid, ask)
    events = hftbacktest_replay.depth_events(rows)
    held: dict[bool, dict[float, float]] = {True: {}, False: {}}
    found = []
    for _, group in itertools.groupby(events, key=lambda e: int(e["exch_ts"])):
        for e in group:
            held[bool(e["ev"] & hftbacktest_replay.BUY_EVENT)][float(e["px"])] = float(e["qty"])
        found.append([{p for p, q in side.items() if q} for side in held.values()])
    # One more at the end, which the strategy does not see.
    assert found == [[{row["bid"]}, {row["ask"]}] for row in [*rows, rows[-1]]]


def test_nothing_to_compare_with_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "no_package", lambda name: f"no {name}")
    assert replay.left_out() == {"hftbacktest": "no hftbacktest", "nautilus_trader": "no nautilus_trader"}
    with pytest.raises(BenchError, match="no hftbacktest; no nautilus_trader"):
        next(replay.rounds(tmp_path))
