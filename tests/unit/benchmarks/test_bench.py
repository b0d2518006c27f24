"""The harness: what it discards, what it refuses, and that its ratios are taken round by round."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.agent import __main__ as command
from benchmarks.agent import harness, machine
from benchmarks.agent.sample import NINES, BenchError, Curves, Sample, find_quantile, take_curve


def module(values: Iterator[tuple[float, float]]) -> Any:
    bench = ModuleType("benchmarks.agent.fake")

    def rounds(directory: Path) -> Iterator[list[Sample]]:
        for ours, reference in values:
            yield [Sample(metric="m", unit="ns", ours=ours, reference=reference, reference_name="C")]
        raise BenchError("nothing is left")

    bench.rounds = rounds  # type: ignore[attr-defined]
    return bench


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What others use in the next rounds; 0 when it is empty."""
    given: list[float] = []
    monkeypatch.setattr(machine, "foreign", lambda before, after: given.pop(0) if given else 0.0)
    return given


def test_ratios_are_taken_in_each_round(shares: list[float], tmp_path: Path) -> None:
    values = [(9e9, 1.0), (2.0, 1.0), (30.0, 10.0), (400.0, 100.0)]  # the first one counts for nothing
    (row,) = harness.measure(module(iter(values)), 3, tmp_path)["results"]
    assert (row["ratio"], row["ratio_range"], row["rounds"], row["discarded"]) == (3.0, [2.0, 4.0], 3, 0)
    assert (row["bench"], row["ours"], row["reference"], row["reference_name"]) == ("fake", 30.0, 10.0, "C")


def test_a_busy_round_is_discarded_and_run_again(shares: list[float], tmp_path: Path) -> None:
    shares[:] = [0.0, 0.5, 0.06, 0.0]
    values = ((float(i), 1.0) for i in itertools.count())
    (row,) = harness.measure(module(values), 3, tmp_path)["results"]
    assert (row["rounds"], row["discarded"], row["ratio_range"]) == (3, 2, [1.0, 5.0])


def test_a_busy_machine_gets_no_number(shares: list[float], tmp_path: Path) -> None:
    shares[:] = [0.4] * 100
    found = harness.measure(module(itertools.repeat((1.0, 1.0))), 2, tmp_path)
    assert "results" not in found
    assert found["refused"] == (
        "the machine was busy: 5 rounds discarded, others used up to 40% of it, allowed 5%; 0 of 2 rounds left"
    )


def test_a_round_that_goes_wrong_is_told_and_run_again(shares: list[float], tmp_path: Path) -> None:
    rounds = iter([[1.0], [2.0, BenchError("2 orders were lost")], [3.0, 4.0]])
    bench = ModuleType("benchmarks.agent.fake")

    def play(directory: Path) -> Iterator[list[Sample]]:
        for value in next(rounds):
            if isinstance(value, BenchError):
                raise value
            yield [Sample(metric="m", unit="ns", ours=value, reference=1.0, reference_name="C")]
        raise BenchError("the machine slept")

    bench.rounds = play  # type: ignore[attr-defined]
    found = harness.measure(bench, 3, tmp_path)
    assert found["failed"] == ["the machine slept", "2 orders were lost"]
    (row,) = found["results"]
    assert (row["ratios"], row["discarded"]) == ([2.0, 3.0, 4.0], 2)


def test_what_cannot_run_is_refused(shares: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = harness.measure(module(iter([(1.0, 1.0)])), 2, tmp_path)
    assert found["refused"] == "nothing is left" and found["failed"] == ["nothing is left"] * harness.FAILURES
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(BenchError, match=r"no compiler \(cc\)"):
        machine.build("itch", tmp_path)


def test_others_are_told_from_ourselves() -> None:
    cpus = machine.os.cpu_count() or 1
    before = machine.Moment(10.0, 100.0, 5.0, 1.0)
    assert machine.foreign(before, machine.Moment(11.0, 101.0, 5.0, 2.0)) == 0.0
    assert machine.foreign(before, machine.Moment(11.0, 101.0, 5.0, 1.5)) == pytest.approx(0.5 / cpus)
    assert machine.foreign(before, machine.Moment(11.0, 101.0, 5.5, 2.0)) == pytest.approx(0.5 / cpus)


def test_children_that_still_run_are_not_others() -> None:
    spin = (
        "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n"
        "print(1, flush=True)\ninput()"
    )
    inner = f"subprocess.run([sys.executable, '-c', {spin!r}])"  # a child's child, which it waits for
    before = machine.moment()
    with subprocess.Popen([sys.executable, "-c", f"import subprocess, sys; {inner}"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as child:  # fmt: skip
        assert child.stdin and child.stdout and child.stdout.readline() == b"1\n"
        running = machine.moment().own - before.own
        child.stdin.write(b"\n")
    assert running >= 0.3 and machine.moment().own - before.own >= running


def test_a_curve_ends_where_the_measurements_do() -> None:
    ordered = [float(value) for value in range(1, 10_001)]
    curve = take_curve(find_quantile(ordered), len(ordered))
    by_nines = dict(zip(NINES, curve, strict=True))
    assert [by_nines[nines] for nines in (NINES[0], 1.0, 2.0, 3.0, 4.0)] == [5_000, 9_000, 9_900, 9_990, 9_999]
    assert list(take_curve(find_quantile(ordered[:100]), 100)) == [ordered[place] for place in _places(100)]
    assert take_curve(find_quantile([]), 0) == ()


def _places(count: int) -> list[int]:
    """The nearest ranks, from 0, of the percentiles that so many measurements have a neighbour above."""
    shares = [1 - 10**-nines for nines in NINES if 10**-nines * count > 0.999]
    return [next(place for place in range(count) if (place + 1) / count > share - 1e-9) for share in shares]


def test_curves_are_medians_of_the_rounds(shares: list[float], tmp_path: Path) -> None:
    rounds = [((1.0, 4.0), (5.0,)), ((3.0, 9.0), (7.0, 8.0)), ((2.0, 6.0), (6.0, 8.0))]
    samples = [
        Sample(metric="m", unit="us", ours=1.0, reference=1.0, reference_name="C", curves=Curves("panel", *curves))
        for curves in rounds
    ]
    row = harness.summary("fake", tuple(samples), 0)
    # A point that a round has no measurements for is not drawn.
    assert row["curves"] == {"title": "panel", "ours": [2.0, 6.0], "reference": [6.0]}


@pytest.mark.parametrize("name", ["strategy_call", "itch_decode", "metric_record"])
def test_each_bench_gives_samples(name: str, tmp_path: Path) -> None:
    bench = harness.load([name])[0]
    samples = next(bench.rounds(tmp_path))
    assert samples and all(s.ours > 0 and s.reference > 0 for s in samples)


def test_an_unknown_bench_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks.agent", "nothing"])
    assert command.main() == 2
    assert "found 'nothing', allowed: tick_to_order, own_code" in capsys.readouterr().err
