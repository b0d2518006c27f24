"""The bench of rings: with and without the references that may be missing, and what is no number."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.shm.ring import Ring
from benchmarks.agent import _bench, machine, ring
from benchmarks.agent.sample import BenchError, Sample

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: both sides spin")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {"SLICES": 2, "TRIPS": 200, "STREAM": 2_000, "PYTHON_TRIPS": 200}.items():
        monkeypatch.setattr(ring, name, value)
    before = os.sched_getaffinity(0)
    yield
    assert os.sched_getaffinity(0) == before


def one_round(directory: Path) -> list[Sample]:
    plays = ring.rounds(directory)
    try:
        return next(plays)
    finally:
        plays.close()  # type: ignore[attr-defined]


def test_without_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENT_BENCH_REFERENCES", raising=False)
    monkeypatch.setattr(machine, "no_package", lambda name: f"no {name}")
    assert set(ring.left_out()) == {"rigtorp/SPSCQueue", "iceoryx2, Python"}
    samples = one_round(tmp_path)
    assert [(s.metric, s.reference_name, s.better, s.bar) for s in samples] == [
        ("round trip, 64 bytes", "C, queue of fixed slots", "lower", 1.1),
        ("round trip, 64 bytes", "C, a word on a cache line", "lower", 2.0),
        ("one way, 64 bytes", "C, queue of fixed slots", "higher", None),
    ]
    assert all(s.ours > 0 and s.reference > 0 for s in samples)


def test_with_all_that_is_there(tmp_path: Path) -> None:
    missing = ring.left_out()
    samples = one_round(tmp_path)
    assert {s.reference_name for s in samples} == {
        "C, queue of fixed slots",
        "C, a word on a cache line",
        "rigtorp/SPSCQueue",
        "iceoryx2, Python",
    } - set(missing)
    assert all(s.ours > 0 and s.reference > 0 for s in samples)


def test_a_reference_that_ends_or_hangs_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "LIMIT", 0.2)
    ends = "import sys; sys.exit(6)"
    with (
        ring.Program(sys.executable, "-c", ends, "0", "1") as program,
        pytest.raises(BenchError, match=r"has ended( with 6)?$|no answer"),
    ):
        program.slice("queue 200")
    hangs = "import sys; sys.stdin.readline(); sys.stdin.readline()"
    with (
        ring.Program(sys.executable, "-c", hangs, "0", "1") as program,
        pytest.raises(BenchError, match=r"no answer to 'queue 200' in 0\.2 s"),
    ):
        program.slice("queue 200")


def test_a_record_out_of_order_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    with Ring.create(path, 1 << 12, 64) as writer, Ring.attach(path, "reader") as reader:
        for number in (0, 1, 3):
            writer.push(number.to_bytes(8, "little") * 8)
        with pytest.raises(RuntimeError, match="record 2 did not come"):
            _bench.ring_receive(reader.address, 3, 1)
