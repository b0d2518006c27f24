# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""ema_cross.py in Cython: the same arithmetic in the same order."""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from agent.strategy.abi cimport (AGENT_ABI, AGENT_BOOK, AGENT_BUY, AGENT_SELL, agent_event, agent_layout_hash,
                                 agent_order, agent_params, agent_strategy)

cdef enum:
    SYMBOLS = 256

cdef struct Averages:
    double fast
    double slow
    int64_t seen
    int64_t above

cdef struct State:
    double alpha_fast
    double alpha_slow
    int64_t warm_up
    int64_t size
    Averages of[SYMBOLS]


cdef int32_t init(void *memory, const agent_params *params) noexcept nogil:
    cdef State *state = <State *> memory
    if not (1.0 <= params.fast <= 1e9 and 1.0 <= params.slow <= 1e9):
        return -1
    state.alpha_fast = 2.0 / (params.fast + 1.0)
    state.alpha_slow = 2.0 / (params.slow + 1.0)
    state.warm_up = <int64_t> params.slow
    state.size = params.size
    return 0


cdef int32_t on_event(void *memory, const agent_event *event, agent_order *orders) noexcept nogil:
    cdef State *state = <State *> memory
    cdef Averages *own
    cdef double mid
    cdef int64_t above, before
    if event.kind & AGENT_BOOK == 0 or event.bid == 0 or event.ask == 0 or event.symbol >= SYMBOLS:
        return 0
    own = &state.of[event.symbol]
    mid = (<double> event.bid + <double> event.ask) * (0.5 * 1e-8)
    if own.seen == 0:
        own.fast = mid
        own.slow = mid
    own.fast += state.alpha_fast * (mid - own.fast)
    own.slow += state.alpha_slow * (mid - own.slow)
    own.seen += 1
    above = before = own.above
    if own.fast > own.slow:
        above = 1
    elif own.fast < own.slow:
        above = -1
    own.above = above
    if above == before or before == 0 or own.seen <= state.warm_up:
        return 0
    memset(orders, 0, sizeof(agent_order))
    orders.symbol = event.symbol
    orders.size = state.size
    if above > 0:
        orders.side = AGENT_BUY
        orders.price = event.ask * 1e-8
    else:
        orders.side = AGENT_SELL
        orders.price = event.bid * 1e-8
    return 1


cdef agent_strategy table
memset(&table, 0, sizeof(table))
table.abi = AGENT_ABI
table.size = sizeof(agent_strategy)
table.layout = agent_layout_hash()
table.state_size = sizeof(State)
table.init = init
table.on_event = on_event

STRATEGY = PyCapsule_New(&table, "agent.strategy", NULL)
