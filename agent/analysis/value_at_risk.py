"""Value at risk of an engine's present position, as a document for `agent var`."""

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from agent.analysis.kernels import monte_carlo
from agent.errors import AgentError
from agent.shm.segment import Segment, Symbol

if TYPE_CHECKING:
    from hosttune.report.document import Page


class RiskError(AgentError):
    """The position cannot be valued; the message says which symbol, or which parameter."""


class Position(msgspec.Struct, frozen=True):
    """A symbol's position in whole units, its price at the middle of the book, and its value, both in currency."""

    symbol: str
    position: int
    price: float
    value: float


class ValueAtRisk(msgspec.Struct, frozen=True):
    """What positions may lose. volatility: a year's, of each symbol, as a share; correlation: of any two symbols; days:
    trading days; paths: simulated ones; value_at_risk and expected_shortfall: losses in currency, positive."""

    positions: list[Position]
    volatility: float
    correlation: float
    days: float
    confidence: float
    paths: int
    seed: int
    value_at_risk: float
    expected_shortfall: float

    def as_data(self) -> Any:
        """Returns the struct itself."""
        return self

    def as_text(self, page: "Page") -> str:
        """Returns a line for each position, and the risk with what it was computed from."""
        lines = [
            f"{held.symbol:<10}{held.position:>12,} at {held.price:>14,.4f} = {held.value:>18,.2f}"
            for held in self.positions
        ]
        lines.append(
            f"value at risk {self.value_at_risk:,.2f}, expected shortfall {self.expected_shortfall:,.2f} "
            f"({self.confidence:.1%}, {self.days:g} trading days, volatility {self.volatility:.0%} a year, "
            f"correlation {self.correlation:g}, {self.paths:,} paths)"
        )
        return "\n".join(lines) + "\n"


def simulate_risk(
    segment: Segment,
    *,
    volatility: float,
    correlation: float,
    days: float,
    confidence: float,
    paths: int,
    seed: int,
) -> ValueAtRisk:
    """Returns the risk of the positions in a segment; the parameters are those of ValueAtRisk.

    Raises RiskError for a position without a bid and an offer, and for parameters that are not allowed.
    """
    positions = [value_position(segment, symbol) for symbol in segment.symbols if symbol.position]
    values = np.array([held.value for held in positions], dtype=np.float64)
    try:
        profits = monte_carlo.simulate_profits(
            values, np.full(len(positions), volatility), correlation, days, paths, seed
        )
        loss, shortfall = monte_carlo.measure_risk(profits, confidence)
    except ValueError as error:
        raise RiskError(str(error)) from None
    except MemoryError:
        raise RiskError(f"paths: found {paths:,}, allowed: as many as fit into memory at 8 bytes each") from None
    return ValueAtRisk(
        positions=positions,
        volatility=volatility,
        correlation=correlation,
        days=days,
        confidence=confidence,
        paths=paths,
        seed=seed,
        value_at_risk=loss if positions else 0.0,
        expected_shortfall=shortfall if positions else 0.0,
    )


def value_position(segment: Segment, symbol: Symbol) -> Position:
    """Returns a symbol's position at the middle of its book. Raises RiskError if the book lacks a side."""
    if not symbol.bid or not symbol.ask:
        raise RiskError(
            f"{segment.path}: {symbol.name}: a position of {symbol.position:,} and no bid and offer to value it by"
        )
    price = (symbol.bid + symbol.ask) * 0.5e-8
    return Position(symbol.name, symbol.position, price, symbol.position * price)
