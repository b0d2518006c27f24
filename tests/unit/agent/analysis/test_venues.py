"""Great-circle distances: known ones, against plain Python, and without a trace on the process's arithmetic."""

import json
import random
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from agent import cli
from agent.analysis import venues
from agent.analysis.kernels import plain

haversine = pytest.importorskip("agent.analysis.kernels.haversine")


def distances(rows: list[tuple[float, float, float, float]], threads: int = 0) -> list[float]:
    out = array("d", bytes(8 * len(rows)))
    haversine.compute_distances(*(array("d", column) for column in zip(*rows, strict=True)), out, threads)
    return list(out)


@pytest.mark.parametrize("count", [1, 7, 4096, 4097, 30_000])
def test_it_is_what_plain_python_says(count: int) -> None:
    rng = random.Random(1)
    rows = [(rng.uniform(-90, 90), rng.uniform(-180, 180), rng.uniform(-90, 90), rng.uniform(-180, 180))
            for _ in range(count)]  # fmt: skip
    expected = [plain.compute_distance(*row) for row in rows]
    for threads in (0, 1, 2):
        assert distances(rows, threads) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_known_distances() -> None:
    quarter = 6371.0088 * 3.141592653589793 / 2
    assert distances([(0, 0, 90, 0), (0, 0, 0, 180), (12, 34, 12, 34), (0, 179.5, 0, -179.5)]) == pytest.approx(
        [quarter, 2 * quarter, 0.0, quarter / 90], abs=1e-6
    )


def test_lengths_have_to_agree() -> None:
    one, two = array("d", [1.0]), array("d", [1.0, 2.0])
    with pytest.raises(ValueError, match="lengths 1, 1, 2, 1 and 1, allowed: all the same"):
        haversine.compute_distances(one, one, two, one, array("d", [0.0]))
    haversine.compute_distances(*[array("d")] * 5)


def test_loading_it_leaves_subnormals_alone() -> None:
    """A library that is linked with -ffast-math would flush them to zero in the whole process."""
    code = (
        "import sys; tiny = float.fromhex('0x1p-1070')\n"
        "from agent.analysis.kernels import haversine; from array import array\n"
        "one = array('d', [1.0]); haversine.compute_distances(one, one, one, one, one)\n"
        "half = tiny / 2\n"
        "print(half > 0, half * 2 == tiny)"
    )
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True True\n"


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["venues", "--from", "carteret", "--to", "aurora", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["km"] == pytest.approx(1177, abs=10)
    assert row["vacuum_ms"] == pytest.approx(row["km"] / 299.792458, abs=0.001)
    assert row["fibre_ms"] == pytest.approx(row["vacuum_ms"] * 1.4682, abs=0.002)
    assert cli.main(["venues"]) == 0
    count = len(venues.read_venues())
    assert len(capsys.readouterr().out.splitlines()) == 2 + count * (count - 1) // 2
    assert cli.main(["venues", "--from", "atlantis"]) == 2
    assert "venue: found 'atlantis', allowed: mahwah, " in capsys.readouterr().err
    for text, message in (
        ("", "holds no venues"),
        ("a,b,c,1\n", ":1: found 'a,b,c,1', allowed: NAME,CITY"),
        ("# x\na,b,c,north,2\n", ":2: found"),
        ("a,b,c,91,2\n", "allowed: degrees within 90 and 180"),
    ):
        (tmp_path / "v.csv").write_text(text)
        assert cli.main(["venues", "--file", str(tmp_path / "v.csv")]) == 2
        assert message in capsys.readouterr().err
