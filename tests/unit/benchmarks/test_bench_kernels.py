"""The benches of kernels and books: small, for real; what they compare has to agree."""

from pathlib import Path
from typing import Any

import pytest

from agent.exchange import generator
from benchmarks.agent import book, kernels, machine
from benchmarks.agent.sample import Sample


def first(bench: Any, tmp_path: Path) -> list[Sample]:
    plays = bench.rounds(tmp_path)
    try:
        return list(next(plays))
    finally:
        plays.close()


def test_kernels_agree_with_their_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "PAIRS", 10_000)
    monkeypatch.setattr(kernels, "PLAIN_PAIRS", 1_000)
    monkeypatch.setattr(kernels, "POINTS", 5_000)
    monkeypatch.setattr(kernels, "PATHS", 100_000)
    monkeypatch.setattr(kernels, "SLICES", 1)
    samples = first(kernels, tmp_path)
    assert all(s.ours > 0 and s.reference > 0 for s in samples)
    names = {s.reference_name for s in samples}
    assert {"plain Python", "C, OpenMP, x86-64-v3", "NumPy, one thread"} <= names
    assert (kernels.FORTRAN in names) is not bool(kernels.left_out())


def test_books_agree_with_plain_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "MESSAGES", 5_000)
    monkeypatch.setattr(book, "SYMBOLS", 10)
    monkeypatch.setattr(book, "PASSES", 1)
    samples = first(book, tmp_path)
    assert samples[0].reference_name == "C, unchecked" and all(s.ours > 0 and s.reference > 0 for s in samples)


def test_operations_of_messages() -> None:
    day = generator.session(1, 300, 2)
    data, symbols, last = book.operations(day)
    found = list(book.OPERATION.iter_unpack(data))
    assert len(found) == sum(m[:1] in b"AFECXDU" for m in day) and symbols == 2
    assert {o[5] for o in found} <= {b"A", b"E", b"X", b"D", b"U"}
    assert last == max(max(o[0], o[1]) for o in found)


def test_a_peer_without_its_source_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENT_BENCH_REFERENCES", raising=False)
    monkeypatch.setattr(machine, "compiler", lambda suffix: "c++")
    assert "https://github.com/charles-cooper/itch-order-book" in book.left_out()[book.PEER]
    monkeypatch.setattr(machine, "compiler", lambda suffix: None)
    assert "apt-get install gfortran" in kernels.left_out()[kernels.FORTRAN]
