"""Records that no engine wrote, in a ring that an engine has left or in the file: the start is refused in one line, and
the file is as it was. And what an exchange says that no record can hold."""

import json
import os
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.config import Journal
from agent.engine.errors import RunError
from agent.engine.journal_writer import open_journal
from agent.engine.run import restore_state
from agent.journal import _record, layout, record, show
from agent.journal import file as journal
from agent.journal.errors import JournalError
from agent.journal.rebuild import OpenOrder, State
from agent.shm import _ring
from agent.shm.ring import Ring
from hosttune.report import formats
from tests.cpu_time import is_within

from ..conftest import Hand
from ..measured import BYTES, SECONDS, run_measured
from ..ouch_answers import accepted, canceled, executed, replaced
from ..shm import hostile
from ..shm.ring_memory import HEAD, TAIL, patch

ENTERED: dict[str, int] = {
    "number": 2, "time_ns": 10**18, "exchange_sequence": 0, "price": 1_000_000, "tag": 0, "kind": record.ENTERED,
    "id": 2, "original": 0, "quantity": 5, "side": 1, "symbol": 0,
}  # fmt: skip
EXECUTED = ENTERED | {"kind": record.EXECUTED, "exchange_sequence": 3}
QUERIED = ENTERED | {"kind": record.QUERIED, "id": 0, "quantity": 0, "side": 0}

#: By what is wrong: the record, and what is said of it.
FORGED: dict[str, tuple[dict[str, int], str]] = {
    "1,000 ahead": (ENTERED | {"number": 1002}, r"record 1002 follows record 1: records are missing"),
    "the largest number": (ENTERED | {"number": 2**64 - 1}, r"record \d+ follows record 1: records are missing"),
    "a symbol beyond the last": (EXECUTED | {"symbol": 1}, r"record 2: symbol: found 1, allowed: below 1, "),
    "a symbol far beyond": (
        EXECUTED | {"symbol": 2**32 - 1},
        r"record 2: symbol: found 4294967295, allowed: below 1, ",
    ),
    "a symbol of no order": (QUERIED | {"symbol": 2**31}, r"record 2: symbol: found 2147483648, allowed: "),
    "no side": (EXECUTED | {"side": 0}, r"record 2: side: found 0, allowed: 1 \(buy\) or -1 \(sell\)"),
    "the side 2": (EXECUTED | {"side": 2}, r"record 2: side: found 2, allowed: "),
    "the smallest side": (ENTERED | {"side": -(2**31)}, r"record 2: side: found -2147483648, allowed: "),
    "a side of no order": (QUERIED | {"side": 1}, r"record 2: side: found 1, allowed: "),
    "no kind": (ENTERED | {"kind": 0}, r"record 2: kind: found 0, allowed: 1 to 16"),
    "the kind 17": (ENTERED | {"kind": 17}, r"record 2: kind: found 17, allowed: 1 to 16"),
    "a contradiction of no kind": (
        ENTERED | {"kind": record.CONTRADICTED, "original": 12},
        r"record 2: original: found 12, allowed: the number of another order of a Replace, at most 11 ",
    ),
    "a contradiction on no side": (
        ENTERED | {"kind": record.CONTRADICTED, "side": 2},
        r"record 2: side: found 2, allowed: 1 ",
    ),
    "a million units": (EXECUTED | {"quantity": 1_000_000}, r"record 2: quantity: found 1000000, allowed: 1 to 999999"),
    "no units": (EXECUTED | {"quantity": 0}, r"record 2: quantity: found 0, allowed: "),
    "units of no order": (QUERIED | {"quantity": 1}, r"record 2: quantity: found 1, allowed: "),
    "an order without a number": (ENTERED | {"id": 0}, r"record 2: id: found 0, allowed: a number from 1"),
    "an order that replaces itself": (
        ENTERED | {"kind": record.REPLACED, "original": 2},
        r"record 2: original: found 2",
    ),
    "a Replace of nothing": (ENTERED | {"kind": record.REPLACING}, r"record 2: original: found 0, allowed: "),
    "an Enter Order that replaces": (ENTERED | {"original": 1}, r"record 2: original: found 1, allowed: "),
    "a query of an order": (QUERIED | {"original": 7}, r"record 2: original: found 7, allowed: "),
    "a session of 16 characters": (
        QUERIED | {"kind": record.SESSION, "price": 2**40},
        r"record 2: price: found 1099511",
    ),
    "zeros": (dict.fromkeys(ENTERED, 0) | {"number": 2}, r"record 2: kind: found 0"),
}


def opened(directory: Path) -> Any:
    return open_journal(Journal(directory=str(directory)), "main", directory / "main.segment", ["AAPL"])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """An agent's directory whose journal has one record."""
    with opened(tmp_path) as (ring, _):
        assert ring.push(_record.pack(ENTERED | {"number": 1, "id": 1}))
    return tmp_path


def refuse(own: Path, message: str) -> None:
    file, ring = own / "main.journal", own / "main.journal-ring"
    before = file.read_bytes(), ring.read_bytes()[_ring.HEADER_SIZE :] if ring.is_file() else b""
    for _ in range(2):
        begun = time.monotonic()
        with pytest.raises(RunError) as caught, opened(own):
            raise AssertionError("the engine must not run")
        text = str(caught.value)
        assert time.monotonic() - begun < 1.0 and "\n" not in text
        assert re.search(rf"^journal: {ring}: (.*: )?{message}", text) and "move it away" in text
        assert (file.read_bytes(), ring.read_bytes()[_ring.HEADER_SIZE :] if ring.is_file() else b"") == before


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_record_in_the_ring_is_not_appended(own: Path, what: str) -> None:
    forged, message = FORGED[what]
    with Ring.create(own / "main.journal-ring", 1 << 12, record=record.SIZE) as ring:
        assert ring.push(_record.pack(forged))
    refuse(own, message)
    (own / "main.journal-ring").unlink()
    with opened(own) as (_, state):
        assert state.records == 1 and state.positions == {}


def test_what_is_before_a_forged_record_is_kept(own: Path) -> None:
    with Ring.create(own / "main.journal-ring", 1 << 12, record=record.SIZE) as ring:
        for fields in (ENTERED | {"number": 1, "id": 1}, ENTERED, EXECUTED | {"number": 3}, EXECUTED | {"number": 5}):
            assert ring.push(_record.pack(fields))
    size = (own / "main.journal").stat().st_size
    with pytest.raises(RunError, match=r"record 5 follows record 3: records are missing; "), opened(own):
        raise AssertionError("the engine must not run")
    assert (own / "main.journal").stat().st_size == size + 2 * record.SIZE  # record 1 was there already
    assert journal.load(own / "main.journal")[1].positions == {0: 5}
    refuse(own, r"record 5 follows record 3: records are missing; ")


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_record_in_the_file_is_not_rebuilt(own: Path, what: str) -> None:
    forged, message = FORGED[what]
    path = own / "main.journal"
    path.write_bytes(path.read_bytes() + _record.pack(forged))
    data = path.read_bytes()
    with pytest.raises(JournalError, match=rf"^{path}: {message}"), opened(own):
        raise AssertionError("the engine must not run")
    for call in (journal.load, show.as_text, show.as_data):
        with pytest.raises(JournalError, match=rf"^{path}: {message}"):
            call(path)
    assert path.read_bytes() == data and not (own / "main.journal-ring").exists()


INDICES = [(TAIL, 2**63), (HEAD, 2**63), (TAIL, 7), (TAIL, 1 << 20), (HEAD, 64), (TAIL, 2**64 - 64)]


@pytest.mark.parametrize(("offset", "value"), INDICES)
def test_a_ring_whose_indices_cannot_be_is_refused(own: Path, offset: int, value: int) -> None:
    Ring.create(own / "main.journal-ring", 1 << 12, record=record.SIZE).close()
    patch(own / "main.journal-ring", offset, value)
    refuse(own, r"damaged: tail \d+, head \d+, capacity 4096")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"x" * 8192, r"not a ring \(no HTRING at its start\)"),
        (b"x" * 100, r"100 bytes: not a ring"),
        (b"HTRING\0\0" + bytes(8192), r"ring of version 0, this agent reads version 2"),
    ],
)
def test_a_damaged_ring_is_kept_and_what_to_do_is_said(own: Path, damage: bytes, message: str) -> None:
    (own / "main.journal-ring").write_bytes(damage)
    (own / "main.journal-ring").chmod(0o600)
    refuse(own, message)


def test_records_of_another_size_are_refused(own: Path) -> None:
    with Ring.create(own / "main.journal-ring", 1 << 12, record=32) as ring:
        assert ring.push(_record.pack(ENTERED)[:32])
    refuse(own, r"records of 32 bytes, allowed: 64")


@pytest.mark.parametrize("size", [0, 384, 384 + (1 << 16)])
def test_a_ring_that_nobody_had_begun_to_write_does_not_block_a_start(own: Path, size: int) -> None:
    """The engine was killed when it had made the file."""
    (own / "main.journal-ring").write_bytes(bytes(size))
    with opened(own) as (_, state):
        assert state.records == 1


@pytest.mark.parametrize("attack", [a for a in hostile.KINDS if os.geteuid() == 0 or a is not hostile.device],
                         ids=lambda attack: attack.__name__)  # fmt: skip
def test_what_is_no_file_of_ours_at_the_rings_name_is_refused(own: Path, attack: hostile.Attack) -> None:
    hostile.do(attack, own / "main.journal-ring")
    refuse(own, hostile.REFUSED)


@pytest.mark.parametrize("attack", hostile.attacks(), ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("there", ["nothing there before", "behind the real one"])
def test_a_journal_that_others_could_have_made_or_written_is_refused(
    tmp_path: Path, attack: hostile.Attack, there: str
) -> None:
    place = tmp_path / "way" / "state"
    place.mkdir(parents=True, mode=0o700)
    path = place / "main.journal"
    if there == "behind the real one":
        journal.create(path, ["AAPL"])
    hostile.do(attack, path)
    before = {p.name: p.read_bytes() for p in place.iterdir() if p.is_file()}
    for call in (lambda: journal.create(path, ["AAPL"]), lambda: journal.Appender(path), lambda: journal.load(path),
                 lambda: show.as_text(path)):  # fmt: skip
        if attack is hostile.strangers_directory and there == "behind the real one":
            # Root reads what belongs to the directory's owner.
            os.chown(path, 0, 0)
        begun = time.monotonic()
        with pytest.raises(JournalError) as caught:
            call()
        assert time.monotonic() - begun < 1.0 and "\n" not in str(caught.value)
        assert re.search(hostile.REFUSED, str(caught.value)) and str(place.parent) in str(caught.value)
    assert {p.name: p.read_bytes() for p in place.iterdir() if p.is_file()} == before


def test_a_journal_is_its_users_alone_and_its_directory_too(tmp_path: Path) -> None:
    path = tmp_path / "of" / "state" / "main.journal"
    before = os.umask(0)
    try:
        journal.create(path, ["AAPL"])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert path.parent.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("size", range(0, 80, 5))
def test_a_header_that_was_not_written_whole_is_written_again(tmp_path: Path, size: int) -> None:
    path, header = tmp_path / "main.journal", layout.pack_header(["AAPL", "MSFT"])
    path.write_bytes(header[:size])
    journal.create(path, ["AAPL", "MSFT"])
    assert path.read_bytes() == header


def head(symbols: int, size: int = 64, first: int = 1, state: int = 0) -> bytes:
    return b"HTJOURN2" + struct.pack("<IIQQ", symbols, size, first, state)


def place(name: str) -> bytes:
    return name.encode().ljust(24, b"\0")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"HTJOURN1" + struct.pack("<Q", 2) + b"AAPL    AAPL    ", "damaged: its symbols are not each a name"),
        (b"HTJOURN1" + struct.pack("<Q", 1) + b"\xc3\xa9      ", "damaged: its symbols are not each a name"),
        (b"HTJOURN1" + struct.pack("<Q", 1) + b"A\x1b[2J   ", "damaged: its symbols are not each a name"),
        (b"HTJOURN1" + struct.pack("<Q", 1) + bytes(8), "damaged: its symbols are not each a name"),
        (b"HTJOURN1" + struct.pack("<Q", 1) + b"   A    ", "damaged: its symbols are not each a name"),
        (b"HTJOURN1" + struct.pack("<Q", 0), "damaged: 0 symbols in 16 bytes"),
        (b"HTJOURN1" + struct.pack("<Q", 257) + b"A       " * 257, "damaged: 257 symbols in 2072 bytes"),
        (b"HTJOURN1" + struct.pack("<Q", 2**64 - 1), "damaged: 18446744073709551615 symbols in 16 bytes"),
        (head(2) + place("AAPL") * 2, "damaged: its symbols are not each a name"),
        (head(1) + place("\u00e9"), "damaged: its symbols are not each a name"),
        (head(1) + place("A\x1b[2J"), "damaged: its symbols are not each a name"),
        (head(1) + bytes(24), "damaged: its symbols are not each a name"),
        (head(1) + place("A B"), "damaged: its symbols are not each a name"),
        (head(1) + place("A" * 21), "damaged: its symbols are not each a name"),
        (head(1) + b"A\0B".ljust(24, b"\0"), "damaged: its symbols are not each a name"),
        (head(0), "damaged: 0 symbols in 32 bytes"),
        (head(257) + place("A") * 257, "damaged: 257 symbols in 6176 bytes"),
        (head(2**32 - 1), "damaged: 4294967295 symbols in 32 bytes"),
        (head(1, 63) + place("A"), "damaged: records of 63 bytes from number 1 on, behind 0 bytes of state"),
        (head(1, first=0) + place("A"), "damaged: records of 64 bytes from number 0 on, behind 0 bytes of state"),
        (head(1, first=2) + place("A"), "damaged: records of 64 bytes from number 2 on, behind 0 bytes of state"),
        (head(1, state=8) + place("A"), "damaged: records of 64 bytes from number 1 on, behind 8 bytes of state"),
        (head(1, first=2, state=1 << 40) + place("A"), "damaged: .*, behind 1099511627776 bytes of state"),
    ],
)
def test_a_header_that_no_engine_wrote_is_refused(tmp_path: Path, header: bytes, message: str) -> None:
    path = tmp_path / "main.journal"
    path.write_bytes(header)
    for call in (journal.load, lambda path: journal.create(path, ["AAPL"]), journal.Appender, show.as_text):
        with pytest.raises(JournalError, match=rf"^{path}: {message}$"):
            call(path)
    assert path.read_bytes() == header


def test_a_journal_of_more_than_16_gib_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "main.journal"
    journal.create(path, ["AAPL"])
    os.truncate(path, (16 << 30) + 1)
    begun = time.monotonic()
    for call in (journal.load, journal.Appender, show.as_text, lambda path: journal.create(path, ["AAPL"])):
        with pytest.raises(
            JournalError, match=rf"^{path}: found 17,179,869,185 bytes, allowed: at most 17,179,869,184; mo"
        ):
            call(path)
    assert time.monotonic() - begun < 1.0


@pytest.mark.parametrize("kind", [record.ENTERED, record.EXECUTED])
@pytest.mark.parametrize("form", formats.list_formats())
def test_a_journal_of_10_mb_is_printed_soon_and_in_little_memory(tmp_path: Path, kind: int, form: str) -> None:
    path = tmp_path / "main.journal"
    fields = ENTERED | {"kind": kind}
    count = 10_000_000 // record.SIZE
    rows = (_record.pack(fields | {"number": number, "id": number}) for number in range(1, count + 1))
    path.write_bytes(layout.pack_header(["AAPL"]) + b"".join(rows))
    done, seconds, peak = run_measured(["journal", str(path), "--format", form])
    assert done.returncode == 0 and f"{count:,} records" in done.stdout if form == "text" else json.loads(done.stdout)
    assert is_within(seconds, SECONDS) and peak < BYTES, (seconds, peak)


def test_a_session_that_would_give_a_terminal_an_order_is_shown_escaped(own: Path) -> None:
    session = {"kind": record.SESSION, "tag": int.from_bytes(b"\x1b[2J\n\r\x9b\xff", "little"), "price": 0x0A0A}
    path = own / "main.journal"
    path.write_bytes(path.read_bytes() + _record.pack(QUERIED | session))
    text = show.as_text(path)
    assert "logged in, session \\u001b[2J\\u000a\\u000d" in text and text.count("\n") == 4
    assert all(line.isprintable() for line in text.split("\n"))


def executions(count: int) -> list[dict[str, int]]:
    """An order that the exchange accepts again and again, with as much as can be, and executes all but one of."""
    found: list[dict[str, int]] = []
    for _ in range(count):
        found.append(ENTERED | {"kind": record.ACCEPTED, "quantity": 999_999})
        found.append(ENTERED | {"kind": record.EXECUTED, "quantity": 999_998})
    return [fields | {"number": number} for number, fields in enumerate(found, 1)]


def test_more_units_executed_than_an_engine_counts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "main.journal"
    path.write_bytes(layout.pack_header(["AAPL"]) + b"".join(map(_record.pack, executions(4295))))
    with pytest.raises(
        JournalError, match=r"record 8590: order 2: found 4294991410 units executed .*, allowed: at most"
    ):
        journal.load(path)


ORDER = OpenOrder(id=7, symbol=0, side=1, leaves=5, price=1_000_000, tag=0, original=0)


@pytest.mark.parametrize(
    ("orders", "positions"),
    [
        ([{"symbol": 1}], {}),
        ([{"side": 0}], {}),
        ([{"leaves": 0}], {}),
        ([{"leaves": 2**32}], {}),
        ([{"id": 0}], {}),
        ([{}, {"id": 7 + 65_536}], {}),
        ([], {1: 5}),
        ([], {2**31: 5}),
    ],
)
def test_an_engine_refuses_what_it_has_no_place_for(
    hand: Callable[..., Hand], orders: list[dict[str, int]], positions: dict[int, int]
) -> None:
    held = [msgspec.structs.replace(ORDER, **order) for order in orders]
    state = State(0, positions, {o.id: o for o in held}, b"S", 0, 0)
    with pytest.raises(RunError, match=r"^journal: (open order|position of symbol) \d+"):
        restore_state(hand().engine, state)


@pytest.mark.parametrize("quantity", [0, 1_000_000, 2**32 - 1])
def test_an_answer_with_an_impossible_quantity_is_malformed(hand: Callable[..., Hand], quantity: int) -> None:
    """Else the engine would write records that a restart refuses."""
    h = hand()
    h.orders = [(100.01, 5, 1, 0)]
    with h.connect() as peer:
        h.tick()
        answers = [accepted(1, quantity), replaced(1, 1, quantity), executed(1, quantity), canceled(1, quantity)]
        peer.sendall(b"".join(answers) + accepted(1) + executed(1, 2))
        h.settle(len(answers) + 2)
    c = h.counters
    assert (c["exchange_malformed"], c["accepted"], c["executed"], c["orders_open"]) == (len(answers), 1, 1, 1)
    assert h.reading.symbols[0].position == 2
