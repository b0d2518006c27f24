"""What a replay says of a damaged recording: it ends with 0 only where a slow model finds nothing wrong, and it names
the first place of what is wrong."""

import contextlib
import ctypes
import gzip
import io
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import cli, strategy
from agent.exchange import feed, generator
from agent.protocols import itch_layouts as itch
from agent.protocols.recording import RecordingError
from agent.replay import run as replay

from ..conftest import ORDER, TABLE, order

NAME = "every_tick_cython"
DAY = generator.session(7, 1_200, ["AAPL", "MSFT"])
GENERATED = feed.generated(60, seed=4, symbols=("BTCUSDT", "ETHUSDT"))
TICKS = [GENERATED.text[a:b] for a, b in zip(GENERATED.offsets, GENERATED.offsets[1:], strict=False)]
BINANCE = [b"%d %s" % (1_700_000_000_000_000_000 + i, text) for i, text in enumerate(TICKS)]
HEADER = b"timestamp_ns,symbol,bid,bid_size,ask,ask_size"
CSV = [b"%d,AAPL,%d,100,%d,200" % (1_000_000 * i, 100 + i % 7, 110 + i % 7) for i in range(1, 60)]
#: Lines that are no message of either format of lines.
JUNK = (
    b"x",
    b"\x1b[2J",
    b"17",
    b"17 ",
    b"17 {",
    b'17 {"u":',
    b"9" * 30 + b" {}",
    b",,,,,",
    b"1,AAPL,1,1,2",
    b"\xff\xfe",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("problems") / "recording"


def kinds(data: dict[str, Any]) -> set[str]:
    return {problem["kind"] for problem in data["problems"]}


def find(data: dict[str, Any], kind: str) -> dict[str, Any]:
    problem: dict[str, Any]
    (problem,) = (problem for problem in data["problems"] if problem["kind"] == kind)
    return problem


def run_command(path: Path, *options: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        return cli.main(["replay", str(path), "--strategy", NAME, "--cache-dir", str(path.parent), *options])


# ---------------------------------------------------------------------------------- lines


@given(st.booleans(), st.dictionaries(st.integers(0, 50), st.sampled_from((*JUNK, "cut", "control")), max_size=4),
       st.randoms(use_true_random=False), st.booleans())  # fmt: skip
@settings(max_examples=150)
def test_damaged_lines(file: Path, csv: bool, damage: dict[int, Any], rng: random.Random, zipped: bool) -> None:
    lines = list(CSV if csv else BINANCE)
    damage = {i + (not csv): what for i, what in damage.items()}  # the format is told by the first line
    for i, what in damage.items():
        if what == "cut":
            lines[i] = lines[i][: rng.randrange(1, lines[i].rindex(b"," if csv else b"}"))]
        elif what == "control":
            at = rng.randrange(len(lines[i]))
            lines[i] = lines[i][:at] + b"\x01" + lines[i][at + 1 :]
        else:
            lines[i] = what
    content = b"\n".join([HEADER, *lines] if csv else lines) + b"\n"
    file.write_bytes(gzip.compress(content) if zipped else content)
    data = replay.run(file, NAME)
    assert data["ok"] == (not damage) == (run_command(file) == 0)
    assert sum(data["skipped_reasons"].values()) == data["skipped"] == len(damage)
    assert sum(data["messages"].values()) == len(lines) - len(damage)
    if damage:
        place = min((p["first"] for p in data["problems"]), key=lambda place: place["line"])
        first = min(damage)
        assert place["line"] == first + 1 + csv
        assert place["byte"] == content.index(b"\n".join(lines[first:]))
        assert place["size"] == len(lines[first])
        assert place["example"] == lines[first][:96].decode("utf-8", "backslashreplace")
        assert "first: line " in replay.as_text(data)
        assert replay.as_text(data).replace("\n", "").isprintable()


# ---------------------------------------------------------------------------------- ITCH


class Books:
    """Which books a day makes stale, with dictionaries: every order with its symbol and shares."""

    def __init__(self) -> None:
        self.names: dict[int, bytes] = {}
        self.orders: dict[int, tuple[int, int]] = {}
        self.stale: set[int] = set()
        self.unnamed = self.unknown = 0

    def use(self, m: bytes, missing: bool) -> None:
        letter, locate = m[:1], int.from_bytes(m[1:3], "big")
        stock = dict(zip(b"AFPQLIRHhYKJNO", (24, 24, 24, 19, 15, 28, *[11] * 8), strict=True)).get(m[0])
        if stock is not None:
            self.names.setdefault(locate, m[stock : stock + 8])
        if letter not in (b"A", b"F", b"E", b"C", b"X", b"D", b"U"):
            return
        if locate not in self.names:
            self.unnamed += 1
            return
        reference = int.from_bytes(m[11:19], "big")
        if letter in b"AF":
            self.add(reference, locate, int.from_bytes(m[20:24], "big"))
            return
        if reference not in self.orders:
            if locate in self.stale:
                return
            self.unknown += 1
            if not missing:
                self.stale.add(locate)
            return
        owner, left = self.orders[reference]
        taken = int.from_bytes(m[19:23], "big") if letter in b"ECX" else left
        if owner not in self.stale and taken > left:
            self.stale.add(owner)
        elif taken >= left:
            del self.orders[reference]
        else:
            self.orders[reference] = (owner, left - taken)
        if owner != locate:
            self.stale |= {owner, locate}
        elif letter == b"U" and owner not in self.stale:
            self.add(int.from_bytes(m[19:27], "big"), locate, int.from_bytes(m[27:31], "big"))

    def add(self, reference: int, locate: int, shares: int) -> None:
        if locate in self.stale:
            return
        if reference in self.orders or not shares:
            self.stale.add(locate)
        else:
            self.orders[reference] = (locate, shares)


@given(st.randoms(use_true_random=False), st.integers(0, 3), st.integers(0, 900), st.booleans())
@settings(max_examples=150)
def test_days_that_lack_messages_or_begin_late(
    file: Path, rng: random.Random, changes: int, begin: int, missing: bool
) -> None:
    day = DAY[begin if begin > 100 else 0 :]
    for _ in range(changes):
        i = rng.randrange(len(day))
        day = day[:i] + [day[i]] * rng.choice((0, 0, 2)) + day[i + 1 :]
    books = Books()
    for m in day:
        books.use(m, missing)
    file.write_bytes(generator.binaryfile(day))
    data = replay.run(file, NAME, missing=missing)
    stale = {books.names[locate].decode().rstrip() for locate in books.stale}
    assert set(data["stale"]) == stale and ("stale" in kinds(data)) == bool(stale)
    skipped = books.unnamed or (missing and books.unknown)
    assert data["ok"] == (not stale and not skipped)
    passed_over = sum(find(data, kind)["count"] for kind in ("incomplete", "unnamed") if kind in kinds(data))
    assert passed_over == books.unnamed + (books.unknown if missing else 0)
    if missing:
        assert ("incomplete" in kinds(data)) == bool(data["incomplete"])
        assert "--start-of-day" not in replay.as_text(data)
    elif books.unknown or books.unnamed:
        assert "--start-of-day missing" in replay.as_text(data)


def test_the_books_of_a_day_that_begins_late_are_named(file: Path) -> None:
    file.write_bytes(generator.binaryfile(DAY[600:]))
    assert run_command(file) == run_command(file, "--start-of-day", "missing") == 1
    data = replay.run(file, NAME, missing=True)
    assert data["stale"] == {} and set(data["incomplete"]) == {"AAPL", "MSFT"}
    assert kinds(data) == {"incomplete"} and data["orders"] > 0
    text = replay.as_text(data)
    for name, n in data["incomplete"].items():
        assert any(line.startswith(f"  {name} ") and f"INCOMPLETE: lacks the orders of {n:,} messages" in line
                   for line in text.splitlines())  # fmt: skip


def test_stocks_that_nothing_names_are_told_by_their_locate_codes(file: Path) -> None:
    deleted = [itch.encode("D", stock_locate=locate, order_reference_number=i) for i, locate in enumerate((8, 9, 9), 1)]
    file.write_bytes(generator.binaryfile(DAY + deleted))
    data = replay.run(file, NAME)
    problem = find(data, "unnamed")
    assert problem["locates"] == {8: 1, 9: 2} and problem["count"] == 3
    assert problem["first"]["record"] == len(DAY) + 1 and problem["first"]["example"] == deleted[0].hex()
    # Of the stocks that were asked for all have a name: those are others.
    assert replay.run(file, NAME, symbols=("AAPL", "MSFT"))["ok"]


def test_the_first_message_that_makes_a_book_stale_is_named(file: Path) -> None:
    at = next(i for i, m in enumerate(DAY) if m[:1] == b"A")
    file.write_bytes(generator.binaryfile([*DAY[: at + 1], DAY[at], *DAY[at + 1 :]]))
    problem = find(replay.run(file, NAME), "stale")
    assert problem["first"]["record"] == at + 2 and problem["count"] == 1
    assert problem["first"]["example"] == DAY[at].hex()
    assert problem["first"]["time_ns"] == int.from_bytes(DAY[at][5:11], "big")
    assert "hint" not in problem


# ---------------------------------------------------------------------------------- gzip


@pytest.mark.parametrize("content", [b"\n".join(BINANCE) + b"\n", generator.binaryfile(DAY)], ids=["lines", "records"])
def test_a_byte_of_a_gzip_file(file: Path, content: bytes) -> None:
    """Whatever byte is another one: what is replayed is what was recorded, or is said to be suspect."""
    rng = random.Random(3)
    members = [gzip.compress(content[:4000], mtime=0), gzip.compress(content[4000:], mtime=0)]
    whole = b"".join(members)
    good = replay.run(file, NAME) if file.write_bytes(whole) else {}
    assert good["ok"] and good["suspect"] is None
    for _ in range(150):
        damaged = bytearray(whole)
        at = rng.randrange(len(damaged))
        damaged[at] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            same = gzip.decompress(bytes(damaged)) == content
        except (OSError, EOFError, zlib.error):
            same = False
        try:
            data = replay.run(file, NAME)
        except RecordingError:
            assert not same
            continue
        assert data["ok"] == same
        if same:
            assert data["book"] == good["book"]
        elif data["suspect"]:
            begin, end = data["suspect"]
            assert begin == (4000 if at >= len(members[0]) else 0) and end > begin
            assert all(line.endswith("SUSPECT") for line in replay.as_text(data).splitlines() if " bid " in line)
        else:
            # Nothing of the second member was unzipped.
            assert at >= len(members[0]) and "damaged gzip" in data["skipped_bytes"]


def test_a_flipped_byte_in_a_price_ends_with_1(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = b"\n".join(BINANCE) + b"\n"
    stored = bytearray(gzip.compress(content, 0))
    stored[stored.index(b'"b":"6') + 5] ^= 7
    file.write_bytes(stored)
    assert run_command(file) == 1
    data = replay.run(file, NAME)
    assert data["suspect"] == (0, len(content)) and kinds(data) == {"suspect", "skipped bytes"}
    assert find(data, "skipped bytes")["first"]["byte_of_file"] <= len(stored)


@given(st.integers(0, 10_000))
@settings(max_examples=60)
def test_a_gzip_file_cut_anywhere_is_suspect(file: Path, cut: int) -> None:
    whole = gzip.compress(generator.binaryfile(DAY))
    file.write_bytes(whole[: 300 + cut % (len(whole) - 300)])
    data = replay.run(file, NAME)
    assert not data["ok"] and data["suspect"][0] == 0 and "truncated gzip" in data["skipped_bytes"]


# ---------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize("content", [HEADER + b"\n", HEADER + b"\n\n\n", b"\0\0", b'1 {"lastUpdateId":1}\n'],
                         ids=["header", "empty lines", "end of session", "snapshot"])  # fmt: skip
def test_a_file_without_a_message(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert run_command(file) == 1
    assert kinds(replay.run(file, NAME)) == {"no messages"}


@pytest.mark.parametrize("content", [b"\n".join(BINANCE), generator.binaryfile(DAY)], ids=["lines", "records"])
def test_symbols_that_the_recording_does_not_have(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    there = "BTCUSDT" if content[:1] == b"1" else "MSFT"
    assert run_command(file, "--symbols", f"NOSUCH,{there},NO") == run_command(file, "--symbols", "NOSUCH") == 1
    problem = find(replay.run(file, NAME, symbols=("NOSUCH", there, "NO")), "unseen")
    assert problem["symbols"] == ["NOSUCH", "NO"] and problem["count"] == 2
    assert run_command(file, "--symbols", there) == 0


def test_more_symbols_than_there_is_room_for(file: Path) -> None:
    file.write_bytes(HEADER + b"\n" + b"".join(b"%d,S%d,1,1,2,1\n" % (i, i) for i in range(16_390)))
    problem = find(replay.run(file, NAME), "no_room")
    assert problem["count"] == 6 and problem["first"]["line"] == 16_386


# ---------------------------------------------------------------------------------- the strategy

_INIT = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)
_EVENT = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_TIMER = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
_FINI = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Returning:
    """Stands for a compiled strategy: writes one order, and returns a number, from an event on."""

    def __init__(self, wanted: bytes, count: int, begin: int = 0) -> None:
        self.events = 0

        def on_event(state: int, event: int, out: int) -> int:
            self.events += 1
            if self.events <= begin:
                return 0
            ctypes.memmove(out, wanted, ORDER.size)
            return count

        self._functions = (_INIT(lambda state, params: 0), _EVENT(on_event), _EVENT(lambda state, fill, out: 0),
                           _TIMER(lambda state, at, out: 0), _FINI(lambda state: None))  # fmt: skip
        addresses = [ctypes.cast(f, ctypes.c_void_p).value for f in self._functions]
        self._table = ctypes.create_string_buffer(TABLE.pack(3, TABLE.size, 0, 64, *addresses))
        self._state = ctypes.create_string_buffer(64)
        self.table, self.state = ctypes.addressof(self._table), ctypes.addressof(self._state)


@pytest.fixture
def replayed(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that replays the Binance lines through a Returning."""
    file.write_bytes(b"\n".join(BINANCE))

    def run(wanted: bytes, count: int, begin: int = 0) -> dict[str, Any]:
        monkeypatch.setattr(strategy, "prepare", lambda *given, **more: Returning(wanted, count, begin))
        data = replay.run(file, NAME)
        assert data["ok"] == (run_command(file) == 0)
        return data

    yield run


@pytest.mark.parametrize("returned", [-7, -1, -(2**31)])
def test_a_strategy_that_fails(replayed: Any, returned: int) -> None:
    data = replayed(order(), returned, 5)
    problem = find(data, "strategy_errors")
    assert kinds(data) == {"strategy_errors"} and data["orders_wanted"] == 0
    assert problem["count"] == len(BINANCE) - 5 and problem["returned"] == returned
    assert problem["first"]["line"] == 6 and problem["first"]["example"] == BINANCE[5][:96].decode()
    assert problem["first"]["time_ns"] == int(BINANCE[5].split()[0])
    assert f"({returned})" in replay.as_text(data)


@pytest.mark.parametrize("wanted", [order(size=0), order(size=-5), order(price=float("nan")), order(price=float("inf")),
                                    order(price=-1.0), order(side=0),
                                    order(side=7), order(symbol=9), order(action=3)])  # fmt: skip
def test_orders_that_are_none(replayed: Any, wanted: bytes) -> None:
    data = replayed(wanted, 1, 5)
    assert kinds(data) == {"bad_orders"} and data["orders"] == 0
    assert find(data, "bad_orders")["count"] == len(BINANCE) - 5 == sum(data["rejects"].values())
    assert find(data, "bad_orders")["first"]["line"] == 6


def test_more_orders_than_there_is_room_for(replayed: Any) -> None:
    data = replayed(order(), 9)
    assert kinds(data) == {"reject_count"} and find(data, "reject_count")["count"] == 9 * len(BINANCE)


@pytest.mark.parametrize("wanted", [order(size=10**6), order(price=200_000.0), order(price=0.0),
                                    order(price=1.00005), order(action=1, id=5),
                                    order(action=2, id=5, size=0)])  # fmt: skip
def test_what_a_limit_or_the_time_refuses_is_a_result(replayed: Any, wanted: bytes) -> None:
    data = replayed(wanted, 1, 5)
    assert data["ok"] and sum(data["rejects"].values()) == len(BINANCE) - 5
    (place,) = data["first_rejects"].values()
    assert place["line"] == 6


def test_good_orders_are_no_problem(replayed: Any) -> None:
    assert replayed(order(), 1)["ok"]


# ---------------------------------------------------------------------------------- the whole


def test_the_problems_of_a_file_that_is_nothing_but_errors(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [BINANCE[0].replace(b'"b":"', b'"b":"x').replace(b'"p":"', b'"p":"x')] * 30
    file.write_bytes(b"\n".join(lines))
    options = ["replay", str(file), "--strategy", NAME, "--cache-dir", str(file.parent)]
    assert cli.main(options) == 1
    text = capsys.readouterr().out
    assert "PROBLEM      30 malformed messages (number); first: line 1, byte 0" in text
    assert cli.main([*options, "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert {p["kind"] for p in data["problems"]} == {"malformed_number", "no messages"}


@pytest.mark.parametrize("symbols", [",", "", "AAPL,", "AAPL,,MSFT", "AAPL,AAPL"])
def test_symbols_that_are_no_names_or_come_twice_are_refused(
    file: Path, symbols: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(generator.binaryfile(DAY))
    assert run_command(file, "--symbols", symbols) == 2
    assert (
        f"--symbols: found {symbols!r}, allowed: names with commas between them, each once" in capsys.readouterr().err
    )


def test_a_message_that_changes_a_state_has_its_own_place(file: Path) -> None:
    at = next(i for i, m in enumerate(DAY) if m[:1] == b"A") + 20
    bad = itch.encode("H", stock_locate=int.from_bytes(DAY[at][1:3], "big"), stock="AAPL", trading_state="x")
    file.write_bytes(generator.binaryfile([*DAY[:at], bad, *DAY[at:]]))
    problem = find(replay.run(file, NAME), "malformed_field")
    assert (problem["first"]["record"], problem["first"]["example"]) == (at + 1, bad.hex())


def test_a_trade_that_is_refused_beside_a_quote_has_its_own_place(file: Path) -> None:
    lines = [line + b",," for line in CSV]
    lines[20] = CSV[20] + b",0,1"
    file.write_bytes(b"\n".join([HEADER + b",price,size", *lines]) + b"\n")
    data = replay.run(file, NAME)
    assert find(data, "refused_zero_trade")["first"]["line"] == 22 and data["orders_wanted"] == len(CSV)
    assert "1 trades refused (zero); first: line 22" in replay.as_text(data)


def test_times_of_several_units_are_said_in_the_text(file: Path) -> None:
    file.write_bytes(BINANCE[0].split()[0][:16] + b" " + TICKS[0] + b"\n" + b"\n".join(BINANCE[1:]))
    data = replay.run(file, NAME)
    assert data["ok"] and data["stamps"] and f"NOTE         {data['stamps'][0]}\n" in replay.as_text(data)
