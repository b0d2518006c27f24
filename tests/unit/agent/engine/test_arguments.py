"""Arguments that an engine and a replay check alike, before anything is allocated; and what a failure leaves behind."""

import ctypes
import os
from collections.abc import Callable
from typing import Any

import pytest

from agent.engine import _engine
from agent.replay import _replay
from agent.shm import _segment


def make_engine(**arguments: Any) -> object:
    given: dict[str, Any] = {"strategy": 1, "state": 1, "symbols": [b"AAPL"]} | arguments
    return _engine.Engine(bytearray(_segment.size(max(len(given["symbols"]), 1))), **given)


def make_replay(**arguments: Any) -> object:
    given: dict[str, Any] = {"strategy": 1, "state": 1, "symbols": [b"AAPL"]} | arguments
    return _replay.Replay(**given)


@pytest.mark.parametrize("make", [make_engine, make_replay])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": 0}, r"^strategy: NULL$"),
        ({"feed_format": "fix"}, r"^feed_format: 'fix', allowed: binance, itch, csv$"),
        ({"symbols": [b"AAPL", b""], "feed_format": "csv"}, r"^symbol: b'', allowed: 1 to 20 characters \(csv\)$"),
        ({"symbols": [b"NINECHARS"], "feed_format": "itch"},
         r"^symbol: b'NINECHARS', allowed: 1 to 8 characters \(itch\)$"),
        ({"symbols": [b"X" * 21], "feed_format": "binance"},
         r"^symbol: b'X{21}', allowed: 1 to 20 characters \(binance\)$"),
        ({"time_unit": "s"}, r"^time_unit: 's', allowed: auto, ms, us, ns$"),
        ({"symbols": [b"A"] * 16385}, r"^symbols: 16385, allowed: 1 to 16384$"),
    ],
    ids=["strategy", "format", "no name", "long name of ITCH", "long name", "unit", "many"],
)  # fmt: skip
def test_an_engine_and_a_replay_refuse_alike(
    make: Callable[..., object], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_an_order_has_room_for_8_characters_of_a_name() -> None:
    with pytest.raises(ValueError, match=r"^symbol: b'1000PEPEUSDT', allowed: a name at the exchange of 1 to 8 char"):
        make_engine(symbols=[b"1000PEPEUSDT"])
    with pytest.raises(ValueError, match=r"^symbol: b'NINECHARS', allowed: a name at the exchange of 1 to 8 char"):
        make_engine(symbols=[b"1000PEPEUSDT"], exchange_names=[b"NINECHARS"])


def test_an_engine_has_symbols() -> None:
    with pytest.raises(ValueError, match=r"^symbols: 0, allowed: 1 to 16384$"):
        make_engine(symbols=[])


@pytest.mark.parametrize("capacity", [0, 16385])
def test_a_replay_of_all_symbols_has_a_capacity(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"^capacity: {capacity}, allowed: 1 to 16384$"):
        make_replay(symbols=(), capacity=capacity)


def test_the_segment_has_the_size_of_its_symbols() -> None:
    with pytest.raises(ValueError, match=r"^segment: 1 bytes, expected \d+$"):
        _engine.Engine(bytearray(1), strategy=1, state=1, symbols=[b"AAPL"])


@pytest.mark.parametrize("arguments", [{"user": b"TOOLONG"}, {"password": b"ELEVENCHARS"}, {"address": b"12345"}])
def test_a_login_that_soupbintcp_cannot_carry(arguments: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match=r"^user: at most 6 bytes, password: at most 10, address: 4$"):
        make_engine(**arguments)


@pytest.mark.parametrize("name", ["book.orders", "feed.store"])
def test_memory_that_the_host_does_not_give_is_named_and_nothing_is_left_open(name: str) -> None:
    """The first engine's books are there already when its other memory is refused: they are given back."""
    before = mapped()
    arguments = {"feed_format": "itch", "levels": 1, "orders": 1 << 8} | (
        {"orders": 1 << 45} if name == "book.orders" else {"store": 1 << 50}
    )
    for _ in range(20):
        with pytest.raises(MemoryError, match=f"^{name}: "):
            make_engine(**arguments)
    assert mapped() - before < 10 * 2048
    os.fstat(0)  # an engine without a connection closes none


def mapped() -> int:
    """KiB of this process's address space."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmSize:"))


def test_a_segment_is_held_as_long_as_the_engine() -> None:
    segment = (ctypes.c_uint8 * _segment.size(1))()
    memory = memoryview(segment).cast("B")
    engine = _engine.Engine(memory, strategy=1, state=1, symbols=[b"AAPL"])
    engine.limits(max_size=7)
    assert (7).to_bytes(8, "little") in bytes(memory)
