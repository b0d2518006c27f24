"""`agent var`: value at risk of an engine's present position."""

from typing import Any

import numpy as np

from agent.analysis.kernels import monte_carlo
from agent.shm.segment import Segment


class RiskError(Exception):
    """The position cannot be valued; the message says which symbol, or which parameter."""


def report(segment: Segment, *, volatility: float, correlation: float, days: float, confidence: float, paths: int,
           seed: int) -> dict[str, Any]:  # fmt: skip
    """Plain data: positions and their values at the middle of the book, value_at_risk and expected_shortfall in
    currency. volatility: a year's, of each symbol. Raises RiskError for a position without a quote."""
    held = [row for row in segment.symbols if row.position]
    rows = []
    for row in held:
        if not row.bid or not row.ask:
            raise RiskError(
                f"{segment.path}: {row.name}: a position of {row.position:,} and no bid and offer to value it by"
            )
        price = (row.bid + row.ask) * 0.5e-8
        rows.append({"symbol": row.name, "position": row.position, "price": price, "value": row.position * price})
    values = np.array([r["value"] for r in rows], dtype=np.float64)
    try:
        found = monte_carlo.profits(values, np.full(len(rows), volatility), correlation, days, paths, seed)
        loss, shortfall = monte_carlo.value_at_risk(found, confidence)
    except ValueError as error:
        raise RiskError(str(error)) from None
    return {
        "positions": rows,
        "volatility": volatility,
        "correlation": correlation,
        "days": days,
        "confidence": confidence,
        "paths": paths,
        "seed": seed,
        "value_at_risk": loss if rows else 0.0,
        "expected_shortfall": shortfall if rows else 0.0,
    }


def as_text(data: dict[str, Any]) -> str:
    lines = [
        f"{r['symbol']:<10}{r['position']:>12,} at {r['price']:>14,.4f} = {r['value']:>18,.2f}"
        for r in data["positions"]
    ]
    lines.append(
        f"value at risk {data['value_at_risk']:,.2f}, expected shortfall {data['expected_shortfall']:,.2f} "
        f"({data['confidence']:.1%}, {data['days']:g} trading days, volatility {data['volatility']:.0%} a year, "
        f"correlation {data['correlation']:g}, {data['paths']:,} paths)"
    )
    return "\n".join(lines) + "\n"
