"""The report of a replay, from counters alone."""

from typing import Any

import pytest

from agent.protocols.recording import Skip
from agent.replay.problems import Findings
from agent.replay.report import as_text, describe_quote, describe_replay
from agent.shm.segment import Symbol

COUNTERS = {"book_ticker": 5, "trade": 2, "depth_update": 0, "other": 1, "malformed_json": 3, "malformed_type": 0,
            "events": 7, "orders_wanted": 4, "orders_sent": 3, "reject_size": 1, "reject_rate": 0,
            "day_starts": 2}  # fmt: skip


def symbol(**values: Any) -> Symbol:
    """A row of the segment with the given words; the others are 0."""
    words: dict[str, Any] = dict.fromkeys(Symbol.__struct_fields__, 0)
    return Symbol(**(words | {"name": "AAPL"} | values))


class Reading:
    """What the report asks of a segment."""

    def __init__(self, *symbols: Symbol) -> None:
        self.counters, self.symbols = COUNTERS, list(symbols)


def report(form: str = "binance", *symbols: Symbol, **facts: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"types": {}, "found": Findings(), "notes": [], "nanoseconds": 2_000_000}
    return describe_replay("day.gz", "every_tick", form, segment=Reading(*symbols), **(given | facts))  # type: ignore[arg-type]


def test_messages_of_other_formats_are_counted_by_the_segment() -> None:
    assert report("binance")["messages"] == {"bookTicker": 5, "other": 1, "trade": 2}
    assert report("csv")["messages"] == {"other": 1, "quote": 5, "trade": 2}
    assert report("itch", types={"D": 4, "A": 9})["messages"] == {"A": 9, "D": 4}


def test_what_was_skipped_and_refused() -> None:
    skips = [Skip("cut", 90, False, b"\x1b", 12, 4), Skip("not gzip", 7, True, b"", 1, 1)]
    data = report(found=Findings(skips=skips))
    assert data["skipped_reasons"] == {"json": 3}
    assert data["skipped_bytes"] == {"cut": 12, "not gzip": 1}
    assert data["skipped"] == 3 + 4 + 1
    assert not data["ok"]
    assert "  PROBLEM      12 bytes skipped: cut; first: byte 90: \\u001b" in as_text(data).splitlines()
    assert data["rejects"] == {"size": 1}


def test_the_days_of_a_recording() -> None:
    assert report()["day_starts"] == 2
    assert "  days         2 begin in the recording, each with empty books" in as_text(report()).splitlines()


def test_speed_is_of_all_messages_of_the_loop() -> None:
    assert report()["messages_per_second"] == round((5 + 1 + 2 + 3) * 1e9 / 2_000_000)
    assert report()["seconds"] == 0.002
    assert report(nanoseconds=0)["messages_per_second"] is None
    assert "  speed        -" in as_text(report(nanoseconds=0)).splitlines()


@pytest.mark.parametrize(
    ("decimals", "bid"), [(4, ["10.5000", 3]), (8, ["10.50000000", "3.00000000"])], ids=["ITCH", "others"]
)
def test_a_quote(decimals: int, bid: list[Any]) -> None:
    row = symbol(bid=1_050_000_000, bid_size=300_000_000)
    assert describe_quote(row, decimals) == {"bid": bid, "ask": None}


def test_a_stale_book_says_why() -> None:
    data = report("itch", symbol(stale=2), symbol(name="MSFT", bid=10**8, bid_size=10**8))
    assert data["stale"] == {"AAPL": "no room for more orders"}
    assert data["book"]["MSFT"]["bid"] == ["1.0000", 1]
    text = as_text(data).splitlines()
    assert any(line.startswith("  AAPL ") and line.endswith("STALE: no room for more orders") for line in text)


def test_text_is_cut_at_a_limit_and_says_so() -> None:
    data = report("itch", *(symbol(name=f"S{i}") for i in range(5)))
    assert as_text(data, limit=2).splitlines()[-1] == "  ... and 3 more symbols (--format json has all)"
    assert "more symbols" not in as_text(data, limit=5)
