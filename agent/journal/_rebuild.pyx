# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a journal's records add up to, fast enough for a restart late on a busy day."""

from collections import deque

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from agent.journal import _record

from agent.journal.record cimport (ACCEPTED, BROKEN, CANCELED, CAUGHT_UP, CONTRADICTED, ENTERED, EXECUTED, FINE,
                                   HALF_OF_REFERENCES, IGNORED, LIMIT_NAME, LIMIT_RESET, MAX_PRICE, MODIFIED,
                                   NEVER_REACHED, OVER, QUERIED, REJECTED, REPLACED, REPLACING, SESSION, JournalRecord,
                                   LimitRecord, find_fault, is_limit_record)

#: Executions that are given to the engine: as many as it knows.
cdef int EXECUTIONS = 32768

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


cdef Rebuilt add_order(dict orders, const JournalRecord *r, int64_t leaves):
    cdef Rebuilt o = Rebuilt.__new__(Rebuilt)
    o.symbol, o.side, o.original, o.price, o.tag, o.leaves = r.symbol, r.side, r.original, r.price, r.tag, leaves
    orders[r.id] = o
    return o


cdef int reduce_order(dict orders, const JournalRecord *r) except -1:
    cdef Rebuilt o = orders.get(r.id)
    if o is not None:
        o.leaves -= r.quantity
        if r.kind == EXECUTED:
            o.filled += r.quantity
            if <uint64_t> o.filled > MOST_FILLED:
                raise ValueError(f"record {r.number}: order {r.id}: found {o.filled} units executed of it and of those "
                                 f"that it replaced, allowed: at most {MOST_FILLED}")
        if o.leaves <= 0:
            del orders[r.id]
    return 0


cdef int accept_order(dict orders, const JournalRecord *r) except -1:
    """An order was accepted, or has taken the place of another, or was modified: the exchange says what it holds now.
    Its limit stays what was sent, unless the exchange took it at a worse price."""
    cdef Rebuilt o = orders.get(r.id)
    cdef Rebuilt old
    if o is None:           # entered by a process whose journal is not here
        o = add_order(orders, r, 0)
    o.leaves = r.quantity
    if r.kind == REPLACED:
        old = orders.pop(r.original if r.original else o.original, None)
        if old is not None:
            o.filled = old.filled
    elif r.kind == ACCEPTED and not o.accepted:
        # Executions may come before.
        o.leaves -= o.filled
    if 0 < r.price <= MAX_PRICE and (r.price > o.price if o.side > 0 else r.price < o.price):
        o.price = r.price
    o.side, o.symbol, o.original, o.accepted = r.side, r.symbol, 0, True
    if o.leaves <= 0:
        del orders[r.id]
    return 0


cdef class Day:
    """Orders, profit and loss of the day (UTC) of the last record, as engine/losses.pxd counts them, but that each
    position is marked at its executions alone. Money in units of 1e-8."""

    cdef int64_t day            # since 1970
    cdef uint64_t orders
    cdef object profit, peak    # of all symbols
    cdef dict symbols           # [cash, last price, peak, profit] by index

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

    cdef int add_execution(self, const JournalRecord *r, int64_t units, position) except -1:
        """units: bought, negative for sold; position: after it."""
        money = self.symbols.setdefault(r.symbol, [0, 0, 0, 0])
        money[1] = r.price * TICK
        money[0] -= units * money[1]
        profit = money[0] + position * money[1]
        self.profit += profit - money[3]
        money[3] = profit
        money[2] = max(money[2], profit)
        self.peak = max(self.peak, self.profit)
        return 0

    cdef int restore(self, int64_t day, uint64_t orders, peak, dict money, dict positions) except -1:
        """Begin with what result() has returned, and the positions of that moment."""
        self.day, self.orders, self.peak = day, orders, peak
        for symbol, (cash, price, most) in money.items():
            self.symbols[symbol] = [cash, price, most, cash + positions.get(symbol, 0) * price]
            self.profit += self.symbols[symbol][3]
        return 0

    cdef tuple result(self):
        return self.day, self.orders, self.peak, {symbol: tuple(row[:3]) for symbol, row in self.symbols.items()}


cdef class Rebuilder:
    """What the records of a journal with so many symbols add up to, given in pieces."""

    cdef uint64_t last, sequence
    cdef uint32_t reference, contradicted, symbols
    cdef dict orders, positions, limits
    cdef bytes session
    cdef bint over
    cdef object executions
    cdef Day today

    def __cinit__(self, uint32_t symbols):
        self.today = Day()
        self.symbols = symbols
        self.orders, self.positions, self.limits, self.session = {}, {}, {}, b""
        self.executions = deque(maxlen=EXECUTIONS)

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
            self.add_execution(r, r.side * <int64_t> r.quantity)
            self.executions.append((r.id, r.tag, r.symbol, r.side, r.quantity, r.price))
            reduce_order(self.orders, r)
        elif r.kind == BROKEN:
            self.add_execution(r, -r.side * <int64_t> r.quantity)
            self.executions.append((r.id, r.tag, r.symbol, r.side, 0, r.price))
        elif r.kind == CANCELED:
            reduce_order(self.orders, r)
        elif r.kind == REJECTED or r.kind == NEVER_REACHED or r.kind == IGNORED:
            self.orders.pop(r.id, None)
        elif r.kind == ACCEPTED or r.kind == REPLACED or r.kind == MODIFIED:
            if r.id not in self.orders:
                self.reference = max(self.reference, r.id)
            accept_order(self.orders, r)
        return 0

    cdef int add_execution(self, const JournalRecord *r, int64_t units) except -1:
        """Units, negative for sold ones, at the record's price."""
        self.positions[r.symbol] = self.positions.get(r.symbol, 0) + units
        self.today.add_execution(r, units, self.positions[r.symbol])
        return 0

    cdef int enter_order(self, const JournalRecord *r) except -1:
        cdef Rebuilt o = add_order(self.orders, r, r.quantity)
        cdef Rebuilt old = self.orders.get(r.original)
        if old is not None:
            o.filled = old.filled
        return 0

    def result(self):
        """Returns the last UserRefNum; units by symbol index; open orders and executions as Engine.restore() takes
        them; the exchange's session, the sequenced messages read in it, whether it is over; why the gate is shut;
        records."""
    def restore(self, *, uint32_t reference, dict positions, open_orders, bytes session, uint64_t sequence,
                bint over, executions, uint32_t contradicted, uint64_t records, dict limits, today):
        """Begin with what result() has returned of the records before. Raises ValueError and OverflowError for an order
        of an unknown symbol, and for a number that does not fit."""
        cdef Rebuilt o
        for id, symbol, side, leaves, price, tag, original, filled, accepted in open_orders:
            o = Rebuilt.__new__(Rebuilt)
            o.symbol, o.side, o.leaves, o.price, o.tag = symbol, side, leaves, price, tag
            o.original, o.filled, o.accepted = original, filled, accepted
            self.orders[id] = o
            if o.symbol >= self.symbols or side not in (1, -1) or o.leaves <= 0:
                raise ValueError(f"order {id} of symbol {symbol}, side {side}, {leaves} units")
        day, orders, peak, money = today
        if any(not 0 <= symbol < self.symbols for symbol in (*positions, *money)):
            raise ValueError(f"positions of symbols {sorted((*positions, *money))}, allowed: below {self.symbols}")
        if any(not 0 <= execution[2] < self.symbols for execution in executions):
            raise ValueError(f"an execution of a symbol from {self.symbols} on")
        self.reference, self.sequence, self.last = reference, sequence, records
        self.over, self.contradicted = over, contradicted
        self.executions.extend(executions)
        self.positions, self.session, self.limits = dict(positions), session, dict(limits)
        self.today.restore(day, orders, peak, money, positions)

    def result(self):
        """Returns a dict: reference, the last UserRefNum; positions, units by symbol index; open_orders as
        Engine.restore() takes them; session, the exchange's, sequence, the sequenced messages read in it, over, whether
        it is; executions as Engine.restore() takes them; contradicted, why the gate is shut; records, how many; limits, (value, user, login's user, when) of each
        decision about a limit that is in force, by the limit's name; today, (day, orders, peak, {symbol: (cash, last
        price, peak)})."""
        cdef Rebuilt o
        found = []
        for id in self.orders:
            o = self.orders[id]
            found.append((id, o.symbol, o.side, o.leaves, o.price, o.tag, o.original, o.filled, o.accepted))
        return dict(reference=self.reference, positions=self.positions, open_orders=found, session=self.session,
                    sequence=self.sequence, over=self.over, executions=list(self.executions),
                    contradicted=self.contradicted, records=self.last, limits=self.limits,
                    today=self.today.result())
