"""The tick series against a plain deque, through the wrap, and from another process while it is written."""

import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")

from agent.shm import series  # noqa: E402

CAPACITY = 512


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 700), st.integers(0, 600)), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_it_holds_what_a_deque_holds(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "series"
    writer = series.create(path, ["AAPL", "MSFT"], CAPACITY)
    models = [deque[tuple[int, int, int]](maxlen=CAPACITY - 1) for _ in range(2)]
    number = 0
    with series.Series(path) as reader:
        for symbol, pushes, wanted in steps:
            for _ in range(pushes):
                number += 1
                entry = (number, -number * 3, number * 7)
                writer.push(symbol, *entry)
                models[symbol].append(entry)
            for i, name in enumerate(("AAPL", "MSFT")):
                recent = reader.recent(name, wanted)
                expected = list(models[i])[max(0, len(models[i]) - wanted) :] if wanted else []
                assert list(zip(recent.timestamps, recent.prices, recent.sizes, strict=True)) == expected
                assert reader.intact(recent)


def test_windows_are_read_only_views_of_the_memory_itself(tmp_path: Path) -> None:
    writer = series.create(tmp_path / "s", ["A"], CAPACITY)
    for i in range(CAPACITY - 1):
        writer.push(0, i, i, i)
    reader = series.Series(tmp_path / "s")
    recent = reader.recent("A", 10)
    with pytest.raises(ValueError, match="read-only"):
        recent.prices[0] = 1
    assert recent.prices.base is not None
    assert list(recent.prices) == list(range(CAPACITY - 11, CAPACITY - 1))
    for i in range(CAPACITY):
        writer.push(0, 0, -1, 0)
        # Until the next push is the one that overwrites the oldest of the ten.
        assert reader.intact(recent) == (i + 1 < CAPACITY - 10)
    assert list(recent.prices) == [-1] * 10  # the same memory
    reader.close()
    assert recent.prices.sum() == -10  # and it outlives the reader


def test_across_the_wrap_it_is_one_piece(tmp_path: Path) -> None:
    writer = series.create(tmp_path / "s", ["A"], CAPACITY)
    for i in range(CAPACITY + 5):
        writer.push(0, i, i, i)
    with series.Series(tmp_path / "s") as reader:
        recent = reader.recent("A", 100)
        assert list(recent.timestamps) == list(range(CAPACITY - 95, CAPACITY + 5))
        assert recent.timestamps.flags["C_CONTIGUOUS"]


READER = """
import sys
from pathlib import Path
from agent.shm.series import Series
right = torn = 0
with Series(Path(sys.argv[1])) as series:
    print("ready", flush=True)
    while series.count("A") < 2_000_000 and series.alive:
        recent = series.recent("A", 400)
        if len(recent.prices) < 400:
            continue
        ok = bool((recent.prices == recent.timestamps * 3).all() and (recent.sizes == recent.timestamps + 1).all()
                  and (recent.timestamps[1:] - recent.timestamps[:-1] == 1).all())
        if series.intact(recent):
            right += 1
            assert ok, recent
        else:
            torn += 1
print(right, torn)
"""


def test_another_process_reads_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "s"
    writer = series.create(path, ["A"], 1 << 14)
    reader = subprocess.Popen([sys.executable, "-P", "-c", READER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert reader.stdout and reader.stdout.readline() == "ready\n"
        limit = time.monotonic() + 60
        for i in range(2_000_000):
            writer.push(0, i, 3 * i, i + 1)
            if i & 0xFFFF == 0:
                assert time.monotonic() < limit
        out, _ = reader.communicate(timeout=20)
    finally:
        reader.kill()
        reader.communicate()
    assert reader.returncode == 0
    assert int(out.split()[0]) > 100


def test_what_is_no_series_is_named(tmp_path: Path) -> None:
    series.create(tmp_path / "good", ["A"], CAPACITY)
    good = (tmp_path / "good").read_bytes()
    for change, text in (
        (b"", "too short"),
        (b"x" * 8192, "not a tick series"),
        (good[:8] + b"\x09" + good[9:], "layout version 9"),
        (good[:-1], "its header describes"),
        (good[:16] + b"\xff" * 8 + good[24:], "its header describes"),
    ):
        (tmp_path / "bad").write_bytes(change)
        with pytest.raises(series.SeriesError, match=text):
            series.Series(tmp_path / "bad")
    with pytest.raises(series.SeriesError, match="No such file"):
        series.Series(tmp_path / "none")
    with series.Series(tmp_path / "good") as reader, pytest.raises(series.SeriesError, match="found 'B', allowed: A"):
        reader.recent("B", 1)


@given(st.lists(st.tuples(st.integers(0, 23), st.integers(0, 2**32 - 1)), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_damaged_header_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.series"
    series.create(path, ["A"], CAPACITY)
    with path.open("r+b") as file:
        for word, value in damage:
            file.seek(4 * word)
            file.write(value.to_bytes(4, "little"))
    try:
        with series.Series(path) as reader:
            assert not reader.symbols or len(reader.recent(reader.symbols[0], 10).prices) <= reader.capacity
    except series.SeriesError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
