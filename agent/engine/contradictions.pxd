# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What the exchange said that cannot be: counted by its kind, journaled, and the gate shut until a person has looked.

The limit `kill` is set, so that no order passes and open ones are cancelled; `agent resume` takes it back, and with it
the contradiction. What the answer says is done all the same where that can be known.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memset

cimport agent.journal.record as record
cimport agent.protocols.ouch as ouch
from agent.engine.decisions cimport decide_limit
from agent.engine.journal cimport write_record
from agent.engine.state cimport Core, OpenOrder
from agent.shm.segment cimport name_counter, read_word


cdef inline uint64_t *choose_counter(Core *e, uint32_t why) noexcept nogil:
    """Returns the counter of this kind."""
    if why == record.UNKNOWN_ORDER:
        return &e.counters.contradicted_order
    if why == record.WRONG_ANSWER:
        return &e.counters.contradicted_answer
    if why == record.WRONG_SIDE:
        return &e.counters.contradicted_side
    if why == record.WRONG_SYMBOL:
        return &e.counters.contradicted_symbol
    if why == record.WRONG_PRICE:
        return &e.counters.contradicted_price
    if why == record.WRONG_SIZE:
        return &e.counters.contradicted_size
    if why == record.EXECUTED_TOO_MUCH:
        return &e.counters.contradicted_executed
    if why == record.CANCELED_TOO_MUCH:
        return &e.counters.contradicted_canceled
    if why == record.WRONG_MATCH:
        return &e.counters.contradicted_match
    if why == record.LOST_SESSION:
        return &e.counters.contradicted_session
    return &e.counters.contradicted_value


cdef inline void remember_contradiction(Core *e, uint32_t why) noexcept nogil:
    """The gate is shut until `agent resume`."""
    e.orders.contradicted = why
    e.counters.contradicted = why
    e.risk.limits.kill = 1
    e.risk.killed = True


cdef inline void shut_gate(Core *e, uint32_t why, const OpenOrder *said) noexcept nogil:
    """Count one, set the limit `kill`, if it is not set, and say why: the engine's own decision, which outlives it."""
    cdef uint64_t *counter = choose_counter(e, why)
    counter[0] += 1
    if not read_word(&e.risk.limits.kill):
        snprintf(e.shm.tripped, sizeof(e.shm.tripped), "%s: order %u", name_counter(e.shm, counter), said.id)
        decide_limit(e, &e.risk.limits.kill, 1)
    remember_contradiction(e, why)


cdef inline void contradict(Core *e, uint32_t why, const ouch.Answer *a, const OpenOrder *o, bint done) noexcept nogil:
    """The exchange contradicted what is known. a: its answer, or NULL; o: the order it is about, where that is known,
    else NULL. done: no record of what the answer has done follows, so this one says that it need not come again."""
    cdef OpenOrder said
    cdef uint32_t quantity = 0
    cdef uint64_t price = 0
    memset(&said, 0, sizeof(said))
    if o != NULL:
        said.symbol = o.symbol
        said.side = o.side
    if a != NULL:
        said.id = a.id
        said.tag = a.match
        quantity = a.quantity
        price = a.price
    said.original = why
    shut_gate(e, why, &said)
    write_record(e, record.CONTRADICTED, &said, quantity, price, e.session.sequence if done else 0)


cdef inline void settle_contradiction(Core *e) noexcept nogil:
    """A person has taken `kill` back: what the exchange said was looked at."""
    cdef OpenOrder none
    memset(&none, 0, sizeof(none))
    e.orders.contradicted = record.SETTLED
    e.counters.contradicted = record.SETTLED
    write_record(e, record.CONTRADICTED, &none, 0, 0, 0)
