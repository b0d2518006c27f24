"""The journal: what records add up to, and files that are torn, double, short of a record, or another's."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import cli
from agent.journal import _record, layout, record, show, writer
from agent.journal import file as journal
from agent.journal.errors import JournalError
from agent.journal.rebuild import Decision, OpenOrder, State, Sum, Today, rebuild
from agent.journal.record import LimitRecord, Record
from agent.shm.ring import Ring

BUY, SELL = 1, -1
#: Kinds of records that are about no order.
OF_NO_ORDER = {record.SESSION, record.QUERIED, record.CAUGHT_UP, record.OVER, record.LIMIT_SET, record.LIMIT_RESET}


def entry(number: int, kind: int, id: int = 0, quantity: int = 0, side: int = BUY, **more: Any) -> Record:
    given = {"time_ns": 10**18, "exchange_sequence": 0, "price": 1_000_100, "tag": 0, "original": 0, "symbol": 0} | more
    # A record of no order has no side.
    side = 0 if kind in OF_NO_ORDER else side
    return Record(number=number, kind=kind, id=id, quantity=quantity, side=side, **given)


def packed(*records: Record | LimitRecord) -> bytes:
    fields = map(msgspec.structs.asdict, records)
    return b"".join(_record.pack(row | {"name": row["name"].encode()} if "name" in row else row) for row in fields)


LIFE = [
    entry(1, record.SESSION, tag=struct.unpack("<Q", b"S0000000")[0], price=struct.unpack("<H", b"01")[0]),
    entry(2, record.QUERIED),
    entry(3, record.CAUGHT_UP, id=1, exchange_sequence=1),
    entry(4, record.ENTERED, 1, 10),
    entry(5, record.ENTERED, 2, 7, SELL),
    entry(6, record.ACCEPTED, 1, 10, exchange_sequence=2),
    entry(7, record.EXECUTED, 1, 4, exchange_sequence=3),
    entry(8, record.REPLACING, 3, 6, original=1),
    entry(9, record.ACCEPTED, 2, 7, SELL, exchange_sequence=4),
    entry(10, record.REPLACED, 3, 6, exchange_sequence=5),
    entry(11, record.EXECUTED, 2, 7, SELL, exchange_sequence=6),
    entry(12, record.ENTERED, 4, 5),
    entry(13, record.REJECTED, 4, 5, exchange_sequence=7),
    entry(14, record.ENTERED, 5, 5),
    entry(15, record.NEVER_REACHED, 5, 5),
    entry(16, record.EXECUTED, 3, 1, exchange_sequence=8),
    entry(17, record.CANCELED, 3, 2, exchange_sequence=9),
]


def test_records_add_up() -> None:
    state = rebuild([packed(*LIFE)], 3)
    assert state.positions == {0: 4 - 7 + 1}
    assert (state.reference, state.session, state.sequence, state.over) == (5, b"S000000001", 9, False)
    (left,) = state.open_orders.values()
    assert (left.id, left.leaves, left.filled, left.original, left.accepted) == (3, 3, 5, 0, True)


def model(records: list[Record | LimitRecord]) -> State:
    """What rebuild() has to find, slow and obvious."""
    state = State(reference=0, positions={}, open_orders={}, session=b"", sequence=0, records=0)
    orders = state.open_orders
    done: dict[int, tuple[OpenOrder, bool]] = {}

    def close(id: int, unseen: bool = False) -> None:
        if id in orders:
            done.pop(id, None)
            done[id] = orders.pop(id), unseen

    def reduce(id: int, quantity: int) -> None:
        if id in orders:
            orders[id].side, orders[id].symbol = r.side, r.symbol
            orders[id].leaves -= quantity
            if orders[id].leaves <= 0:
                close(id)

    for r in records:
        state.records = r.number
        if isinstance(r, LimitRecord):
            state.limits.pop(r.name, None)
            if r.kind == record.LIMIT_SET:
                state.limits[r.name] = Decision(r.new, r.uid, r.login, r.time_ns)
            continue
        state.sequence = r.exchange_sequence or state.sequence
        if r.kind == record.SESSION:
            state.session = struct.pack("<QH", r.tag, r.price & 0xFFFF)
            state.sequence, state.over = r.exchange_sequence, False
            state.reference = state.reference if state.reference < 2**31 else 0
            done.clear()
        elif r.kind in (record.QUERIED, record.OVER):
            state.over = r.kind == record.OVER
        elif r.kind == record.CAUGHT_UP:
            state.reference = max(state.reference, (r.id - 1) % 2**32)
        elif r.kind == record.CONTRADICTED:
            state.contradicted = r.original
        elif r.kind in (record.ENTERED, record.REPLACING):
            state.reference = max(state.reference, r.id)
            orders[r.id] = OpenOrder(r.id, r.symbol, r.side, r.quantity, r.price, r.tag, r.original)
            if r.original in orders:
                orders[r.id].filled = orders[r.original].filled
        elif r.kind in (record.EXECUTED, record.BROKEN):
            sign, units = (1, r.quantity) if r.kind == record.EXECUTED else (-1, 0)
            state.positions[r.symbol] = state.positions.get(r.symbol, 0) + sign * r.side * r.quantity
            state.executions.append((r.id, r.tag, r.symbol, r.side, units, r.price))
            if r.kind == record.BROKEN:
                continue
            if r.id in orders:
                orders[r.id].filled += r.quantity
            elif r.id in done:
                done[r.id][0].filled += r.quantity
            reduce(r.id, r.quantity)
        elif r.kind == record.CANCELED:
            reduce(r.id, r.quantity)
        elif r.kind in (record.REJECTED, record.NEVER_REACHED, record.IGNORED):
            close(r.id, r.kind != record.REJECTED)
        elif r.kind in (record.ACCEPTED, record.REPLACED, record.MODIFIED):
            if r.id not in orders:
                known, unseen = done.get(r.id, (None, False))
                if r.kind == record.ACCEPTED and known and not known.accepted and not unseen and known.filled:
                    known.accepted = True  # executed whole before
                    continue
                done.pop(r.id, None)
                state.reference = max(state.reference, r.id)
                orders[r.id] = OpenOrder(r.id, r.symbol, r.side, 0, r.price, r.tag, r.original)
            order = orders[r.id]
            order.leaves = r.quantity
            if r.kind == record.REPLACED and (old := orders.get(r.original or order.original)) is not None:
                order.filled = old.filled
                close(old.id)
            if r.kind == record.ACCEPTED and not order.accepted:
                order.leaves -= order.filled
            worse = r.price > order.price if order.side == BUY else r.price < order.price
            worse = worse and r.kind != record.MODIFIED
            order.price = r.price if 0 < r.price <= 1_999_999_900 and worse else order.price
            order.side, order.symbol, order.original, order.accepted = r.side, r.symbol, 0, True
            if order.leaves <= 0:
                close(r.id)
    state.done = [(o.id, o.symbol, o.side, o.price, o.filled, o.accepted, unseen) for o, unseen in done.values()]
    return state


def test_the_last_orders_that_are_done_are_known() -> None:
    """At least 4,096 of them, and not all that ever were; a snapshot in between changes nothing."""
    records = packed(*(entry(2 * id - 1 + late, kind=kind, id=id, quantity=1, side=BUY, price=100)
                       for id in range(1, 20_001)
                       for late, kind in enumerate((record.ENTERED, record.REJECTED))))  # fmt: skip
    total = Sum(3)
    total.add(records[: 64 * 25_000])
    again = Sum(3, total.save())
    again.add(records[64 * 25_000 :])
    state = rebuild([records], 3)
    assert again.state == state
    assert 4096 <= len(state.done) <= 8192
    assert [row[0] for row in state.done] == list(range(20_001 - len(state.done), 20_001))


def allowed(kind: int, id: int, original: int) -> bool:
    if kind == record.REPLACING:
        return original not in (0, id)
    return original == 0 if kind == record.ENTERED else original != id


ORDERS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(sorted(set(record.KINDS) - OF_NO_ORDER - {record.CONTRADICTED})),
        "id": st.integers(1, 9),
        "quantity": st.integers(1, 9) | st.just(999_999),
        "side": st.sampled_from((BUY, SELL)),
        "original": st.integers(0, 9),
        "symbol": st.integers(0, 2),
        "price": st.integers(0, 2**64 - 1),
        "tag": st.integers(0, 2**64 - 1),
        "exchange_sequence": st.integers(0, 3) | st.just(2**64 - 1),
    }
).filter(lambda row: allowed(row["kind"], row["id"], row["original"]))
OTHERS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from((record.SESSION, record.QUERIED, record.CAUGHT_UP, record.OVER)),
        "id": st.integers(0, 9),
        "price": st.integers(0, 2**16 - 1),
        "tag": st.integers(0, 2**64 - 1),
        "exchange_sequence": st.integers(0, 3) | st.just(2**64 - 1),
    }
)


WORDS = st.integers(0, 2**64 - 1)
DECISIONS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from((record.LIMIT_SET, record.LIMIT_RESET)),
        "name": st.sampled_from(("kill", "max_size", "a2345678901234567890")),
        "old": WORDS,
        "new": WORDS,
        "uid": st.integers(0, 2**32 - 1),
        "login": st.integers(0, 2**32 - 1),
        "time_ns": st.integers(0, 2**63 - 1),
    }
)
#: What the exchange said that cannot be, with whatever it said.
CONTRADICTIONS = st.fixed_dictionaries(
    {
        "kind": st.just(record.CONTRADICTED),
        "id": st.integers(0, 2**32 - 1),
        "quantity": st.integers(0, 2**32 - 1),
        "side": st.integers(-1, 1),
        "original": st.integers(0, 11),
        "symbol": st.integers(0, 2),
        "price": st.integers(0, 2**64 - 1),
        "tag": st.integers(0, 2**64 - 1),
        "exchange_sequence": st.integers(0, 3),
    }
)


def number(rows: list[dict[str, Any]]) -> list[Record | LimitRecord]:
    """The records of these fields, one after the other."""
    return [LimitRecord(number=n, **row) if "old" in row else entry(n, **row) for n, row in enumerate(rows, 1)]


@given(st.lists(ORDERS | OTHERS | DECISIONS | CONTRADICTIONS, max_size=40), st.integers(1, 40))
def test_whatever_comes_adds_up_as_in_the_model(rows: list[dict[str, Any]], piece: int) -> None:
    records = number(rows)
    pieces = [packed(*records[at : at + piece]) for at in range(0, len(records), piece)]
    # What they earned has a model of its own: engine/test_losses.py.
    assert msgspec.structs.replace(rebuild(pieces, 3), today=Today()) == model(records)


@pytest.mark.parametrize("count", range(len(LIFE) + 1))
def test_every_prefix_is_a_state(count: int) -> None:
    """A kill may come behind any record."""
    state = rebuild([packed(*LIFE[:count])], 3)
    assert state.records == count
    entered = {r.id for r in LIFE[:count] if r.kind in (record.ENTERED, record.REPLACING)}
    assert set(state.open_orders) <= entered
    assert state.reference == max(entered, default=0)


def test_records_that_come_twice_count_once_and_a_hole_is_an_error() -> None:
    assert rebuild([packed(*LIFE[:9], *LIFE[5:])], 3) == rebuild([packed(*LIFE)], 3)
    assert list(record.decode([packed(*LIFE[:9], *LIFE[5:])])) == LIFE
    with pytest.raises(JournalError, match="record 11 follows record 9: records are missing"):
        rebuild([packed(*LIFE[:9], *LIFE[10:])], 3)


def read(path: Path) -> tuple[list[str], list[Record | LimitRecord]]:
    with journal.Journal(path) as found:
        return found.symbols, list(record.decode(found.read()))


def test_a_torn_last_record_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(layout.pack_header(["A", "B"]) + packed(*LIFE) + b"torn")
    assert read(path) == (["A", "B"], LIFE)
    journal.create(path, ["A", "B"])
    assert path.read_bytes() == layout.pack_header(["A", "B"]) + packed(*LIFE)


def test_symbols_may_be_added_behind_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(layout.pack_header(["A", "B"]) + packed(*LIFE))
    for wrong in (["A"], ["B", "A"], ["C", "A", "B"]):
        if wrong == ["A"]:
            with pytest.raises(JournalError, match="is for the symbols A, B; allowed: these first"):
                journal.create(path, wrong)
        else:
            with pytest.raises(JournalError, match="allowed: these first, in this order"):
                journal.create(path, wrong)
    journal.create(path, ["A", "B", "C"])
    assert read(path) == (["A", "B", "C"], LIFE)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "not an agent's journal"), (b"x" * 100, "not an agent's journal"),
     (b"HTJOURN1" + b"\xff" * 8, "damaged"), (b"HTJOURN2" + b"\xff" * 24, "damaged"),
     (layout.pack_header(["A"] * 3)[:-1], "damaged")],
)  # fmt: skip
def test_what_is_no_journal_is_named(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(JournalError, match=text):
        read(tmp_path / "j")
    with pytest.raises(JournalError, match="No such file"):
        read(tmp_path / "none")


def test_an_order_of_no_symbol_is_named(tmp_path: Path) -> None:
    """A damaged file: the engine would write its position behind its symbols' rows."""
    path = tmp_path / "j"
    path.write_bytes(layout.pack_header(["A", "B"]) + packed(*LIFE[:3], entry(4, record.EXECUTED, 1, 10, symbol=2)))
    for call in (journal.load, show.as_text, show.as_data):
        with pytest.raises(JournalError, match=r"/j: record 4: symbol: found 2, allowed: below 2, "):
            call(path)


@given(st.binary(max_size=400))
def test_any_bytes_are_records_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.journal"
    path.write_bytes(layout.pack_header(["A"]) + data)
    for call in (show.as_text, show.as_data):
        try:
            assert call(path)
        except JournalError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


def test_fields_go_by_name() -> None:
    """The layout is C's alone: what Python names is what C has, in 64 bytes, and each field holds what it is given."""
    numbered = {name: number for number, name in enumerate(Record.__struct_fields__, 1)}
    data = _record.pack(numbered)
    assert len(data) == record.SIZE == 64 and _record.unpack(data, 0) == numbered
    assert set(record.KINDS) == {value for name, value in vars(_record).items() if name.isupper() and name != "SIZE"}
    with pytest.raises(ValueError, match="symbol"):
        _record.pack({name: 0 for name in numbered if name != "symbol"})
    with pytest.raises(IndexError, match="record 1 of 1"):
        _record.unpack(data, 1)


def test_who_made_a_decision() -> None:
    nobody = 2**32 - 1
    assert record.name_user(nobody, nobody) == "nobody known"
    assert record.name_user(nobody, nobody - 1) == "the engine"
    assert record.name_user(0, nobody) == record.name_user(0, 0) == "root (uid 0)"
    assert record.name_user(0, 4_000_000) == "root (uid 0), logged in as uid 4000000"


def test_decisions_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, at = tmp_path / "main.journal", 10**18
    rows = [
        LimitRecord(1, at, record.LIMIT_SET, "collar_ppm", 50_000, 20_000, 0, 2**32 - 1),
        LimitRecord(2, at, record.LIMIT_SET, "kill", 0, 1, 2**32 - 1, 2**32 - 2),
        LimitRecord(3, at, record.LIMIT_SET, "rate_burst_ns", 0, 5_000, 0, 4_000_000),
        LimitRecord(4, at, record.LIMIT_RESET, "kill", 1, 0, 0, 0),
    ]
    path.write_bytes(layout.pack_header(["AAPL"]) + packed(*rows))
    assert cli.main(["journal", str(path)]) == 0
    when = "2001-09-09 01:46:40.000000000Z"
    assert capsys.readouterr().out.splitlines() == [
        f"{when}  limit set collar: 0.05 -> 0.02, by root (uid 0)",
        f"{when}  limit set kill: 0 -> 1, by the engine",
        f"{when}  limit set rate_burst_ns: 0 -> 5,000, by root (uid 0), logged in as uid 4000000",
        f"{when}  limit reset kill: 1 -> 0, as agent.toml says, by root (uid 0)",
        "4 records; the last order was 0",
        f"limit collar is 0.02, set by root (uid 0) at {when}",
        f"limit rate_burst_ns is 5,000, set by root (uid 0), logged in as uid 4000000 at {when}",
    ]
    assert cli.main(["journal", str(path), "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["records"][0] == {"number": 1, "time_ns": at, "kind": "limit set", "name": "collar_ppm", "old": 50_000,
                                  "new": 20_000, "uid": 0, "login": 2**32 - 1}  # fmt: skip
    assert sorted(data["limits"]) == ["collar_ppm", "rate_burst_ns"]


@pytest.mark.parametrize("name", [b"", b"\x1b[2J", b"Max", b"a b", b"a\0b", b"1a", b"_a", b"a" * 19 + b"\xff"])
def test_a_decision_about_no_limit_is_named(name: bytes) -> None:
    fields = {
        "number": 1,
        "time_ns": 0,
        "kind": record.LIMIT_SET,
        "name": name,
        "old": 0,
        "new": 0,
        "uid": 0,
        "login": 0,
    }
    with pytest.raises(JournalError, match=r"record 1: name: found b.* allowed: a limit's: a-z, 0-9 and _, at most 20"):
        rebuild([_record.pack(fields)], 1)


def write(ring: Path, file: Path, *before: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*before, sys.executable, "-P", "-m", "agent.journal.writer", ring, file, str(os.getpid())],
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip


def test_the_writer_says_in_one_line_why_it_ends(tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"x" * 4096)
    header = layout.pack_header(["AAPL"])
    (tmp_path / "j").write_bytes(header)
    with Ring.create(tmp_path / "ring", 1 << 16, record=record.SIZE) as ring:
        assert ring.push(packed(LIFE[0]))
        for ends, text in (
            (write(tmp_path / "none", tmp_path / "j"), "No such file or directory"),
            (write(tmp_path / "garbage", tmp_path / "j"), "not a ring (no HTRING at its start)"),
            (write(tmp_path / "ring", tmp_path / "none" / "j"), "No such file or directory"),
            (write(tmp_path / "ring", tmp_path / "garbage"), "not an agent's journal (no HTJOURN2 at its start)"),
            (write(tmp_path / "ring", Path("/dev/full")), "found a character device, allowed: a regular file"),
            (write(tmp_path / "ring", tmp_path / "j", "prlimit", f"--fsize={len(header)}"), "File too large"),
        ):
            assert ends.returncode == 1 and ends.stderr.startswith("agent: journal ") and text in ends.stderr
            assert ends.stderr.count("\n") == 1
        assert ring.used
    assert (tmp_path / "j").read_bytes() == header


def test_a_full_disk_keeps_the_records_in_the_ring(tmp_path: Path) -> None:
    """/dev/full refuses every write."""
    with Ring.create(tmp_path / "ring", 1 << 16, record=record.SIZE) as ring:
        for r in LIFE:
            assert ring.push(packed(r))
        path = tmp_path / "j"
        journal.create(path, ["A", "B", "C"])
        with Ring.attach(tmp_path / "ring", "reader") as reader:
            with journal.Appender(path) as full, Path("/dev/full").open("wb", buffering=0) as device:
                os.dup2(device.fileno(), full.descriptor)
                with pytest.raises(OSError, match="No space left"):
                    writer.drain(reader, full)
            assert reader.used > 0
            with journal.Appender(path) as file:
                assert writer.drain(reader, file) == len(LIFE)
    assert read(path) == (["A", "B", "C"], LIFE)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "main.journal"
    path.write_bytes(layout.pack_header(["AAPL"]) + packed(*LIFE))
    assert cli.main(["journal", str(path)]) == 0
    text = capsys.readouterr().out
    assert "logged in, session S000000001" in text and "entered 1: buy 10 AAPL at 100.0100" in text
    assert "replacing 3 for 1: buy 6 AAPL" in text and "position AAPL: -2" in text and "open 3: buy 3 AAPL" in text
    assert cli.main(["journal", str(path), "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [r["kind"] for r in data["records"]][:4] == ["session", "queried", "caught up", "entered"]
    # What the writer had written and not taken off the ring when it was killed.
    path.write_bytes(path.read_bytes() + packed(*LIFE[-1:]))
    assert cli.main(["journal", str(path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == data
    assert cli.main(["journal", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
