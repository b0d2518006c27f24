"""EMA 10/50 cross over the same quotes in memory, with an order on each cross: the engine's path against the engines
of others.

Ours starts from bytes of ITCH: parse -> book by order -> strategy in Numba -> gate -> an encoded order; each tick is
one Order Replace that moves the best bid or the best offer. Theirs start from quotes that are numbers already:
hftbacktest with its own Numba loop and its book by price, and nautilus_trader's BacktestEngine, which is slower and
gets the beginning of the quotes only. Both simulate an exchange and keep an account, which ours does not; ours parses
and keeps a book of orders, which they do not. A figure is of ticks; to hftbacktest each of them is two events.

All see the same prices, and have to order on the same crosses: another number of orders is an error.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agent import strategy
from agent.protocols import itch_layouts as itch
from agent.replay import _replay
from agent.shm import segment as shm
from benchmarks import find_command
from benchmarks.agent import machine
from benchmarks.agent.sample import BenchError, Sample

ROWS = 1_000_000
NAUTILUS_ROWS = 20_000
FAST, SLOW = 10, 50
SYMBOL = "AAPL"
#: Between ticks, ns.
STEP = 10_000
QUOTE = np.dtype([("ts", "i8"), ("bid", "f8"), ("bid_size", "f8"), ("ask", "f8"), ("ask_size", "f8")])
SIZE = 100
#: A BinaryFILE record: length, then ITCH Order Replace; packed.
_REPLACE = np.dtype(
    [("length", ">u2"), ("type", "u1"), ("locate", ">u2"), ("tracking", ">u2"), ("seconds", ">u2"), ("low", ">u4"),
     ("old", ">u8"), ("new", ">u8"), ("shares", ">u4"), ("price", ">u4")]
)  # fmt: skip
_PEERS = {"hftbacktest": "hftbacktest_replay", "nautilus_trader": "nautilus_replay"}


def walk(rows: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(bids, offers) in cents: a random walk with a spread of 1 to 3, in which row 1 moves the offer, row 2 the bid,
    and so on."""
    spread = 1 + np.cumsum(np.random.default_rng(seed).integers(1, 3, rows)) % 3
    change = np.diff(spread, prepend=spread[:1])
    odd = np.arange(rows) % 2 == 1
    bid = 100_000 - np.cumsum(np.where(odd, 0, change))
    return bid, 100_000 + spread[0] + np.cumsum(np.where(odd, change, 0))


def quotes(bid: np.ndarray[Any, Any], ask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As rows of QUOTE, prices in dollars."""
    out = np.empty(len(bid), QUOTE)
    out["ts"] = np.arange(1, len(bid) + 1) * STEP
    out["bid"], out["ask"] = bid / 100, ask / 100
    out["bid_size"] = out["ask_size"] = SIZE
    return out


def recording(bid: np.ndarray[Any, Any], ask: np.ndarray[Any, Any]) -> bytes:
    """As a BinaryFILE: the symbol, an order on each side (which make row 0), and a replacement for each further row."""
    opening = [
        itch.encode("R", stock_locate=1, timestamp=STEP, stock=SYMBOL),
        *(
            itch.encode("A", stock_locate=1, timestamp=STEP, order_reference_number=reference, buy_sell_indicator=side,
                        shares=SIZE, stock=SYMBOL, price=100 * int(price))
            for reference, side, price in ((2, "B", bid[0]), (1, "S", ask[0]))
        ),
    ]  # fmt: skip
    row = np.arange(1, len(bid))
    out = np.zeros(len(row), _REPLACE)
    out["length"], out["type"], out["locate"], out["shares"] = 35, ord("U"), 1, SIZE
    at = (row + 1) * STEP
    out["seconds"], out["low"] = at >> 32, at & 0xFFFFFFFF
    out["old"], out["new"] = row, row + 2
    out["price"] = 100 * np.where(row % 2 == 1, ask[1:], bid[1:])
    return b"".join(len(m).to_bytes(2, "big") + m for m in opening) + out.tobytes()


def ours(loaded: strategy.Loaded, data: bytes, rows: int) -> tuple[float, int]:
    """(seconds, orders) of one run. Raises BenchError when the path has not seen each row, or has stopped an order."""
    prepared = strategy.prepare(loaded, FAST, SLOW, 1)
    engine = _replay.Replay(
        strategy=prepared.table,
        state=prepared.state,
        symbols=[SYMBOL.encode()],
        feed_format="itch",
        orders=1 << 16,
        limits={"max_size": 999_999, "max_notional": 10**18, "collar_ppm": 50_000},
        owner=prepared,
    )
    nanoseconds = engine.run(data)
    segment = shm.decode(engine.segment_bytes, "replay")
    c = segment.counters
    # The first order makes half a quote.
    if c["events"] != rows + 1 or c["orders_sent"] != c["orders_wanted"] or segment.symbols[0].stale:
        raise BenchError(
            f"replay: {c['events'] - 1} of {rows} rows seen, {c['orders_sent']} of {c['orders_wanted']} orders passed"
        )
    return nanoseconds / 1e9, c["orders_sent"]


def left_out() -> dict[str, str]:
    """References that are not installed, and why."""
    return {name: why for name in _PEERS if (why := machine.no_package(name))}


def theirs(name: str, path: Path, rows: int) -> dict[str, Any]:
    """What a peer reports of a run. Raises BenchError."""
    command = find_command(f"benchmarks.agent.peers.{_PEERS[name]}", path, rows)
    try:
        run = subprocess.run(command, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{name}: not done within 60 s") from None
    if run.returncode:
        raise BenchError(f"{name}: {run.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    found: dict[str, Any] = msgspec.json.decode(run.stdout)
    if found["events"] != rows:
        raise BenchError(f"{name}: saw {found['events']} of {rows} rows")
    return found


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: ours, then those of the others that are installed, on the same CPU."""
    missing = left_out()
    if len(missing) == len(_PEERS):
        raise BenchError("; ".join(missing.values()))
    bid, ask = walk(ROWS, 1)
    data = recording(bid, ask)
    path = directory / "quotes.npy"
    np.save(path, quotes(bid, ask))
    loaded = strategy.load("ema_cross")
    few = min(NAUTILUS_ROWS, ROWS)
    # Rows, orders, bar.
    wanted = {
        "hftbacktest": (ROWS, ours(loaded, data, ROWS)[1], 2.0),
        "nautilus_trader": (few, ours(loaded, recording(bid[:few], ask[:few]), few)[1], 200.0),
    }
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(everywhere)})
    try:
        while True:
            samples = []
            for name, (rows, orders, bar) in wanted.items():
                if name in missing:
                    continue
                seconds, _ = ours(loaded, data, ROWS)
                found = theirs(name, path, rows)
                if found["orders"] != orders:
                    raise BenchError(f"{name}: {found['orders']} orders, ours {orders}")
                samples.append(
                    Sample(metric="EMA cross, orders", unit="tick/s", ours=ROWS / seconds,
                           reference=rows / found["seconds"], reference_name=f"{name} {found['version']}",
                           better="higher", bar=bar)
                )  # fmt: skip
            yield samples
    finally:
        os.sched_setaffinity(0, everywhere)
