"""Recordings of Binance as people have them: long names, times in ms, µs and ns, quotes that are no book."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.protocols import _codecs
from agent.replay import run as replay
from agent.symbols import MAX_NAME

START_NS = 1_723_161_255_208_000_000
STRATEGY = "every_tick_cython"


def quote(symbol: str, id: int, bid: str = "0.0000123", ask: str = "0.0000124", size: str = "5", more: str = "") -> str:
    return f'{{"u":{id},"s":"{symbol}","b":"{bid}","B":"{size}","a":"{ask}","A":"{size}"{more}}}'


def run(tmp_path: Path, lines: list[tuple[int, str]], **options: Any) -> dict[str, Any]:
    path = tmp_path / "recording"
    path.write_text("".join(f"{at} {message}\n" for at, message in lines))
    return replay.run(path, STRATEGY, **options)


def numbered(names: list[str]) -> list[tuple[int, str]]:
    return [(START_NS + i, quote(name, i + 1)) for i, name in enumerate(names)]


def test_names_of_up_to_20_characters_are_their_own(tmp_path: Path) -> None:
    names = ["1000PEPEUSDT", "1000PEPEUSDC", "1000PEPE", "A", "X" * 20, "X" * 19, "X" * 16, "X" * 8, "X" * 9, "a_b.c-d"]
    data = run(tmp_path, numbered(names * 3))
    assert sorted(data["book"]) == sorted(names) and data["ok"] and data["orders_wanted"] == 3 * len(names)
    assert data["book"]["1000PEPEUSDT"] == {"bid": ["0.00001230", "5.00000000"], "ask": ["0.00001240", "5.00000000"]}
    some = run(tmp_path, numbered(names * 3), symbols=("1000PEPEUSDT", "X" * 20))
    assert set(some["book"]) == {"1000PEPEUSDT", "X" * 20} and some["orders_wanted"] == 6


def test_a_name_that_is_too_long_is_said(tmp_path: Path) -> None:
    data = run(tmp_path, numbered(["BTCUSDT", "X" * 21, "BTCUSDT"]))
    assert not data["ok"] and data["skipped_reasons"] == {"symbol": 1} and set(data["book"]) == {"BTCUSDT"}
    assert any(problem["kind"] == "malformed_symbol" and problem["first"]["line"] == 2 for problem in data["problems"])


def test_the_longest_name_is_the_same_everywhere() -> None:
    for form in ("binance", "csv"):
        for size in range(1, 30):
            name = "N" * size
            message = quote(name, 1) if form == "binance" else f"{START_NS},{name},1,1,2,1"
            kind = _codecs.tick_parse(form, message.encode())[0]
            assert (kind == "symbol") == (size > MAX_NAME)


@pytest.mark.parametrize(("unit", "scale"), [("ms", 10**6), ("us", 10**3), ("ns", 1)])
@pytest.mark.parametrize("asked", [False, True])
def test_a_unit_is_told_or_asked_for(unit: str, scale: int, asked: bool, tmp_path: Path) -> None:
    def report(scale: int, **options: Any) -> dict[str, Any]:
        lines = [((START_NS + i * 10**6) // scale, quote("BTCUSDT", i + 1)) for i in range(50)]
        found = run(tmp_path, lines, **options)
        return {key: found[key] for key in ("book", "orders", "events", "rejects", "notes", "ok", "time_unit")}

    assert report(scale, **({"time_unit": unit} if asked else {})) == report(1) | {"time_unit": unit}


def test_a_recording_that_mixes_units_is_told(tmp_path: Path) -> None:
    lines = [(START_NS, quote("A", 1)), (START_NS // 1000, quote("A", 2)), (START_NS // 1000, quote("A", 3)),
             (START_NS // 10**6, quote("A", 4)), (5, quote("B", 5))]  # fmt: skip
    data = run(tmp_path, lines)
    assert data["notes"] == [
        "2 times in another unit than the one before, or than --time-unit says",
        "1 times outside the years 2001 to 2099 in ms, us and ns: taken as they are",
    ]
    assert run(tmp_path, lines[:1] * 1, time_unit="ms")["notes"][0].startswith("1 times in another unit")


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (quote("BTCUSDT", 11, bid="0.0000125"), "crossed"),
        (quote("BTCUSDT", 11, size="0"), "zero_size"),
        (quote("BTCUSDT", 11, size="0.00000000"), "zero_size"),
        (quote("BTCUSDT", 11, bid="0.00000000"), "zero_price"),
        (quote("BTCUSDT", 10), "repeated"),
        (quote("BTCUSDT", 9, bid="0.0000001"), "backward"),
        (quote("BTCUSDT", 11, bid="0.0000001", more=',"e":"bookTicker","E":1723161250000,"T":1723161250000'),
         "time_backward"),
    ],
)  # fmt: skip
def test_a_quote_that_is_no_book_is_told_with_its_place(
    second: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    time = ',"e":"bookTicker","E":1723161255208,"T":1723161255207'
    first = quote("BTCUSDT", 10, more=time)
    path = tmp_path / "recording"
    path.write_text(f"{START_NS} {first}\n{START_NS + 1} {second}\n")
    assert cli.main(["replay", str(path), "--strategy", STRATEGY, "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["refused"] == {reason: 1} and data["events"] == 1
    assert data["book"]["BTCUSDT"] == {"bid": ["0.00001230", "5.00000000"], "ask": ["0.00001240", "5.00000000"]}
    [problem] = data["problems"]
    assert (problem["kind"], problem["count"], problem["first"]["line"]) == (f"refused_{reason}", 1, 2)


def test_a_recording_whose_clock_steps_back(tmp_path: Path) -> None:
    lines = [(START_NS, quote("A", 1)), (START_NS - 5 * 10**9, quote("A", 2)), (START_NS + 1, quote("A", 3))]
    assert run(tmp_path, lines)["refused"] == {"time_backward": 1}
    lines[1] = (START_NS - 5 * 10**6, quote("A", 2))  # less than streams differ by
    assert run(tmp_path, lines)["refused"] == {}


def test_a_csv_of_milliseconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ticks.csv"
    rows = [f"{START_NS // 10**6 + i},1000PEPEUSDT,1,5,2,5" for i in (0, 1, 2, 2, 1)]
    path.write_text("timestamp_ns,symbol,bid,bid_size,ask,ask_size\n" + "\n".join(rows) + "\n")
    data = replay.run(path, STRATEGY)
    assert data["time_unit"] == "ms" and data["notes"] == [] and data["events"] == 3
    assert data["refused"] == {"repeated": 1, "time_backward": 1}
