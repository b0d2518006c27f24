"""What the records of a journal add up to: positions, open orders, and where the exchange's session goes on."""

from collections.abc import Iterable
from typing import Any

import msgspec

from agent.journal import _rebuild
from agent.journal.errors import JournalError


class OpenOrder(msgspec.Struct):
    """An order that the exchange may still hold. leaves and filled in whole units, price with 4 decimals; symbol is an
    index into the journal's symbols; original: the order that it is to replace, 0 for none."""

    id: int
    symbol: int
    side: int
    leaves: int
    price: int
    tag: int
    original: int
    filled: int = 0
    accepted: bool = False


class Money(msgspec.Struct):
    """A symbol's part of a day, in units of 1e-8: what its sells brought less what its buys cost (the position that the
    day began with: as if bought then, at the price of the execution before), the last execution's price, and the most
    that profit was."""

    cash: int
    last: int
    peak: int


class Today(msgspec.Struct):
    """The day (since 1970, UTC) of the last record: orders sent in it, the most that the profit of all symbols was (in
    units of 1e-8), and the money by symbol index. What engine/losses.pxd says holds, but that a position is marked at
    its executions alone: the journal has no quotes."""

    day: int = 0
    orders: int = 0
    peak: int = 0
    symbols: dict[int, Money] = {}


class Decision(msgspec.Struct):
    """A limit that was changed, and keeps its value. value: in the units of AGENT_LIMITS (agent_shm.h). uid, login: the
    user who did it, and whose login it came from; agent.journal.record.name_user() says what of no user. time_ns:
    CLOCK_REALTIME."""

    value: int
    uid: int
    login: int
    time_ns: int


class State(msgspec.Struct):
    """What the records add up to. reference: the last UserRefNum. positions: whole units by symbol index, short is
    negative. sequence: sequenced messages read in the exchange's session. records: how many they are. over: the
    session's end was read. executions: the last ones, (id, match number, symbol, side, units, price); 0 units: the
    exchange took it back. contradicted: why the gate is shut, 0: it is not."""

    reference: int
    positions: dict[int, int]
    open_orders: dict[int, OpenOrder]
    session: bytes
    sequence: int
    records: int
    limits: dict[str, Decision] = {}
    today: Today = msgspec.field(default_factory=Today)
    over: bool = False
    executions: list[tuple[int, int, int, int, int, int]] = []
    contradicted: int = 0


class Sum:
    """What records add up to, piece by piece. symbols: how many the journal has. state: what those before add up to."""

    def __init__(self, symbols: int, state: State | None = None) -> None:
        self._rebuilder = _rebuild.Rebuilder(symbols)
        if state is not None:
            try:
                self._rebuilder.restore(**_unpack(state))
            except (ValueError, OverflowError) as error:
                raise JournalError(f"no state of a journal: {error}") from None

    def add(self, records: bytes | memoryview) -> None:
        """Add whole records.

        Records with a number already seen are skipped (the writer died between file and ring). Raises JournalError when
        a number is missing (what is behind a hole cannot be trusted), and for a record that no engine writes: of an
        unknown kind, symbol or side, or with a quantity or number that no order has.
        """
        try:
            self._rebuilder.add(records)
        except ValueError as error:
            raise JournalError(str(error)) from None

    @property
    def state(self) -> State:
        found = self._rebuilder.result()
        held = {order[0]: OpenOrder(*order) for order in found.pop("open_orders")}
        decisions = {name: Decision(*row) for name, row in found.pop("limits").items()}
        *today, money = found.pop("today")
        today = Today(*today, {symbol: Money(*row) for symbol, row in money.items()})
        return State(open_orders=held, limits=decisions, today=today, **found)


def _unpack(state: State) -> dict[str, Any]:
    """Returns a state as Rebuilder.result() has it."""
    found = msgspec.structs.asdict(state)
    found["open_orders"] = [msgspec.structs.astuple(order) for order in state.open_orders.values()]
    found["limits"] = {name: msgspec.structs.astuple(one) for name, one in state.limits.items()}
    *today, money = msgspec.structs.astuple(state.today)
    found["today"] = (*today, {symbol: msgspec.structs.astuple(row) for symbol, row in money.items()})
    return found


def rebuild(records: Iterable[bytes | memoryview], symbols: int, state: State | None = None) -> State:
    """Returns what whole records of a journal with so many symbols add up to, given in pieces of whole records, behind
    those that add up to state. Raises JournalError as Sum."""
    total = Sum(symbols, state)
    for piece in records:
        total.add(piece)
    return total.state
