# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""every_tick.py in Cython."""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from agent.strategy.abi cimport (AGENT_ABI, AGENT_BOOK, AGENT_BUY, AGENT_SELL, agent_event, agent_layout_hash,
                                 agent_order, agent_params, agent_strategy)

cdef struct State:
    int64_t size
    int64_t seen


cdef int32_t init(void *memory, const agent_params *params) noexcept nogil:
    (<State *> memory).size = params.size
    return 0


cdef int32_t on_event(void *memory, const agent_event *event, agent_order *orders) noexcept nogil:
    cdef State *state = <State *> memory
    if event.kind & AGENT_BOOK == 0:
        return 0
    state.seen += 1
    memset(orders, 0, sizeof(agent_order))
    orders.symbol = event.symbol
    orders.size = state.size
    if (state.seen & 1 and event.ask != 0) or event.bid == 0:
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
