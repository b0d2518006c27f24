"""What a strategy is, for its author and for those that run one: constants, a Numba strategy's functions, errors.

Nothing here imports NumPy, Numba or a compiled module but the table, so that a native strategy starts fast.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

from agent.errors import AgentError
from agent.strategy import _table

#: Bits of event.kind: the best bid or offer of a symbol changed; a trade was printed; the state of the symbol or of the
#: market changed.
BOOK, TRADE, STATE = 1, 2, 4
#: event.state and event.market: the feed does not tell it; it is not known.
UNTOLD, UNKNOWN = 0, 1
#: event.state, of the symbol.
TRADING, QUOTING, PAUSED, HALTED, HALTED_HERE = 2, 3, 4, 5, 6
#: event.market.
CLOSED, PRE_MARKET, OPEN, POST_MARKET, ENDED = 2, 3, 4, 5, 6
#: event.short_sale: Reg SHO's price test of short sales.
SHORT_UNTOLD, SHORT_FREE, SHORT_RESTRICTED = 0, 1, 2
#: order.side and fill.side.
BUY, SELL = 1, -1
#: order.action.
ENTER, REPLACE, CANCEL = 0, 1, 2
#: fill.kind.
ACCEPTED, REPLACED, EXECUTED, CANCELED, REJECTED = 1, 2, 3, 4, 5
#: Prices and sizes of an event times this are in currency and units.
SCALE = 1e-8


class StrategyError(AgentError):
    """A strategy cannot be found, compiled or initialised, or its cache cannot be used. problems: a line for each thing
    that is wrong; the message is the first, and says how many more there are."""

    def __init__(self, *problems: str) -> None:
        more = f" (and {len(problems) - 1} more, which agent check-config lists)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = problems


def find_symbol(params: Any, name: bytes) -> int:
    """Returns the index of the symbol with this name, such as b"BTCUSDT", or -1: for a strategy's init(), which Numba
    compiles it into."""
    for index in range(len(params.names)):
        text = params.names[index].text
        same = index < params.symbols and len(name) < len(text) and text[len(name)] == 0
        for at in range(min(len(name), len(text))):
            same = same and text[at] == name[at]
        if same:
            return index
    return -1


class Strategy:
    """A Numba strategy: Python functions over records, and the layout of its state.

    on_event(state, event, orders) -> int: how many of the records in `orders` (8 of them) it filled in, or a
    negative error code. on_fill(state, fill, orders) and on_timer(state, now_ns, orders) do the same;
    init(state, params) -> int prepares the zeroed state: 0, or a negative error code; fini(state) ends it.
    state: a NumPy dtype, or the list of fields for one. The records are those of agent/strategy/types.py.

    Only arithmetic on the records belongs into the functions: code that can raise, print, allocate or call Python does
    not compile (agent/strategy/forbidden.py), nor does a constant index past the 8 orders or an array of the state. Any
    other index past one of them writes over other memory.
    """

    def __init__(
        self,
        on_event: Callable[..., int],
        state: Any,
        init: Callable[..., int] | None = None,
        *,
        on_fill: Callable[..., int] | None = None,
        on_timer: Callable[..., int] | None = None,
        fini: Callable[..., None] | None = None,
    ) -> None:
        if not isinstance(on_event, FunctionType):
            raise TypeError(f"on_event: found {type(on_event).__name__}, allowed: a function")
        self.name = on_event.__module__.rpartition(".")[2]
        self.state = state
        self.functions = {"init": init, "on_event": on_event, "on_fill": on_fill, "on_timer": on_timer, "fini": fini}


class Loaded(NamedTuple):
    """A strategy, ready to be initialised: its name, its table of functions, and the object that owns their code.

    owner must live as long as the functions of the table are called.
    """

    name: str
    table: _table.Table
    owner: object


class Prepared(NamedTuple):
    """An initialised strategy. table, state: addresses, for the engine; loaded, memory: the objects that own what the
    addresses point to, which must live as long as the addresses are used."""

    table: int
    state: int
    loaded: Loaded
    memory: bytearray
