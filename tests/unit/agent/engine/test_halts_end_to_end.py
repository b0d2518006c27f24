"""A day of an ITCH feed from `agent exchange` to `agent run`, with a halt, a pause and the market's close: in them
no order reaches the exchange, and orders go on behind them."""

import json

import pytest

from agent.exchange import generator
from agent.protocols import itch_layouts as itch

from ..stage import Stage
from .itch_feed import HOUR, LOCATES

pytest.importorskip("numba")
#: Of the feed's messages: quotes in each part of the day.
QUOTES = 40


def write_day(parts: list[tuple[str, str]]) -> tuple[list[bytes], dict[str, int]]:
    """Returns the messages, and how many changes of the best price each part brings. parts: its name; and the messages
    that begin it: letter and code, one behind the other."""
    messages: list[bytes] = []
    changes: dict[str, int] = {}
    orders = 0

    def say(letter: str, **values: object) -> None:
        fields = {field.name for field in itch.LAYOUTS[letter].fields}
        head = {
            "timestamp": 9 * HOUR + len(messages) * 1_000_000,
            "stock_locate": LOCATES["AAPL"] if "stock" in fields else 0,
        }
        head |= {"stock": "AAPL"} if "stock" in fields else {}
        messages.append(itch.encode(letter, **head | values))

    for name, begin in parts:
        for letter, code in zip(begin[::2], begin[1::2], strict=True):
            if letter == "R":
                say("R")
            else:
                say(letter, **{"event_code" if letter == "S" else "trading_state": code})
        changes[name] = 0
        for i in range(QUOTES):
            # A better bid, or the first offer far away: each is a new best price.
            orders += 1
            first = not any(changes.values()) and i == 0
            say("A", order_reference_number=orders, buy_sell_indicator="S" if first else "B", shares=100,
                price=9_000_000 if first else 1_000_000 + 100 * orders)  # fmt: skip
            changes[name] += 1
    return messages, changes


def test_no_order_reaches_the_exchange_in_a_halt(stage: Stage) -> None:
    parts = [
        ("before the open", "SOR-HTSS"), ("open", "SQ"), ("halted", "HH"), ("quoting", "HQ"), ("again", "HT"),
        ("paused", "HP"), ("and again", "HT"), ("after the close", "SM"), ("the end", "SE"),
    ]  # fmt: skip
    messages, changes = write_day(parts)
    (stage.folder / "day").write_bytes(generator.binaryfile(messages))
    stage.write(stage.config.read_text().replace('symbol = "BTCUSDT"', 'symbols = ["AAPL"]')
                .replace('format = "binance"', 'format = "itch"'))  # fmt: skip
    stage.strategy("every_tick")
    stage.set(max_position="0")
    agent = stage.agent("--once", "--format", "json")
    run = stage.exchange("--feed", "day", "--rate", "2000")
    assert run.returncode == 0, run.stdout + run.stderr
    out, _ = agent.communicate(timeout=40)
    summary = json.loads(out)
    c = summary["counters"]
    traded = changes["open"] + changes["again"] + changes["and again"]
    assert c["orders_sent"] == traded
    assert json.loads(run.stdout)["orders"]["acknowledged"] == c["accepted"] == traded
    assert c["reject_halted"] == changes["halted"] + changes["quoting"] + changes["paused"]
    assert c["reject_closed_market"] == sum(changes[n] for n in ("before the open", "after the close", "the end"))
    text = stage.run("stats", str(stage.segment))
    assert "\n  market closed, day 1 of the feed\n" in text
