"""The CSV tick parser against a slow one made of str.split and Decimal."""

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.protocols import _codecs

HEADER = b"timestamp_ns,symbol,bid,bid_size,ask,ask_size"
NAMES = ("bid", "bid_size", "ask", "ask_size", "price", "size")
DECIMAL = re.compile(r"[0-9]{1,11}(\.[0-9]{1,8})?", re.ASCII)

decimals = st.from_regex(r"[0-9]{1,10}(\.[0-9]{1,8})?", fullmatch=True)
symbols = st.text("ABCxyz019.!#$~/-", min_size=1, max_size=20)
stamps = st.integers(0, 2**63 - 1).map(str)
junk = st.text(st.characters(codec="latin-1", exclude_characters="\n"), max_size=12)


def slow(line: bytes) -> tuple[str, dict[str, Any]]:
    """The format's rules one after the other."""
    text = line.decode("latin-1")
    if not text:
        return "empty", {}
    if text.startswith("t"):
        return ("header" if line in (HEADER, HEADER + b",price,size") else "field"), {}
    fields = text.split(",")
    if len(fields) > 8:
        return "oversized", {}
    if len(fields) not in (6, 8):
        return "truncated", {}
    if not re.fullmatch(r"[!-~]{1,20}", fields[1]) or '"' in fields[1]:
        return "symbol", {}
    if not re.fullmatch(r"[0-9]+", fields[0], re.ASCII) or int(fields[0]) >= 2**63:
        return "number", {}
    out: dict[str, Any] = {"exchange_ns": int(fields[0]), "symbol": fields[1].encode(), "exchange_id": 0}
    kinds = []
    for kind, names, part in (("quote", NAMES[:4], fields[2:6]), ("trade", NAMES[4:], fields[6:])):
        if not any(part):
            continue
        if not all(part):
            return "field", {}
        for name, number in zip(names, part, strict=True):
            value = Decimal(number) * 10**8 if DECIMAL.fullmatch(number) else Decimal(2**63)
            if value >= 2**63:
                return "number", {}
            out[name] = int(value)
        kinds.append(kind)
    return (" and ".join(kinds), out) if kinds else ("field", {})


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    quote = [draw(decimals) for _ in range(4)] if draw(st.booleans()) else [""] * 4
    trade = [draw(decimals) for _ in range(2)] if draw(st.booleans()) else draw(st.sampled_from(([], ["", ""])))
    return ",".join([draw(stamps), draw(symbols), *quote, *trade]).encode()


@given(lines())
@settings(max_examples=400)
def test_reads_what_the_slow_one_reads(line: bytes) -> None:
    assert _codecs.tick_parse("csv", line) == slow(line)


@given(lines(), st.data())
@settings(max_examples=400)
def test_judges_a_damaged_line_alike(line: bytes, data: st.DataObject) -> None:
    fields = line.decode().split(",")
    place = data.draw(st.integers(0, len(fields) - 1))
    fields[place] = data.draw(junk | decimals | st.sampled_from(("", " 1", "1.", ".1", "-1", "1e3", "NaN", "1" * 12)))
    damaged = ",".join(fields).encode("latin-1")
    assert _codecs.tick_parse("csv", damaged) == slow(damaged)
    cut = damaged[: data.draw(st.integers(0, len(damaged)))]
    assert _codecs.tick_parse("csv", cut) == slow(cut)


@given(st.binary(max_size=80).map(lambda b: b.replace(b"\n", b"")))
@settings(max_examples=200)
def test_judges_any_bytes_alike(line: bytes) -> None:
    assert _codecs.tick_parse("csv", line) == slow(line)


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (b"", "empty"),
        (HEADER, "header"),
        (HEADER + b",price,size", "header"),
        (HEADER + b",price", "field"),
        (b"1,A,1,1,2,2", "quote"),
        (b"1,A,1,1,2,2,,", "quote"),
        (b"1,A,,,,,3,4", "trade"),
        (b"1,A,1,1,2,2,3,4", "quote and trade"),
        (b"1,A,0,0,2,2", "quote"),
        (b"1,A,,,2,2", "field"),
        (b"1,A,,,,", "field"),
        (b"1,A,,,,,,", "field"),
        (b"1,A,1,1,2,2,3,", "field"),
        (b"1,,1,1,2,2", "symbol"),
        (b"1,1000PEPEUSDT,1,1,2,2", "quote"),
        (b"1,TWENTYCHARACTERSLONG,1,1,2,2", "quote"),
        (b"1,TWENTYONECHARACTERSUP,1,1,2,2", "symbol"),
        (b'1,"A",1,1,2,2', "symbol"),
        (b"1,A B,1,1,2,2", "symbol"),
        (b"1,A,1,1,2", "truncated"),
        (b"1,A,1,1,2,2,3", "truncated"),
        (b"1,A,1,1,2,2,3,4,5", "oversized"),
        (b"-1,A,1,1,2,2", "number"),
        (b"1.5,A,1,1,2,2", "number"),
        (b"9223372036854775807,A,1,1,2,2", "quote"),
        (b"9223372036854775808,A,1,1,2,2", "number"),
        (b"99999999999999999999999,A,1,1,2,2", "number"),
        (b"1,A,1.123456789,1,2,2", "number"),
        (b"1,A,-1,1,2,2", "number"),
        (b"1,A,1,1,2,2\r", "number"),
    ],
)
def test_cases(line: bytes, verdict: str) -> None:
    assert _codecs.tick_parse("csv", line)[0] == verdict


def test_units() -> None:
    assert _codecs.tick_parse("csv", b"1700000000000000000,AAPL,189.01,300,189.02,1200,189.015,0.5") == (
        "quote and trade",
        {
            "exchange_ns": 1700000000000000000,
            "exchange_id": 0,
            "symbol": b"AAPL",
            "bid": 18901000000,
            "bid_size": 30000000000,
            "ask": 18902000000,
            "ask_size": 120000000000,
            "price": 18901500000,
            "size": 50000000,
        },
    )
