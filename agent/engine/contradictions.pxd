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
from agent.engine.gate cimport read_limit
from agent.engine.journal cimport write_record
from agent.engine.state cimport Core, OpenOrder


cdef inline const char *count_contradiction(Core *e, uint32_t why) noexcept nogil:
    """Count one. Returns the end of its counter's name."""
    if why == record.UNKNOWN_ORDER:
        e.counters.contradicted_order += 1
        return b"order"
    if why == record.WRONG_ANSWER:
        e.counters.contradicted_answer += 1
        return b"answer"
    if why == record.WRONG_SIDE:
        e.counters.contradicted_side += 1
        return b"side"
    if why == record.WRONG_SYMBOL:
        e.counters.contradicted_symbol += 1
        return b"symbol"
    if why == record.WRONG_PRICE:
        e.counters.contradicted_price += 1
        return b"price"
    if why == record.WRONG_SIZE:
        e.counters.contradicted_size += 1
        return b"size"
    if why == record.EXECUTED_TOO_MUCH:
        e.counters.contradicted_executed += 1
        return b"executed"
    if why == record.CANCELED_TOO_MUCH:
        e.counters.contradicted_canceled += 1
        return b"canceled"
    if why == record.WRONG_MATCH:
        e.counters.contradicted_match += 1
        return b"match"
    if why == record.LOST_SESSION:
        e.counters.contradicted_session += 1
        return b"session"
    e.counters.contradicted_value += 1
    return b"value"


cdef inline void remember_contradiction(Core *e, uint32_t why) noexcept nogil:
    """The gate is shut until `agent resume`."""
    e.orders.contradicted = why
    e.counters.contradicted = why
    e.risk.limits.kill = 1


cdef inline void shut_gate(Core *e, uint32_t why, const char *name, const OpenOrder *said) noexcept nogil:
    """Set the limit `kill`, if it is not set, and say why: the engine's own decision, which outlives it."""
    if not read_limit(&e.risk.limits.kill):
        snprintf(e.shm.tripped, sizeof(e.shm.tripped), "contradicted_%s: order %u", name, said.id)
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
    shut_gate(e, why, count_contradiction(e, why), &said)
    write_record(e, record.CONTRADICTED, &said, quantity, price, e.session.sequence if done else 0)


cdef inline void settle_contradiction(Core *e) noexcept nogil:
    """A person has taken `kill` back: what the exchange said was looked at."""
    cdef OpenOrder none
    memset(&none, 0, sizeof(none))
    e.orders.contradicted = record.SETTLED
    e.counters.contradicted = record.SETTLED
    write_record(e, record.CONTRADICTED, &none, 0, 0, 0)
