"""The order books' memory: huge pages where this kernel has free ones, ordinary pages where it has none."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("numpy")

from agent import strategy
from agent.engine import _engine
from agent.shm import _segment
from agent.shm import segment as shm

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
]

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


def free() -> int:
    found = re.search(r"HugePages_Free:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert found
    return int(found[1])


@pytest.fixture
def pool() -> Iterator[Path]:
    before = POOL.read_text()
    yield POOL
    POOL.write_text(before)
    assert POOL.read_text() == before


def books(orders: int) -> tuple[object, dict[str, int]]:
    """An engine with room for so many orders, and its counters."""
    prepared = strategy.prepare(strategy.load("every_tick_cython"), 1, 2, 1)
    segment = bytearray(_segment.size(1))
    engine = _engine.Engine(segment, strategy=prepared.table, state=prepared.state, symbols=[b"AAPL"],
                            feed_format="itch", orders=orders, levels=64)  # fmt: skip
    return (engine, prepared), shm.decode(bytes(segment), "test").counters


def test_books_are_in_huge_pages_while_there_are_some(pool: Path) -> None:
    pool.write_text("32")
    there = free()
    assert there >= 16
    engine, counters = books(100_000)  # 262,144 slots of 16 bytes: 4 pages; and 4 for all else that the loop writes
    assert counters["book_huge_pages"] == 1
    assert there - free() == 8
    # The rest is too little for these: the books are in ordinary pages, and no huge page is lost to them.
    left = free()
    other, counters = books(4_000_000)
    assert counters["book_huge_pages"] == 0 and free() == left - 4
    del engine, other
    assert free() == there


LOCKED = """
from agent.engine import _engine
from agent.shm import _segment
from agent import strategy
assert _engine.lock_memory()
prepared = strategy.prepare(strategy.load("every_tick_cython"), 1, 2, 1)
engine = _engine.Engine(bytearray(_segment.size(1)), strategy=prepared.table, state=prepared.state,
                        symbols=[b"AAPL"], feed_format="itch", orders=1_000_000, levels=64)
(line,) = (line for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages:"))
print(int(line.split()[1]) >> 10)
"""


def test_memory_that_is_locked_at_once_is_in_transparent_huge_pages_too() -> None:
    """`hosttune launch` locks all that a program will map: mmap() fills it then and there, before it can be advised."""
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    if "[never]" in enabled:
        pytest.skip(f"transparent_hugepage/enabled is {enabled.strip()}")
    done = subprocess.run([sys.executable, "-P", "-c", LOCKED], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    books = (2 * 1024 * 1024 * 16 + 1_000_000 * 24) >> 20
    assert int(done.stdout) >= books - 4  # MiB; the ends of a block need not begin a huge page
