# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Executions by the exchange's match number, so that none counts twice and one that is taken back is known.

A match has two orders, and both may be this engine's: an execution is known by its match number and its UserRefNum. An
order has one execution of a match, whatever the number: OUCH says of none that it is no number, 0 included.
Each has one place in the table; the later one takes it. Source: Nasdaq "OUCH 5.0" (Executed Order, Broken Trade).
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from agent.engine.state cimport EXECUTIONS, Core, Execution


cdef inline Execution *get_place(Core *e, uint64_t match, uint32_t id) noexcept nogil:
    """Returns the place of an execution; another one may be in it."""
    cdef uint64_t at = (match ^ <uint64_t> id << 32) * <uint64_t> 0x9E3779B97F4A7C15
    return &e.orders.executions[(at >> 32) & (EXECUTIONS - 1)]


cdef inline Execution *find_execution(Core *e, uint64_t match, uint32_t id) noexcept nogil:
    """Returns the execution, or NULL: there was none, or it is forgotten."""
    cdef Execution *x = get_place(e, match, id)
    return x if id != 0 and x.match == match and x.id == id else NULL


cdef inline void remember_execution(Core *e, uint64_t match, uint32_t id, uint32_t symbol, int32_t side,
                                    uint32_t units, uint64_t price) noexcept nogil:
    """Keep an execution. units 0: it was taken back."""
    cdef Execution *x = get_place(e, match, id)
    x.match = match
    x.id = id
    x.symbol = symbol
    x.side = side
    x.units = units
    x.price = price
