"""The benches of the decoder and of the workers: small, for real; what they compare has to agree."""

from pathlib import Path
from typing import Any

import pytest

from agent.strategy.cache import use_cache
from benchmarks.agent import harness, machine
from benchmarks.agent.sample import Sample
from benchmarks.desk import decode, ingest, worker


def first(bench: Any, tmp_path: Path) -> list[Sample]:
    tmp_path.chmod(0o700)
    plays = bench.rounds(tmp_path)
    try:
        return list(next(plays))
    finally:
        plays.close()


def test_the_benches_are_of_make_bench() -> None:
    assert harness.load(["desk.decode", "desk.ingest", "desk.worker"]) == [decode, ingest, worker]


@pytest.mark.skipif(bool(machine.no_compiler(".c")), reason="needs cc (tools/setup host)")
def test_the_decoder_agrees_with_c_and_upb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "PASSES", 2)
    samples = first(decode, tmp_path)
    assert [(s.metric, s.bar) for s in samples] == [
        ("decode", 1.4), ("decode", 0.05), ("Ring.push_many", 0.10), ("decode into a ring", None),
    ]  # fmt: skip
    assert all(s.ours > 0 and s.reference > 0 for s in samples)


def test_events_go_from_topic_to_topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PASSES", 1)
    monkeypatch.setattr(worker, "WARM", 500)
    monkeypatch.setattr(worker, "SECONDS", 0.05)
    monkeypatch.setattr(worker, "LATE", 1000.0)
    use_cache(str(tmp_path / "cache"))
    samples = first(worker, tmp_path)
    assert samples[0].bar == 1.0 and samples[0].reference_name == "limit"
    assert {s.metric for s in samples[2:]} >= {"decode and distance, geo", "decode and distance, geo_cython"}
    assert all(s.bar == 0.05 and s.ours > 0 for s in samples[2:])


@pytest.mark.skipif(bool(machine.no_compiler(".c")), reason="needs cc (tools/setup host)")
def test_records_come_to_the_ring_and_to_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "COUNT", 2_000)
    monkeypatch.setattr(ingest, "WARM", 100)
    monkeypatch.setattr(ingest, "SECONDS", 0.2)

    def refuse(name: str, requirement: str) -> None:
        raise OSError(f"{name}: {requirement}")

    monkeypatch.setattr(ingest, "make_environment", refuse)  # nothing is installed by a test
    ingest._find_quix.cache_clear()
    assert "quixstreams==" in ingest.left_out()["quixstreams"]
    samples = first(ingest, tmp_path)
    assert [s.bar for s in samples] == [2.0, 1.3, None, 1.3, None]
    assert all(s.ours > 0 and s.reference > 0 for s in samples)
