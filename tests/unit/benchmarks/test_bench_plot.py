"""Plots of benchmarks: a picture with every metric, and a word where there is no matplotlib."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.agent import harness, machine, plot
from benchmarks.agent.sample import Curves, Sample, limit


def fake(name: str) -> Any:
    bench = ModuleType(f"benchmarks.agent.{name}")

    def rounds(directory: Path) -> Any:
        while True:
            yield [
                Sample(
                    metric="m",
                    unit="ns",
                    ours=2.0,
                    reference=1.0,
                    reference_name="C",
                    bar=1.5,
                    curves=Curves("fast", (2.0, 3.0, 9.0), (1.0, 2.0, 4.0)),
                ),
                Sample(
                    metric="m",
                    unit="ns",
                    ours=2.0,
                    reference=1.0,
                    reference_name="other",
                    curves=Curves("fast", (2.0, 3.0, 9.0), (5.0, 6.0)),
                ),
                Sample(
                    metric="o",
                    unit="ns",
                    ours=2.0,
                    reference=1.0,
                    reference_name="C",
                    curves=Curves("slow", (3.0,), (4.0,)),
                ),
                Sample(metric="n", unit="1/s", ours=2.0, reference=1.0, reference_name="C", better="higher", bar=1.5),
                limit("lost", "", 0.0, 0.0),
            ]

    bench.rounds = rounds  # type: ignore[attr-defined]
    return bench


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "foreign", lambda before, after: 0.0)
    monkeypatch.setattr(harness, "load", lambda names: [fake("fake")])


def test_a_picture_for_each_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (tools/setup bench)")
    assert harness.run(["fake"], 3, "text", tmp_path / "out") == 0
    for name in ("fake.png", "fake-percentiles.png"):
        assert (tmp_path / "out" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    written = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert [r["met"] for r in written["results"]] == [False, None, None, True, True]
    assert written["results"][0]["curves"] == {"title": "fast", "ours": [2.0, 3.0, 9.0], "reference": [1.0, 2.0, 4.0]}
    assert written["results"][0]["ratios"] == [2.0, 2.0, 2.0]
    out = capsys.readouterr().out
    assert "<=1.5 NOT" in out and ">=1.5 met" in out


def test_ours_and_all_references_of_a_title_share_a_panel() -> None:
    (samples,) = (next(fake("fake").rounds(Path())),)
    rows = [harness.summary("fake", (sample,), 0) for sample in samples]
    assert plot.collect_panels(rows) == {
        "fast": ("ns", {"ours": [2.0, 3.0, 9.0], "C": [1.0, 2.0, 4.0], "other": [5.0, 6.0]}),
        "slow": ("ns", {"ours": [3.0], "C": [4.0]}),
    }


def test_no_curves_are_no_picture(tmp_path: Path) -> None:
    rows = [harness.summary("fake", (limit("lost", "", 0.0, 0.0),), 0)]
    assert plot.draw_curves("fake", rows, {}, tmp_path) is None and not list(tmp_path.iterdir())


def test_without_matplotlib_there_is_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plot, "missing", lambda: "Python package matplotlib is not installed")
    assert harness.run(["fake"], 3, "text", tmp_path / "out") == 0
    assert (tmp_path / "out" / "bench.json").exists() and not (tmp_path / "out" / "fake.png").exists()
    assert "no plots: Python package matplotlib is not installed" in capsys.readouterr().err
