"""`agent replay`: a recording through the engine's own path, without sockets: parse -> book -> strategy -> gate.

Time is the recording's. What is timed is the loop over messages in memory, not the reading of the file.
"""

from pathlib import Path
from typing import Any

from agent import strategy
from agent.monitor import stats
from agent.protocols import recording as recordings
from agent.replay import _replay
from agent.shm import segment as shm

#: Chunk of the recording that is walked at a time, bytes.
CHUNK = 8 << 20

_FORMATS = {"binaryfile": "itch", "binance": "binance", "csv": "csv"}
#: Counters of messages that are not ITCH, and the names of their types.
_TYPES = {
    "binance": {"book_ticker": "bookTicker", "trade": "trade", "depth_update": "depthUpdate", "other": "other"},
    "csv": {"book_ticker": "quote", "trade": "trade", "other": "other"},
}
_DECIMALS = {"itch": 4, "binance": 8, "csv": 8}


def run(path: Path, name: str, *, symbols: tuple[str, ...] = (), fast: float = 10, slow: float = 50,
        size: int = 1) -> dict[str, Any]:  # fmt: skip
    """Replay a recording; returns plain data.

    messages: well-formed ones by type. skipped: messages that are malformed, and places where bytes of the file
    belong to no message; skipped_reasons and skipped_bytes say which. orders: those that passed the gate. book:
    final best bid and offer by symbol, [price, size] or None; prices (and sizes that are not whole shares) as
    decimal strings. stale: books that cannot be trusted. messages_per_second: of the loop alone.
    Raises RecordingError of agent.recordings and StrategyError of agent.strategy.
    """
    with recordings.open_recording(path) as recording:
        form = _FORMATS[recording.format]
        loaded = strategy.load(name)
        prepared = strategy.prepare(loaded, fast, slow, size, len(symbols) or 1)
        replay = _replay.Replay(
            strategy=prepared.table,
            state=prepared.state,
            symbols=[s.encode() for s in symbols],
            feed_format=form,
            limits={"max_size": 999_999},
            keep=prepared,
        )
        nanoseconds = 0
        for chunk in recording.chunks(CHUNK):
            nanoseconds += replay.run(chunk)
        segment = shm.decode(replay.segment_bytes, str(path))
        c = segment.counters
        types = replay.types if form == "itch" else {t: c[key] for key, t in _TYPES[form].items() if c[key]}
        reasons = {k.removeprefix("malformed_"): n for k, n in c.items() if k.startswith("malformed_") and n}
        places = sum(1 for _ in recording.skipped)
        handled = sum(types.values()) + sum(reasons.values())
        return {
            "file": str(path),
            "format": form,
            "strategy": name,
            "messages": dict(sorted(types.items())),
            "skipped": sum(reasons.values()) + places,
            "skipped_reasons": reasons,
            "skipped_bytes": recording.skipped,
            "notes": recording.notes,
            "events": c["events"],
            "orders_wanted": c["orders_wanted"],
            "orders": c["orders_sent"],
            "rejects": {k.removeprefix("reject_"): n for k, n in c.items() if k.startswith("reject_") and n},
            "book": {s.name: _quote(s, _DECIMALS[form]) for s in segment.symbols},
            "stale": {s.name: stats.stale(s.stale) for s in segment.symbols if s.stale},
            "seconds": nanoseconds / 1e9,
            "messages_per_second": round(handled * 1e9 / nanoseconds) if nanoseconds else None,
        }


def _quote(symbol: shm.Symbol, decimals: int) -> dict[str, Any]:
    def side(price: int, size: int) -> list[Any] | None:
        if not price:
            return None
        whole = decimals == 4
        return [_decimal(price, decimals), size // 10**8 if whole else _decimal(size, decimals)]

    return {"bid": side(symbol.bid, symbol.bid_size), "ask": side(symbol.ask, symbol.ask_size)}


def _decimal(value: int, decimals: int) -> str:
    """1e-8 units as text."""
    whole, part = divmod(value, 10**8)
    return f"{whole}.{part:08d}"[: len(str(whole)) + 1 + decimals]


def as_text(data: dict[str, Any], limit: int = 20) -> str:
    """The result for people; at most `limit` symbols."""
    rate = data["messages_per_second"]
    lines = [
        f"replay: {data['file']} ({data['format']}), strategy {data['strategy']}",
        "  messages     " + (", ".join(f"{k} {n:,}" for k, n in data["messages"].items()) or "none"),
        f"  skipped      {data['skipped']:,}"
        + "".join(f"; {n:,} messages {k}" for k, n in data["skipped_reasons"].items())
        + "".join(f"; {n:,} bytes: {k}" for k, n in data["skipped_bytes"].items()),
        f"  orders       {data['orders']:,} of {data['orders_wanted']:,} wanted"
        + "".join(f"; {n:,} stopped by {k}" for k, n in data["rejects"].items()),
        f"  speed        {rate:,} messages/s, {data['seconds']:.3f} s in the loop" if rate else "  speed        -",
    ]
    lines += [f"  note         {note}" for note in data["notes"]]
    shown = sorted(data["book"].items())
    for name, book in shown[:limit]:
        bid, ask = (f"{q[1]} @ {q[0]}" if (q := book[s]) else "-" for s in ("bid", "ask"))
        why = f"  STALE: {data['stale'][name]}" if name in data["stale"] else ""
        lines.append(f"  {name:<12} bid {bid:<28} ask {ask}{why}")
    if len(shown) > limit:
        lines.append(f"  ... and {len(shown) - limit:,} more symbols (--format json has all)")
    return "\n".join(lines) + "\n"
