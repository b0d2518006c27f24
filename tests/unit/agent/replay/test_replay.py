"""`agent replay`, and ITCH through the engine: the same messages, the same final book as plain models have."""

import contextlib
import gzip
import json
import random
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent import cli, strategy
from agent.exchange import best_prices, feed, generator
from agent.protocols import itch_layouts as itch
from agent.replay import run as replay
from tests.cpu_time import is_within

from ..conftest import Hand, mold, order

CSV = b"timestamp_ns,symbol,bid,bid_size,ask,ask_size\n"
SYMBOLS = ["AAPL", "MSFT", "BRK.A"]
DAY = generator.session(3, 20_000, SYMBOLS)


def model(messages: list[bytes]) -> dict[str, tuple[int, int, int, int]]:
    """Final (bid, ask, bid size, ask size) by symbol, out of the simulator's dictionaries."""
    books, found = best_prices.ItchBooks(), {}
    for m in messages:
        if (mark := books.use_message(m)) is not None:
            found[mark[0]] = mark[1:]
    return found


def quoted(book: dict[str, Any]) -> tuple[int, int, int, int]:
    (bid, bid_size), (ask, ask_size) = (book[s] or ("0", 0) for s in ("bid", "ask"))
    return int(Decimal(bid) * 10_000), int(Decimal(ask) * 10_000), bid_size, ask_size


def run(path: Path, messages: list[bytes], **options: Any) -> dict[str, Any]:
    path.write_bytes(generator.binaryfile(messages))
    return replay.run(path, options.pop("strategy", "every_tick_cython"), **options)


@pytest.mark.parametrize("count", [200, 5_000, 20_000])
def test_messages_and_final_book_of_an_itch_day(tmp_path: Path, count: int) -> None:
    data = run(tmp_path / "day", DAY[:count])
    types: dict[str, int] = {}
    for m in DAY[:count]:
        types[chr(m[0])] = types.get(chr(m[0]), 0) + 1
    assert data["messages"] == types and data["skipped"] == 0 and data["stale"] == {}
    expected = model(DAY[:count])
    assert {s: quoted(b) for s, b in data["book"].items() if s in expected} == expected
    assert set(data["book"]) == set(SYMBOLS)
    # BRK.A trades at more than OUCH can say; the day has halts and restrictions.
    assert set(data["rejects"]) <= {"price", "halted", "short"}
    assert 0 < data["orders"] == data["orders_wanted"] - sum(data["rejects"].values())


def test_only_some_symbols(tmp_path: Path) -> None:
    data = run(tmp_path / "day", DAY, symbols=("MSFT",))
    assert {s: quoted(b) for s, b in data["book"].items()} == {"MSFT": model(DAY)["MSFT"]}
    assert data["messages"]["A"] == sum(m[:1] == b"A" for m in DAY)


def test_hostile_messages_between_good_ones_change_nothing(tmp_path: Path) -> None:
    rng, mixed, hostile = random.Random(5), [], 0
    for i, m in enumerate(DAY):
        mixed.append(m)
        if i % 50 == 49:
            kind = rng.randrange(3)
            hostile += 1
            if kind == 0:
                mixed.append(DAY[rng.randrange(len(DAY))][:-1])
            elif kind == 1:
                mixed.append(DAY[rng.randrange(len(DAY))] + b"\0")
            else:
                mixed.append(b"z" + bytes(rng.randrange(30)))
    data = run(tmp_path / "day", mixed)
    assert data["skipped"] == hostile == sum(data["skipped_reasons"].values())
    assert set(data["skipped_reasons"]) == {"truncated", "oversized", "type"}
    expected = model(DAY)
    assert {s: quoted(b) for s, b in data["book"].items()} == expected
    assert data["messages"] == run(tmp_path / "clean", DAY)["messages"]


def test_a_book_that_lacks_a_message_says_so_and_quotes_nothing(tmp_path: Path) -> None:
    first = next(
        i for i, m in enumerate(DAY) if m[:1] == b"A" and any(n[:1] == b"D" and n[11:19] == m[11:19] for n in DAY)
    )
    name = DAY[first][24:32].decode().strip()
    data = run(tmp_path / "day", DAY[:first] + DAY[first + 1 :])
    assert data["stale"] == {name: "a message contradicts the book"}
    assert data["book"][name] == {"bid": None, "ask": None}
    whole = model(DAY)
    assert {s: quoted(b) for s, b in data["book"].items() if s != name} == {s: q for s, q in whole.items() if s != name}


def test_the_same_recording_zipped_and_in_every_language(tmp_path: Path) -> None:
    results = []
    for name in ("ema_cross", "ema_cross_cython", "ema_cross_rust"):
        if name == "ema_cross_rust" and name not in strategy.built_in():
            continue
        results.append(run(tmp_path / "day", DAY, strategy=name, fast=3, slow=9))
    (tmp_path / "day.gz").write_bytes(gzip.compress(generator.binaryfile(DAY)))
    results.append(replay.run(tmp_path / "day.gz", "ema_cross", fast=3, slow=9))
    for result in results:
        for key in ("file", "seconds", "messages_per_second", "strategy"):
            del result[key]
    assert results[0]["orders"] > 100 and all(r == results[0] for r in results)


def test_binance_lines(tmp_path: Path) -> None:
    f = feed.generated(2000, 1)
    path = tmp_path / "lines"
    lines = [b"%d %s\n" % (10**18 + f.at[i], f.text[f.offsets[i] : f.offsets[i + 1]]) for i in range(len(f))]
    path.write_bytes(b"".join([*lines[:1000], b"5 {\n", b"x\n", *lines[1000:]]))
    data = replay.run(path, "every_tick")
    assert data["messages"] == f.counts and data["skipped"] == 2
    last = next(json.loads(line.split(b" ", 1)[1])["data"] for line in reversed(lines) if b"bookTicker" in line)
    assert data["book"] == {"BTCUSDT": {"bid": [last["b"], last["B"]], "ask": [last["a"], last["A"]]}}


def test_more_symbols_than_there_is_room_for_cost_no_more_than_others(tmp_path: Path) -> None:
    """Each line names another symbol than the last: none is looked for one by one."""
    path = tmp_path / "lines"
    path.write_bytes(CSV + b"".join(b"%d,S%d,1,1,2,1\n" % (i, i % 40_000) for i in range(300_000)))
    begun = time.thread_time()
    data = replay.run(path, "every_tick_cython")
    assert is_within(time.thread_time() - begun, 3)
    assert data["messages"] == {"quote": 300_000} and len(data["book"]) == 16_384
    assert data["orders"] == sum(i % 40_000 < 16_384 for i in range(300_000))


def test_names_that_bring_orders_to_the_terminal_are_shown_as_text(tmp_path: Path) -> None:
    path = tmp_path / "day"
    path.write_bytes(generator.binaryfile([m.replace(b"AAPL    ", b"\x1b[2J\n\r\0A") for m in DAY[:500]]))
    text = replay.as_text(replay.run(path, "every_tick_cython"))
    assert text.replace("\n", "").isprintable() and "\\u001b[2J\\u000a\\u000d\\u0000A" in text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    path = tmp_path / "day"
    path.write_bytes(generator.binaryfile(DAY) + b"\0\x24A")
    arguments = ["replay", str(path), "--strategy", "every_tick_cython", "--cache-dir", str(tmp_path)]
    assert cli.main([*arguments, "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["skipped"] == 1 and not data["ok"] and data["skipped_bytes"] == {"truncated record": 3}
    assert sum(data["messages"].values()) == len(DAY) and data["messages_per_second"] > 0
    assert cli.main(arguments) == 1
    assert "truncated record" in capsys.readouterr().out
    (tmp_path / "no").write_bytes(b"hello")
    assert cli.main(["replay", str(tmp_path / "no"), "--cache-dir", str(tmp_path)]) == 2
    assert "byte 0: found b'hello'" in capsys.readouterr().err
    assert cli.main(["replay", str(path), "--strategy", "none", "--cache-dir", str(tmp_path)]) == 2
    assert "strategy.name: found 'none'" in capsys.readouterr().err


# ---------------------------------------------------------------------------------- the live path


def fed(hand: Callable[..., Hand], messages: list[bytes], **options: Any) -> Hand:
    h = hand(symbols=(b"AAPL", b"MSFT"), feed_format="itch", orders=100_000, levels=512, start=1, **options)
    for i, m in enumerate(messages, 1):
        h.engine.handle_datagram(mold(i, m))
    return h


def test_the_engines_rows_are_the_models_books(hand: Callable[..., Hand]) -> None:
    h = fed(hand, DAY[:8000])
    expected = model(DAY[:8000])
    rows = {
        s.name: (s.bid // 10**4, s.ask // 10**4, s.bid_size // 10**8, s.ask_size // 10**8) for s in h.reading.symbols
    }
    assert rows == {s: expected[s] for s in ("AAPL", "MSFT")}
    c = h.counters
    assert c["itch"] == 8000 and c["other_symbol"] > 0 and "books_stale" not in c


def test_events_carry_the_exchanges_time_and_the_trade(hand: Callable[..., Hand]) -> None:
    h = fed(hand, DAY[:8000])
    by_sequence = dict(enumerate(DAY, 1))
    for event in h.events:
        m = itch.decode(by_sequence[event.sequence])
        assert event.exchange_ns == m["timestamp"]
        if event.kind & 2:
            assert event.exchange_id == m["match_number"]
            assert event.size == 10**8 * (m.get("executed_shares") or m.get("shares") or m.get("cross_shares"))
            if m["type"] in "CP":
                assert event.price == m.get("execution_price", m.get("price")) * 10**4
    assert {event.kind for event in h.events} == {1, 2, 3, 4, 6}


def test_a_lost_message_makes_every_book_stale_until_the_next_session(hand: Callable[..., Hand]) -> None:
    h = fed(hand, DAY[:3000])
    h.orders = [order()]
    with h.connect():
        h.engine.handle_datagram(mold(3005, *DAY[3004:3010]))
        c = h.counters
        assert c["lost"] == 4 and c["books_stale"] == 2
        assert [(s.stale, s.bid, s.ask) for s in h.reading.symbols] == [(1, 0, 0)] * 2
        calls = h.calls
        for i in range(3011, 3500):
            h.engine.handle_datagram(mold(i, DAY[i - 1]))
        later = h.events[calls:]
        assert later == [] and "orders_sent" not in h.counters
        h.engine.handle_datagram(mold(3500, count=0xFFFF))
        for i, m in enumerate(DAY[:3000], 1):
            h.engine.handle_datagram(mold(i, m, session=b"SESSION002"))
        assert [s.stale for s in h.reading.symbols] == [0, 0]
        assert h.counters["orders_sent"] > 0


def test_too_many_orders_make_one_book_stale(hand: Callable[..., Hand]) -> None:
    h = hand(symbols=(b"AAPL", b"MSFT"), feed_format="itch", orders=20, levels=512, start=1)
    for i, m in enumerate(DAY[:3000], 1):
        h.engine.handle_datagram(mold(i, m))
    assert 2 in [s.stale for s in h.reading.symbols]


# ---------------------------------------------------------------------------------- progress


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_replay_says_how_far_it_is_to_a_terminal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    import os
    import sys

    from agent.replay import progress

    path = tmp_path / "day"
    path.write_bytes(generator.binaryfile(DAY) * 5)
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)
    monkeypatch.setattr(replay, "CHUNK", 1 << 18)
    near, far = os.openpty() if terminal else os.pipe()
    with os.fdopen(far, "w") as stream:
        monkeypatch.setattr(sys, "__stderr__", stream)
        with progress.show_progress() as show:
            replay.replay(path, replay.Settings(strategy="every_tick_cython"), progress=show)
    text = ""
    with contextlib.suppress(OSError):  # a terminal whose other end is closed
        while data := os.read(near, 65536):
            text += data.decode()
    os.close(near)
    if terminal:
        assert "of the file read" in text and text.startswith("\r\x1b[K") and text.endswith("\r\x1b[K")
        assert "100% of the file read" in text and text.count("\n") == 0
    else:
        assert text == ""
