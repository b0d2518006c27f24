"""What `make demo FEED=` shows of a recording: its beginning, the symbols to trade, and whether they give an order.

All of it is known before a virtual machine is started: the recording is read as the exchange simulator reads it, and
replayed through the agent's own path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent import config
from agent.exchange import feed
from agent.exchange.errors import FeedError
from agent.protocols import _codecs
from agent.protocols import recording as recordings
from agent.replay import run as replay
from agent.strategy import StrategyError
from agent.symbols import MAX_SYMBOLS

MESSAGES = 100_000  # at most, of a recording: what the demo's rate sends in its time
SHOWN = 20  # symbols that a message names
QUOTES = {
    "binance": "bookTicker messages",
    "itch": "orders on the book",
    "csv": "lines with a bid and an ask",
}


class RecordingRefused(Exception):
    """A recording, or the choice of symbols, cannot be shown: nothing has failed. The message says why."""


@dataclass(frozen=True)
class Feed:
    """What the demo sends and the agent trades.

    path: of the first messages; format: the agent's name of it; orders: how many a replay of it gives.
    """

    path: Path
    format: str
    messages: int
    counts: Mapping[str, int]
    symbols: Sequence[str]
    orders: int

    def describe(self) -> str:
        types = ", ".join(f"{name} {count:,}" for name, count in self.counts.items())
        return (
            f"{self.messages:,} messages ({self.format}: {types}); {shorten_list(self.symbols)} traded; "
            f"a replay gives {self.orders:,} orders"
        )


def shorten_list(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def cut_recording(path: Path, target: Path, limit: int = MESSAGES) -> None:
    """Write the first `limit` records (lines, ITCH messages) of a recording to `target`, not compressed.

    Raises agent.protocols.recording.RecordingError.
    """
    with recordings.open_recording(path) as source, target.open("wb") as out:
        if source.format.header:
            out.write(source.format.header.encode() + b"\n")
        left = limit
        for chunk in source.chunks():
            if source.format.framing == "binaryfile":
                messages = _codecs.binaryfile_messages(chunk)[0]
                records = [len(message).to_bytes(2, "big") + message for message in messages]
            else:
                records = chunk.splitlines(keepends=True)
            out.writelines(records[:left])
            left -= len(records)
            if left <= 0:
                return


def is_tradable(symbol: str) -> bool:
    """Returns whether the exchange can have the symbol under this name, and Ansible passes it on as it is."""
    try:
        msgspec.convert(symbol, config.ExchangeSymbol)
    except msgspec.ValidationError:
        return False
    return "{" not in symbol


def choose_symbols(quotes: Counter[str], wanted: Sequence[str], limit: int = MAX_SYMBOLS) -> list[str]:
    """The symbols to trade: those wanted, or else all that have quotes and can be traded, the most quoted first.

    quotes: number of quotes by symbol. Raises RecordingRefused when one that is wanted has no quote or cannot be
    traded, when there is none, or when there are more than `limit`.
    """
    names = [symbol for symbol, _ in quotes.most_common()]
    tradable = [symbol for symbol in names if is_tradable(symbol)]
    for symbol in wanted:
        if symbol not in tradable:
            why = "cannot be traded (allowed: 1 to 8 characters)" if symbol in names else "has no quotes in it"
            raise RecordingRefused(f"SYMBOLS: found {symbol}, which {why}; allowed: {shorten_list(tradable) or 'none'}")
    chosen = list(dict.fromkeys(wanted)) or tradable
    if not chosen:
        raise RecordingRefused(f"none of its symbols can be traded (allowed: 1 to 8 characters): {shorten_list(names)}")
    if len(chosen) > limit:
        raise RecordingRefused(
            f"it has {len(chosen):,} symbols, and the agent trades at most {limit}: choose with SYMBOLS=A,B; the most "
            f"quoted are {shorten_list(chosen)}"
        )
    return chosen


def explain_no_order(replayed: Mapping[str, Any], quotes: Counter[str], symbols: Sequence[str], slow: float) -> str:
    """Why a replay that ended well gave no order."""
    seen = ", ".join(f"{quotes[symbol]:,} of {symbol}" for symbol in symbols[:SHOWN])
    if replayed["orders_wanted"]:
        stopped = ", ".join(f"{name} {count:,}" for name, count in replayed["rejects"].items())
        return f"the risk gate stops each of the {replayed['orders_wanted']:,} orders that it gives: {stopped}"
    return (
        f"the averages of {replayed['strategy']} never cross in its quotes ({seen}); "
        f"there is no order before {slow:g} quotes of a symbol with a bid and an ask"
    )


def read_feed(path: Path, target: Path, wanted: Sequence[str], strategy: Mapping[str, Any]) -> Feed:
    """Cut a recording, choose the symbols, replay them. strategy: `name`, `size`, `fast` and `slow`, as in agent.toml.

    Raises RecordingRefused for a file that is no recording, is malformed, or gives the strategy no order.
    """
    try:
        cut_recording(path, target)
        sent = feed.recording(target)
        quotes = Counter(sent.symbols[i] for i in sent.mark_symbol if i >= 0)
        if not quotes:
            found = ", ".join(f"{name} {count:,}" for name, count in sent.counts.items())
            raise RecordingRefused(
                f"it cannot give an order: it has no {QUOTES.get(sent.format, 'quotes')}, and the strategy trades on "
                f"the best bid and offer; found: {found}"
            )
        symbols = choose_symbols(quotes, wanted)
        replayed = replay.run(target, strategy["name"], symbols=tuple(symbols), fast=strategy["fast"],
                              slow=strategy["slow"], size=strategy["size"])  # fmt: skip
    except (recordings.RecordingError, FeedError, StrategyError) as error:
        raise RecordingRefused(str(error).replace(str(target), str(path))) from None
    if not replayed["orders"]:
        why = explain_no_order(replayed, quotes, symbols, strategy["slow"])
        raise RecordingRefused(f"it cannot give an order: {why}")
    return Feed(target, sent.format, len(sent), sent.counts, symbols, replayed["orders"])
