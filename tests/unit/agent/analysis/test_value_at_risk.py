"""Value at risk: against the closed form, whatever the threads, and what cannot be valued."""

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
numba = pytest.importorskip("numba")

from agent import cli  # noqa: E402
from agent.analysis.kernels import monte_carlo  # noqa: E402
from agent.shm import _segment  # noqa: E402

from ..conftest import Hand, order  # noqa: E402
from ..ouch_answers import accepted, executed  # noqa: E402

NORMAL = statistics.NormalDist()


def risk(
    values: list[float], volatility: float, correlation: float = 0.0, paths: int = 200_000, **more: float
) -> float:
    found = monte_carlo.simulate_profits(
        np.array(values),
        np.full(len(values), volatility),
        correlation,
        more.get("days", 1.0),
        paths,
        int(more.get("seed", 1)),
    )
    return monte_carlo.measure_risk(found, more.get("confidence", 0.99))[0]


@pytest.mark.parametrize(("volatility", "days", "confidence"), [(0.2, 1, 0.99), (0.5, 10, 0.95), (0.05, 252, 0.999)])
def test_one_symbol_is_the_closed_form(volatility: float, days: float, confidence: float) -> None:
    sigma = volatility * math.sqrt(days / 252)
    exact = -1e6 * math.expm1(sigma * NORMAL.inv_cdf(1 - confidence) - sigma * sigma / 2)
    assert risk([1e6], volatility, days=days, confidence=confidence) == pytest.approx(exact, rel=0.03)
    short = 1e6 * math.expm1(sigma * NORMAL.inv_cdf(confidence) - sigma * sigma / 2)
    assert risk([-1e6], volatility, days=days, confidence=confidence) == pytest.approx(short, rel=0.03)


def test_correlation_does_what_it_should() -> None:
    one = risk([1e6], 0.2)
    assert risk([0.5e6, 0.5e6], 0.2, 1.0) == pytest.approx(one, rel=0.02)
    assert risk([0.5e6, 0.5e6], 0.2, 0.0) == pytest.approx(one / math.sqrt(2), rel=0.03)
    assert risk([1e6, -1e6], 0.2, 1.0) == pytest.approx(0.0, abs=1e-6)


def test_the_number_of_threads_changes_nothing() -> None:
    before = numba.get_num_threads()
    try:
        results = []
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            results.append(risk([1e6, 2e6, -3e5], 0.3, 0.4, 10_000))
    finally:
        numba.set_num_threads(before)
    assert len(set(results)) == 1 and results[0] != risk([1e6, 2e6, -3e5], 0.3, 0.4, 10_000, seed=2)


def test_the_generator_is_uniform_and_normal() -> None:
    draws = np.array(
        [monte_carlo._draw_normal(np.uint64(7), np.uint64(p), np.uint64(k)) for p in range(3000) for k in range(5)]
    )
    assert abs(draws.mean()) < 4 / math.sqrt(len(draws)) and draws.std() == pytest.approx(1.0, rel=0.03)
    table = draws.reshape(-1, 5)
    assert abs(np.corrcoef(table.T) - np.eye(5)).max() < 0.06


@pytest.mark.parametrize(
    "arguments",
    [([1.0], [0.1, 0.2], 0.0, 1.0, 10), ([1.0], [0.1], 1.5, 1.0, 10), ([1.0], [-0.1], 0.0, 1.0, 10),
     ([math.nan], [0.1], 0.0, 1.0, 10), ([1.0], [0.1], 0.0, 0.0, 10), ([1.0], [0.1], 0.0, 1.0, 0)],
)  # fmt: skip
def test_nonsense_is_refused(arguments: tuple[list[float], list[float], float, float, int]) -> None:
    values, volatilities, *rest = arguments
    with pytest.raises(ValueError, match=r"allowed|correlation|volatilities"):
        monte_carlo.simulate_profits(np.array(values), np.array(volatilities), *rest, seed=1)


def test_the_command(hand: Callable[..., Hand], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    h = hand()
    h.orders = [order()]
    with h.connect() as peer:
        h.tick()
        peer.sendall(accepted(1) + executed(1, 5))
        h.settle(2)
    (tmp_path / "s").write_bytes(h.segment)
    arguments = ["var", str(tmp_path / "s"), "--volatility", "0.4"]
    assert cli.main([*arguments, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["positions"] == [{"symbol": "BTCUSDT", "position": 5, "price": 100.005, "value": 500.025}]
    sigma = 0.4 / math.sqrt(252)
    exact = -500.025 * math.expm1(sigma * NORMAL.inv_cdf(0.01) - sigma * sigma / 2)
    assert (
        data["value_at_risk"] == pytest.approx(exact, rel=0.03) and data["expected_shortfall"] > data["value_at_risk"]
    )
    assert cli.main(arguments) == 0
    assert "value at risk" in capsys.readouterr().out
    empty = bytearray(h.segment)
    at = empty.index(b"BTCUSDT ") + 8 * list(_segment.symbol_fields()).index("bid")
    empty[at : at + 8] = bytes(8)  # no bid
    (tmp_path / "s").write_bytes(empty)
    assert cli.main(arguments) == 2
    assert "BTCUSDT: a position of 5 and no bid and offer" in capsys.readouterr().err
