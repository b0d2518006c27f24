"""Strategies in Numba: two Python functions become C functions that the loop calls by pointer.

A strategy is a module with the two functions and `STRATEGY = Strategy(on_event, STATE, init)`;
agent/strategies/every_tick.py is the shortest one. The functions take pointers to the engine's own
memory: `carray(pointer, 1)[0]` is the record, `carray(orders_p, 8)` the order buffer.
Only arithmetic on the records belongs there; nothing may allocate, raise or call into Python.
"""

import importlib
import os
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from agent import _engine

TICK = np.dtype(
    [
        ("sequence", "u8"), ("received_ns", "i8"), ("exchange_id", "i8"),
        ("bid", "i8"), ("bid_size", "i8"), ("ask", "i8"), ("ask_size", "i8"),
        ("price", "i8"), ("size", "i8"), ("kind", "u4"), ("symbol", "u4"),
    ],
    align=True,
)  # fmt: skip
ORDER = np.dtype([("price", "f8"), ("size", "i8"), ("side", "i4"), ("symbol", "u4")], align=True)
PARAMS = np.dtype([("fast", "f8"), ("slow", "f8"), ("size", "i8")], align=True)

BOOK, TRADE = 1, 2
BUY, SELL = 1, -1
SCALE = 1e-8


class StrategyError(Exception):
    """A strategy cannot be found, compiled or initialised."""


def check_layouts() -> None:
    """Compare the records above with the C header as compiled; StrategyError names the first difference."""
    for name, dtype in (("tick", TICK), ("order", ORDER), ("params", PARAMS)):
        size, offsets = _engine.layouts()[name]
        assert dtype.fields is not None
        mine = {field: place[1] for field, place in dtype.fields.items()}
        if dtype.itemsize != size or mine != offsets:
            raise StrategyError(
                f"struct agent_{name}: the engine has {size} bytes {offsets}, "
                f"agent.strategy has {dtype.itemsize} bytes {mine}"
            )


class Strategy:
    """A strategy's functions and its state's layout; compile() makes the C functions."""

    def __init__(self, on_event: Callable[..., int], state: np.dtype[Any], init: Callable[..., int]) -> None:
        self.name = on_event.__name__
        self.state = state
        self._source = on_event, init
        self._compiled: tuple[Any, Any] | None = None

    def compile(self) -> tuple[int, int]:
        """(address of on_event, address of init). Compiled once, cached on disk by Numba."""
        if self._compiled is None:
            record = types.CPointer(numba.from_dtype(self.state))
            params = types.CPointer(numba.from_dtype(PARAMS))
            tick = types.CPointer(numba.from_dtype(TICK))
            order = types.CPointer(numba.from_dtype(ORDER))
            on_event, init = self._source
            try:
                self._compiled = (
                    _cfunc(types.int32(record, tick, order), on_event),
                    _cfunc(types.int32(record, params), init),
                )
            except numba.core.errors.NumbaError as error:
                raise StrategyError(f"strategy {self.name}: does not compile: {str(error).strip()}") from None
        return self._compiled[0].address, self._compiled[1].address


def _cfunc(signature: Any, function: Callable[..., int]) -> Any:
    # A division by zero gives inf or nan as in C: an exception could not leave the loop.
    return numba.cfunc(signature, cache=True, error_model="numpy")(function)


def load(name: str) -> Strategy:
    """A built-in strategy (agent/strategies/NAME.py), or the object named by MODULE:OBJECT.

    Raises StrategyError.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        module, attribute = f"agent.strategies.{name}", "STRATEGY"
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise StrategyError(
            f"strategy.name: found {name!r}, allowed: {', '.join(built_in())}, or MODULE:OBJECT ({error})"
        ) from None
    if not isinstance(found, Strategy):
        raise StrategyError(f"strategy.name: {name!r} is a {type(found).__name__}, not a Strategy")
    return found


def built_in() -> list[str]:
    """The names of the built-in strategies."""
    folder = os.path.join(os.path.dirname(__file__), "strategies")
    return sorted(f[:-3] for f in os.listdir(folder) if f.endswith(".py") and not f.startswith("_"))


def prepare(strategy: Strategy, fast: float, slow: float, size: int) -> tuple[int, bytearray]:
    """Compile, and initialise a fresh state: (address of on_event, the state's memory)."""
    check_layouts()
    on_event, init = strategy.compile()
    state = bytearray(max(strategy.state.itemsize, 64))
    code = _engine.call_init(init, state, fast, slow, size)
    if code < 0:
        raise StrategyError(f"strategy {strategy.name}: init returned {code}")
    return on_event, state
