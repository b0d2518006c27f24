"""What `make demo FEED=` makes of a recording: each format, odd symbols, none, many; and what gives no order."""

from __future__ import annotations

import gzip
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import demo
import demo_feed
import pytest
from demo_feed import RecordingRefused, choose_symbols, is_tradable, read_feed

from agent.exchange import feed, generator
from agent.protocols import formats

STRATEGY = {"name": "ema_cross_cython", "size": 1, "fast": 2, "slow": 5}


def binance(messages: list[bytes]) -> bytes:
    return b"".join(b"%d %s\n" % (1_700_000_000_000_000_000 + i, message) for i, message in enumerate(messages))


def quote(symbol: str, i: int) -> bytes:
    """A best bid and offer that goes up for ten messages and down for the next ten."""
    cents = 100_00 + abs(i % 20 - 10) * 100
    price = f"{cents // 100}.{cents % 100:02}000000"
    return (
        f'{{"stream":"x@bookTicker","data":{{"u":{i},"s":"{symbol}","b":"{price}","B":"9.00000000",'
        f'"a":"{price[:-1]}1","A":"9.00000000"}}}}'
    ).encode()


def generated(form: str, symbols: list[str], count: int = 3000) -> bytes:
    """A recording of a generated feed, as a file of this format has it."""
    made = feed.generated(count, 1, symbols, form)
    messages = [made.text[a:b] for a, b in zip(made.offsets[:-1], made.offsets[1:], strict=True)]
    (row,) = (row for row in formats.FORMATS if row.name == form)
    if row.framing == "binaryfile":
        return b"".join(len(m).to_bytes(2, "big") + m for m in messages)
    if row.framing == "lines":
        return row.header.encode() + b"\n" + b"".join(m + b"\n" for m in messages)
    return binance(messages)


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Write a recording and read it as the demo does."""

    def make(content: bytes, *wanted: str, name: str = "recording") -> demo_feed.Feed:
        path = tmp_path / name
        path.write_bytes(content)
        return read_feed(path, tmp_path / "feed", wanted, STRATEGY)

    return make


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("form", feed.FORMATS)
def test_each_format_is_traded(read: Any, form: str, zipped: bool) -> None:
    content = generated(form, ["ETHUSDT", "SOLUSDT"])
    found = read(gzip.compress(content) if zipped else content, name="r.gz" if zipped else "r")
    assert found.format == form and sorted(found.symbols) == ["ETHUSDT", "SOLUSDT"]
    assert found.messages == 3000 and found.orders > 0
    assert found.path.read_bytes() == content, "no more and no less than the recording, not compressed"
    assert "3,000 messages" in found.describe() and f"{found.orders:,} orders" in found.describe()


def test_only_the_wanted_symbols_are_traded(read: Any) -> None:
    content = generated("binance", ["ETHUSDT", "SOLUSDT", "XRPUSDT"])
    both, one = read(content, "SOLUSDT", "ETHUSDT"), read(content, "SOLUSDT")
    assert both.symbols == ["SOLUSDT", "ETHUSDT"] and one.symbols == ["SOLUSDT"]
    assert 0 < one.orders < both.orders


@pytest.mark.parametrize("form", feed.FORMATS)
def test_a_long_recording_is_cut(tmp_path: Path, form: str) -> None:
    path, target = tmp_path / "recording", tmp_path / "feed"
    path.write_bytes(generated(form, ["AAPL"]))
    demo_feed.cut_recording(path, target, 700)
    assert path.read_bytes().startswith(target.read_bytes())
    assert len(feed.recording(target)) == 700


def test_a_name_that_the_agent_cannot_trade_is_left_out(read: Any) -> None:
    content = binance([quote(symbol, i) for i in range(100) for symbol in ("1000SHIBUSDT", "BNBUSDT")])
    assert read(content).symbols == ["BNBUSDT"]
    with pytest.raises(RecordingRefused, match=r"found 1000SHIBUSDT, which cannot be traded .*allowed: BNBUSDT$"):
        read(content, "1000SHIBUSDT")
    with pytest.raises(RecordingRefused, match=r"none of its symbols can be traded .*: 1000SHIBUSDT$"):
        read(binance([quote("1000SHIBUSDT", i) for i in range(100)]))


@pytest.mark.parametrize(
    ("symbol", "good"),
    [("A", True), ("BRK.B", True), ("ZVZZT^#+", True), ("", False), ("A B", False), ("NINECHARS", False),
     ("ÄÖ", False), ("{{ a }}", False), ("{{a}}", False)],
)  # fmt: skip
def test_names(symbol: str, good: bool) -> None:
    assert is_tradable(symbol) is good


def test_the_most_quoted_come_first_and_the_wanted_as_they_are_given() -> None:
    quotes = Counter({"A": 1, "B": 3, "C": 2})
    assert choose_symbols(quotes, []) == ["B", "C", "A"]
    assert choose_symbols(quotes, ["A", "B", "A"]) == ["A", "B"]
    with pytest.raises(RecordingRefused, match=r"SYMBOLS: found D, which has no quotes in it; allowed: B, C, A$"):
        choose_symbols(quotes, ["A", "D"])


def test_too_many_symbols_are_listed_and_how_to_choose_is_said() -> None:
    quotes = Counter({f"S{i}": 1000 - i for i in range(300)})
    with pytest.raises(RecordingRefused) as caught:
        choose_symbols(quotes, [])
    assert "300 symbols" in str(caught.value) and "at most 256" in str(caught.value)
    assert "SYMBOLS=A,B" in str(caught.value) and "S0, S1, " in str(caught.value)
    assert str(caught.value).endswith("S19 and 280 more")
    assert choose_symbols(quotes, ["S299"]) == ["S299"]


DEPTH = b'{"stream":"x@depth","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[],"a":[]}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (binance([DEPTH] * 100), "cannot give an order: it has no bookTicker messages, .*found: depthUpdate 100"),
        (binance([quote("BTCUSDT", 1)]), r"cannot give an order: .*never cross in its quotes \(1 of BTCUSDT\)"),
        (binance([quote("BTCUSDT", 0)] * 100), r"cannot give an order: .*never cross in its quotes \(100 of BTC"),
        (b"".join(len(m).to_bytes(2, "big") + m for m in generator.session(1, 100, ["A"])[:3]),
         "cannot give an order: it has no orders on the book"),
        (b"timestamp_ns,symbol,bid,bid_size,ask,ask_size,price,size\n1,A,,,,,5,5\n",
         "cannot give an order: it has no lines with a bid and an ask"),
        (b"timestamp_ns,symbol,bid,bid_size,ask,ask_size,price,size\n", "recording: holds no messages"),
        (b"", "recording: byte 0: found nothing"),
        (b"once upon a time\n", "recording: byte 0: found b'once upon"),
        (gzip.compress(b"once upon a time\n", mtime=0), "recording: byte 0: found b'once upon"),
        (binance([quote("BTCUSDT", 1)]) + b"nonsense\n", "recording:2: found b'nonsense', expected TIME JSON"),
    ],
)  # fmt: skip
def test_what_gives_no_order_is_refused_and_why(read: Any, content: bytes, message: str) -> None:
    with pytest.raises(RecordingRefused, match=message):
        read(content)


def test_an_order_that_the_gate_stops_is_not_called_a_missing_one() -> None:
    replayed = {"orders_wanted": 7, "rejects": {"price": 7}, "strategy": "ema_cross"}
    said = demo_feed.explain_no_order(replayed, Counter({"PEPEUSDT": 9}), ["PEPEUSDT"], 5)
    assert said == "the risk gate stops each of the 7 orders that it gives: price 7"


def test_the_agent_is_configured_for_the_feed() -> None:
    made = demo_feed.Feed(Path("feed"), "itch", 10, {"A": 10}, ["AAPL", "MSFT"], 3)
    option, variables = demo.configure_agent(made, ["ignored"])
    assert option == "--extra-vars"
    assert variables == '{"demo_agent_symbols": ["AAPL", "MSFT"], "demo_agent_format": "itch"}'
    assert demo.configure_agent(None, []) == []
    assert demo.configure_agent(None, ["ETHUSDT"])[1] == '{"demo_agent_symbols": ["ETHUSDT"]}'


def run_main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str) -> int:
    monkeypatch.setattr(demo, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(demo, "running", lambda *words, **options: pytest.fail("a machine was started"))
    monkeypatch.setattr(sys, "argv", ["demo", *arguments])
    return demo.main()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--feed", "{depth}"), "demo: FEED={depth}: it cannot give an order: it has no bookTicker"),
        (("--feed", "{depth}x"), "demo: FEED={depth}x: there is no such file"),
        (("--symbols", "NINECHARS"), "demo: SYMBOLS=NINECHARS: allowed: names of 1 to 8 characters"),
    ],
)
def test_bad_input_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...],
    message: str,
) -> None:  # fmt: skip
    depth = tmp_path / "depth"
    depth.write_bytes(binance([DEPTH]))
    assert run_main(monkeypatch, tmp_path, *(word.format(depth=depth) for word in arguments)) == 2
    assert capsys.readouterr().err.startswith(message.format(depth=depth))
