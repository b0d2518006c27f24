"""The parser of the loop against Python's json, on generated messages and on damaged ones."""

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.exchange import feed
from agent.protocols import _codecs

decimals = st.from_regex(r"[0-9]{1,10}(\.[0-9]{1,8})?", fullmatch=True)
symbols = st.from_regex(r"[A-Z0-9]{1,20}", fullmatch=True)
ids = st.integers(0, 2**63 - 1)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
anything = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3), max_leaves=6
)
spaces = st.text(" \t\r\n", max_size=2)
keys = st.text("abcxyzABC_01", min_size=2, max_size=5).filter(lambda k: k != "data")
others = st.dictionaries(keys, anything, max_size=3)


#: Members of a message by the field of the tick that they are.
QUOTE = {"u": "exchange_id", "b": "bid", "B": "bid_size", "a": "ask", "A": "ask_size"}
TRADE = {"t": "exchange_id", "p": "price", "q": "size"}
PIECES = (b'"', b"{", b"}", b'"s":"X",', b'"data":{', b"\\u0073", b"1e9", b"[[[[")


@st.composite
def ticks(draw: st.DrawFn) -> bytes:
    book = {"u": draw(ids), "s": draw(symbols)} | {k: draw(decimals) for k in "bBaA"}
    trade = {"e": "trade", "s": draw(symbols), "t": draw(ids), "p": draw(decimals), "q": draw(decimals), "m": True}
    times = {k: draw(ids) for k in draw(st.sampled_from(("", "E", "T", "ET")))}
    fields = draw(st.sampled_from((book, book | {"e": "bookTicker"}, trade))) | times | draw(others)
    keys = draw(st.permutations(list(fields)))
    message: dict[str, Any] = {k: fields[k] for k in keys}
    if draw(st.booleans()):
        message = {"stream": "btcusdt@x", "data": message}
    separators = draw(st.tuples(spaces, spaces, spaces))
    text = json.dumps(message, ensure_ascii=draw(st.booleans()), separators=("," + separators[0], separators[1] + ":"))
    return (separators[2] + text).encode("utf-8", "surrogatepass")


def expected(text: bytes) -> dict[str, Any]:
    """What json says the fields of a tick are."""
    message = json.loads(text.decode("utf-8", "surrogatepass"))
    data = message["data"] if isinstance(message.get("data"), dict) else message
    names = TRADE if data.get("e") == "trade" else QUOTE
    out = {n: int(Decimal(data[k]) * 10**8) if isinstance(data[k], str) else data[k] for k, n in names.items()}
    return out | {"symbol": data["s"].encode(), "exchange_ns": data.get("T", data.get("E", 0))}


@given(ticks())
@settings(max_examples=400, deadline=None)
def test_reads_what_json_reads(text: bytes) -> None:
    kind, fields = _codecs.tick_parse("binance", text)
    assert kind in ("bookTicker", "trade")
    assert fields == expected(text)


@given(ticks(), st.data())
@settings(max_examples=400, deadline=None)
def test_a_cut_message_is_truncated(text: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text) - 1))
    assert _codecs.tick_parse("binance", text[:cut]) == ("truncated", {})


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_never_a_tick(text: bytes) -> None:
    assert _codecs.tick_parse("binance", text)[1] == {}


def test_fuzz_whatever_it_accepts_json_reads_alike() -> None:
    rng = random.Random(7)
    source = [bytes(m) for m in _messages(feed.generated(200, 3))]
    accepted = 0
    for _ in range(60_000):
        text = bytearray(rng.choice(source))
        for _ in range(rng.randrange(1, 4)):
            action, place = rng.randrange(4), rng.randrange(len(text))
            if action == 0:
                text[place] = (
                    rng.choice(b'{}[]",:\\0123456789.eE+-sbBaApqt \x00\xff')
                    if rng.random() < 0.8
                    else rng.randrange(256)
                )
            elif action == 1:
                del text[place : place + rng.randrange(1, 6)]
            elif action == 2:
                text[place:place] = text[place : place + rng.randrange(1, 30)]
            else:
                text[place:place] = rng.choice(
                    (b'"', b"{", b"}", b'"s":"X",', b'"data":{', b"\\u0073", b"1e9", b"[[[[")
                )
            if not text:
                text += b"{"
        kind, fields = _codecs.tick_parse("binance", bytes(text))
        if fields:
            accepted += 1
            decoded = bytes(text).decode("utf-8", "surrogateescape")
            message = json.loads(decoded)
            data = message["data"] if isinstance(message.get("data"), dict) else message
            for member, name in (TRADE if kind == "trade" else QUOTE).items():
                value = int(Decimal(data[member]) * 10**8) if isinstance(data[member], str) else data[member]
                assert fields[name] == value, text
            assert fields["symbol"] == data["s"].encode("utf-8", "surrogateescape"), text
    assert accepted > 1000


def _messages(messages: feed.Feed) -> list[bytes]:
    return [messages.text[a:b] for a, b in zip(messages.offsets, messages.offsets[1:], strict=False)]


def book(**changes: str) -> bytes:
    fields = {"u": "1", "s": '"X"', "b": '"1.0"', "B": '"1"', "a": '"2"', "A": '"1"'} | changes
    return ("{" + ",".join(f'"{k}":{v}' for k, v in fields.items() if v) + "}").encode()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"", "truncated"),
        (b"  ", "truncated"),
        (b"[]", "json"),
        (b"{}", "other"),
        (b'{"result":null,"id":1}', "other"),
        (b'{"e":"kline","s":"X"}', "other"),
        (b'{"e":"depthUpdate","garbage} \r\n', "depthUpdate"),
        (b'{"e":"depthUpdate","garbage', "truncated"),
        (b'{"e":"depthUpdate","b":[["1","2"]]', "truncated"),
        (b'{"stream":"x@depth","data":{"e":"depthUpdate","b":[["1","2"]]}}', "depthUpdate"),
        (book(), "bookTicker"),
        (book(b=""), "field"),
        (book(A=""), "field"),
        (book(u=""), "field"),
        (book(s="5"), "field"),
        (book(s='"1000PEPEUSDT"'), "bookTicker"),
        (book(s='"TWENTYCHARACTERSLONG"'), "bookTicker"),
        (book(s='"TWENTYONECHARACTERSUP"'), "symbol"),
        (book(s='""'), "symbol"),
        (book(s='"A B"'), "symbol"),
        ('{"u":1,"s":"币安人生USDT","b":"1","B":"1","a":"2","A":"1"}'.encode(), "symbol"),
        (book(E="1723161255208", T="1723161255207"), "bookTicker"),
        (book(E='"1723161255208"'), "field"),
        (book(T="1.5"), "field"),
        (book(E="1", T="-1"), "field"),
        (book(T="9223372036854775808"), "field"),
        (book(u="9223372036854775807"), "bookTicker"),
        (book(u="9223372036854775808"), "field"),
        (book(b="1.0"), "field"),
        (book(u="1.5"), "field"),
        (book(u="-1"), "field"),
        (book(b='"-1"'), "number"),
        (book(b='"1."'), "number"),
        (book(b='".1"'), "number"),
        (book(b='""'), "number"),
        (book(b='"1e5"'), "number"),
        (book(b='"NaN"'), "number"),
        (book(b='"1.123456789"'), "number"),
        (book(b='"123456789012"'), "number"),
        (book(b='"99999999999"'), "number"),
        (book(b='"92233720368.54775807"'), "bookTicker"),
        (book(b='"92233720368.54775808"'), "number"),
        (book(b='"1\\u0030"'), "field"),
        (book(x='"1","b":"2"'), "field"),
        (book(x="01"), "json"),
        (book(x="NaN"), "json"),
        (book(x='"\x01"'), "json"),
        (book(x="[1,]"), "json"),
        (book(x="[" * 16 + "]" * 16), "bookTicker"),
        (book(x="[" * 17 + "]" * 17), "json"),
        (book(x="[" * 5000), "json"),
        (book() + b"x", "json"),
        (book() + b" ", "bookTicker"),
        (b'{"e":"trade","s":"X","t":1,"p":"1","q":2}', "field"),
    ],
)
def test_kinds(text: bytes, kind: str) -> None:
    assert _codecs.tick_parse("binance", text)[0] == kind
