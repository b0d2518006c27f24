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
    exchange took it back. contradicted: why the gate is shut, 0: it is not. done: the last orders of the session that
    are closed, (id, symbol, side, price, filled, accepted, whether the exchange has not seen it)."""

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
    done: list[tuple[int, int, int, int, int, bool, bool]] = []


class Sum:
    """What records add up to, piece by piece. symbols: how many the journal has. saved: save() of those before. Raises
    JournalError for what save() has not returned."""

    def __init__(self, symbols: int, saved: Any = None) -> None:
        self._rebuilder = _rebuild.Rebuilder(symbols)
        if saved is not None:
            try:
                self._rebuilder.load(saved)
            except (TypeError, ValueError, OverflowError, KeyError) as error:
                raise JournalError(f"no sum of a journal's records: {error}") from None

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

    def save(self) -> Any:
        """Returns all that goes on with the next record, as plain data: whole numbers of any size, texts, lists."""
        return self._rebuilder.save()

    @property
    def records(self) -> int:
        """How many records they are."""
        return self._rebuilder.last

    @property
    def state(self) -> State:
        """What they add up to."""
        reference, positions, orders, session, sequence, last, limits, day, over, executions, contradicted, done = (
            self._rebuilder.result()
        )
        held = {order[0]: OpenOrder(*order) for order in orders}
        decisions = {name: Decision(*row) for name, row in limits.items()}
        money = {symbol: Money(cash, price, peak) for symbol, (cash, price, peak, _) in day.symbols.items()}
        today = Today(day.day, day.orders, day.peak, money)
        return State(
            reference=reference,
            positions=positions,
            open_orders=held,
            session=session,
            sequence=sequence,
            records=last,
            limits=decisions,
            today=today,
            over=over,
            executions=executions,
            contradicted=contradicted,
            done=done,
        )


def rebuild(records: Iterable[bytes | memoryview], symbols: int) -> State:
    """Returns what whole records of a journal with so many symbols add up to, given in pieces of whole records. Raises
    JournalError as Sum.add()."""
    total = Sum(symbols)
    for piece in records:
        total.add(piece)
    return total.state
