"""What the records of a journal add up to: positions, open orders, and where the exchange's session goes on."""

from collections.abc import Iterable

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
    negative. sequence: sequenced messages read in the exchange's session. queries: Account Queries that may still be
    answered. records: how many they are. limits: the decisions in force, by the names of AGENT_LIMITS."""

    reference: int
    positions: dict[int, int]
    open_orders: dict[int, OpenOrder]
    session: bytes
    sequence: int
    queries: int
    records: int
    limits: dict[str, Decision] = {}
    today: Today = msgspec.field(default_factory=Today)


def rebuild(records: Iterable[bytes | memoryview], symbols: int) -> State:
    """Returns what whole records of a journal with so many symbols add up to, given in pieces of whole records.

    Records with a number already seen are skipped (the writer died between file and ring). Raises JournalError when a
    number is missing (what is behind a hole cannot be trusted), and for a record that no engine writes: of an unknown
    kind, symbol or side, or with a quantity or number that no order has.
    """
    rebuilder = _rebuild.Rebuilder(symbols)
    try:
        for piece in records:
            rebuilder.add(piece)
    except ValueError as error:
        raise JournalError(str(error)) from None
    reference, positions, orders, session, sequence, queries, last, limits, day = rebuilder.result()
    held = {order[0]: OpenOrder(*order) for order in orders}
    decisions = {name: Decision(*row) for name, row in limits.items()}
    money = {symbol: Money(cash, price, peak) for symbol, (cash, price, peak, _) in day.symbols.items()}
    today = Today(day.day, day.orders, day.peak, money)
    return State(reference, positions, held, session, sequence, queries, last, decisions, today)
