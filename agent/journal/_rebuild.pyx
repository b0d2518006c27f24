# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a journal's records add up to, fast enough for a restart late on a busy day."""

import collections
import itertools

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from agent.journal import _record

from agent.journal.record cimport (ACCEPTED, BROKEN, CANCELED, CAUGHT_UP, CONTRADICTED, ENTERED, EXECUTED, FINE,
                                   HALF_OF_REFERENCES, IGNORED, LIMIT_NAME, LIMIT_RESET, MAX_PRICE, MODIFIED,
                                   NEVER_REACHED, OVER, QUERIED, REJECTED, REPLACED, REPLACING, SESSION, JournalRecord,
                                   LimitRecord, find_fault, is_limit_record)

#: Executions that are given to the engine: as many as it knows.
cdef int EXECUTIONS = 32768
#: Orders that are done and are given to the engine: at least so many of the last ones, at most twice as many.
cdef int DONE = 4096
cdef object TICK = 10_000       # of 1e-8 in the 4 decimals of a price
cdef extern from *:
    """
    #define REBUILD_DAY INT64_C(86400000000000)
    """
    int64_t DAY "REBUILD_DAY"   # ns

#: What OpenOrder.filled of the engine holds.
cdef uint64_t MOST_FILLED = 0xFFFFFFFF


cdef class Rebuilt:
    """An order that the exchange may still hold, while the journal is read."""

    cdef uint32_t symbol        # index
    cdef uint32_t original      # the order that this one is to replace, or 0
    cdef int32_t side
    cdef int64_t leaves         # whole units
    cdef int64_t filled         # whole units, of it and of those that it replaced
    cdef uint64_t price         # 4 decimals
    cdef uint64_t tag
    cdef bint accepted
    cdef bint unseen            # done, since the exchange has not seen it


cdef Rebuilt add_order(dict orders, const JournalRecord *r, int64_t leaves):
    cdef Rebuilt o = Rebuilt.__new__(Rebuilt)
    o.symbol, o.side, o.original, o.price, o.tag, o.leaves = r.symbol, r.side, r.original, r.price, r.tag, leaves
    orders[r.id] = o
    return o


cdef int close_order(dict orders, dict done, uint32_t id, bint unseen) except -1:
    """An order is done. What is known of it is kept, since the exchange may say something of it all the same."""
    cdef Rebuilt o = orders.pop(id, None)
    if o is None:
        return 0
    o.unseen = unseen
    done.pop(id, None)
    done[id] = o
    if len(done) > 2 * DONE:
        for oldest in list(itertools.islice(done, DONE)):
            del done[oldest]
    return 0


cdef int reduce_order(dict orders, dict done, const JournalRecord *r) except -1:
    cdef Rebuilt o = orders.get(r.id)
    if o is None:
        o = done.get(r.id)
        if o is not None and r.kind == EXECUTED:
            o.filled = (o.filled + r.quantity) & <int64_t> MOST_FILLED
    else:
        # Modified to nothing is a cancellation, by which the exchange may have said another side.
        o.side, o.symbol = r.side, r.symbol
        o.leaves -= r.quantity
        if r.kind == EXECUTED:
            o.filled += r.quantity
            if <uint64_t> o.filled > MOST_FILLED:
                raise ValueError(f"record {r.number}: order {r.id}: found {o.filled} units executed of it and of those "
                                 f"that it replaced, allowed: at most {MOST_FILLED}")
        if o.leaves <= 0:
            close_order(orders, done, r.id, False)
    return 0


cdef int accept_order(dict orders, dict done, const JournalRecord *r) except -1:
    """An order was accepted, or has taken the place of another, or was modified: the exchange says what it holds now.
    Its limit stays what was sent, unless the exchange took it at a worse price; a modification says nothing of it."""
    cdef Rebuilt o = orders.get(r.id)
    cdef Rebuilt old
    if o is None:
        o = done.get(r.id)
        if r.kind == ACCEPTED and o is not None and not o.accepted and not o.unseen and o.filled:
            o.accepted = True       # executed whole before
            return 0
        # Entered by a process whose journal is not here, or taken for one that the exchange has not seen.
        done.pop(r.id, None)
        o = add_order(orders, r, 0)
    o.leaves = r.quantity
    if r.kind == REPLACED:
        replaced = r.original if r.original else o.original
        old = orders.get(replaced)
        if old is not None:
            o.filled = old.filled
            close_order(orders, done, replaced, False)
    elif r.kind == ACCEPTED and not o.accepted:
        # Executions may come before.
        o.leaves -= o.filled
    if r.kind != MODIFIED and 0 < r.price <= MAX_PRICE and (r.price > o.price if o.side > 0 else r.price < o.price):
        o.price = r.price
    o.side, o.symbol, o.original, o.accepted = r.side, r.symbol, 0, True
    if o.leaves <= 0:
        close_order(orders, done, r.id, False)
    return 0


cdef class Day:
    """Orders, profit and loss of the day (UTC) of the last record, as engine/losses.pxd counts them, but that each
    position is marked at its executions alone. Money in units of 1e-8."""

    cdef readonly int64_t day           # since 1970
    cdef readonly uint64_t orders
    cdef readonly object profit, peak   # of all symbols
    cdef readonly dict symbols          # [cash, last price, peak, profit] by index

    def __cinit__(self):
        self.profit = self.peak = 0
        self.symbols = {}

    cdef int begin(self, int64_t day, dict positions) except -1:
        """A day begins; positions by symbol index."""
        self.day, self.orders, self.profit, self.peak = day, 0, 0, 0
        for symbol, money in self.symbols.items():
            money[0] = -positions.get(symbol, 0) * money[1]
            money[2] = money[3] = 0
        return 0

    cdef int load(self, list saved) except -1:
        """What Rebuilder.save() says of it."""
        self.day, self.orders, self.profit, self.peak, symbols = saved
        for symbol, *money in symbols:
            if len(money) != 4 or not all(isinstance(number, int) for number in (*money, self.profit, self.peak)):
                raise ValueError(f"money of symbol {symbol}: {money}")
            self.symbols[<uint32_t> symbol] = money
        return 0

    cdef int add_execution(self, const JournalRecord *r, int64_t units, position) except -1:
        """units: bought, or sold (negative). position: after it."""
        money = self.symbols.setdefault(r.symbol, [0, 0, 0, 0])
        money[1] = r.price * TICK
        money[0] -= units * money[1]
        profit = money[0] + position * money[1]
        self.profit += profit - money[3]
        money[3] = profit
        money[2] = max(money[2], profit)
        self.peak = max(self.peak, self.profit)
        return 0


cdef class Rebuilder:
    """What the records of a journal with so many symbols add up to, given in pieces."""

    cdef readonly uint64_t last
    cdef uint64_t sequence
    cdef uint32_t reference, contradicted, symbols
    cdef dict orders, done, positions, limits
    cdef bytes session
    cdef bint over
    cdef object executions
    cdef Day today

    def __cinit__(self, uint32_t symbols):
        self.today = Day()
        self.symbols = symbols
        self.orders, self.done, self.positions, self.limits, self.session = {}, {}, {}, {}, b""
        self.executions = collections.deque(maxlen=EXECUTIONS)

    def add(self, const uint8_t[::1] records not None):
        """Add whole records, which follow those that were added before.

        Records with a number already seen are skipped (the writer died between file and ring). Raises ValueError when a
        number is missing, since what is behind a hole cannot be trusted, and for a record that no engine writes.
        """
        cdef const JournalRecord *r
        cdef Py_ssize_t i
        cdef int fault
        for i in range(records.shape[0] // <Py_ssize_t> sizeof(JournalRecord)):
            r = <const JournalRecord *> &records[i * <Py_ssize_t> sizeof(JournalRecord)]
            if r.number > self.last + 1:
                raise ValueError(f"record {r.number} follows record {self.last}: records are missing")
            fault = find_fault(r, self.symbols)
            if fault != FINE:
                raise ValueError(_record.check(records, i, self.symbols))
            if r.number <= self.last:
                continue
            self.last = r.number
            if is_limit_record(r):
                self.add_decision(<const LimitRecord *> r)
            else:
                self.add_record(r)

    cdef int add_decision(self, const LimitRecord *r) except -1:
        name = r.name[:LIMIT_NAME].rstrip(b"\0").decode()
        if r.kind == LIMIT_RESET:
            self.limits.pop(name, None)
        else:
            self.limits[name] = (r.new, r.uid, r.login, r.time_ns)
        return 0

    cdef int add_record(self, const JournalRecord *r) except -1:
        if r.time_ns // DAY > self.today.day:
            self.today.begin(r.time_ns // DAY, self.positions)
        if r.exchange_sequence:
            self.sequence = r.exchange_sequence
        if r.kind == SESSION:
            self.session = (<const char *> &r.tag)[:8] + (<const char *> &r.price)[:2]
            self.sequence, self.over = r.exchange_sequence, False
            self.done.clear()
            if self.reference > HALF_OF_REFERENCES:
                self.reference = 0
        elif r.kind == QUERIED:
            self.over = False
        elif r.kind == OVER:
            self.over = True
        elif r.kind == CONTRADICTED:
            self.contradicted = r.original
        elif r.kind == CAUGHT_UP:
            self.reference = max(self.reference, <uint32_t> (r.id - 1))
        elif r.kind == ENTERED or r.kind == REPLACING:
            self.reference = max(self.reference, r.id)
            self.today.orders += 1
            self.enter_order(r)
        elif r.kind == EXECUTED:
            self.add_units(r, r.side * <int64_t> r.quantity)
            self.executions.append((r.id, r.tag, r.symbol, r.side, r.quantity, r.price))
            reduce_order(self.orders, self.done, r)
        elif r.kind == BROKEN:
            self.add_units(r, -r.side * <int64_t> r.quantity)
            self.executions.append((r.id, r.tag, r.symbol, r.side, 0, r.price))
        elif r.kind == CANCELED:
            reduce_order(self.orders, self.done, r)
        elif r.kind == REJECTED or r.kind == NEVER_REACHED or r.kind == IGNORED:
            close_order(self.orders, self.done, r.id, r.kind != REJECTED)
        elif r.kind == ACCEPTED or r.kind == REPLACED or r.kind == MODIFIED:
            if r.id > self.reference:
                self.reference = r.id
                self.today.orders += 1
            accept_order(self.orders, self.done, r)
        return 0

    cdef int add_units(self, const JournalRecord *r, int64_t units) except -1:
        """The position of the record's symbol has so many units more, at the record's price."""
        position = self.positions[r.symbol] = self.positions.get(r.symbol, 0) + units
        self.today.add_execution(r, units, position)
        return 0

    cdef int enter_order(self, const JournalRecord *r) except -1:
        cdef Rebuilt o = add_order(self.orders, r, r.quantity)
        cdef Rebuilt old = self.orders.get(r.original)
        if old is not None:
            o.filled = old.filled
        return 0

    def save(self):
        """Returns all that goes on with the next record, as plain data; load() takes it. A field that is added to this
        class is added here and there, and layout.STATE_MAGIC changes."""
        cdef Day today = self.today
        return [self.reference, self.sequence, self.contradicted, bool(self.over), self.last,
                self.session.decode("latin-1"),
                [list(pair) for pair in self.positions.items()], [list(order) for order in self.list_orders()],
                [list(order) for order in self.list_done()],
                [[name, *row] for name, row in self.limits.items()],
                [today.day, today.orders, today.profit, today.peak, [[i, *row] for i, row in today.symbols.items()]],
                [list(execution) for execution in self.executions]]

    def load(self, list saved not None):
        """Go on behind the records that save() was called after. Raises TypeError, ValueError and OverflowError for
        what it has not returned."""
        cdef Rebuilt o
        (self.reference, self.sequence, self.contradicted, self.over, self.last,
         session, positions, orders, done, limits, today, executions) = saved
        self.session = str.encode(session, "latin-1")
        for symbol, units in positions:
            self.positions[self.require_symbol(symbol)] = <int64_t> units
        for id, symbol, side, leaves, price, tag, original, filled, accepted in orders:
            o = Rebuilt.__new__(Rebuilt)
            o.symbol, o.side, o.leaves, o.price, o.tag = self.require_symbol(symbol), side, leaves, price, tag
            o.original, o.filled, o.accepted = original, filled, accepted
            if o.side not in (1, -1) or o.leaves <= 0:
                raise ValueError(f"order {id}: side {side}, {leaves} units")
            self.orders[<uint32_t> id] = o
        for id, symbol, side, price, filled, accepted, unseen in done:
            o = Rebuilt.__new__(Rebuilt)
            o.symbol, o.side, o.price, o.filled = self.require_symbol(symbol), side, price, filled
            o.accepted, o.unseen = accepted, unseen
            if o.side not in (1, -1):
                raise ValueError(f"order {id}: side {side}")
            self.done[<uint32_t> id] = o
        for name, value, uid, login, time_ns in limits:
            self.limits[<str> name] = (<uint64_t> value, <uint32_t> uid, <uint32_t> login, <int64_t> time_ns)
        self.today.load(today)
        for symbol in self.today.symbols:
            self.require_symbol(symbol)
        for id, tag, symbol, side, quantity, price in executions:
            self.executions.append((<uint32_t> id, <uint64_t> tag, self.require_symbol(symbol), <int32_t> side,
                                    <uint32_t> quantity, <uint64_t> price))

    cdef object require_symbol(self, symbol):
        if not 0 <= symbol < self.symbols:
            raise ValueError(f"symbol {symbol}, allowed: below {self.symbols}")
        return <uint32_t> symbol

    cdef list list_orders(self):
        cdef Rebuilt o
        cdef list found = []
        for id in self.orders:
            o = self.orders[id]
            found.append((id, o.symbol, o.side, o.leaves, o.price, o.tag, o.original, o.filled, o.accepted))
        return found

    cdef list list_done(self):
        cdef Rebuilt o
        cdef list found = []
        for id in self.done:
            o = self.done[id]
            found.append((id, o.symbol, o.side, o.price, o.filled, o.accepted, o.unseen))
        return found

    def result(self):
        """Returns the last UserRefNum; units by symbol index; open orders as Engine.restore() takes them; the
        exchange's session, the sequenced messages read in it; records; (value, user, login's user, when) of each
        decision about a limit that is in force, by the limit's name; the last day; whether the session is over;
        executions as Engine.restore() takes them; why the gate is shut; orders that are done as Engine.restore() takes
        them."""
        return (self.reference, self.positions, self.list_orders(), self.session, self.sequence, self.last, self.limits,
                self.today, self.over, list(self.executions), self.contradicted, self.list_done())
