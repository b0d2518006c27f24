# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""strategy/include/agent_strategy.h, as Cython sees it: the layouts are its own."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


cdef extern from "agent_strategy.h" nogil:
    const int AGENT_ABI
    const int64_t AGENT_SCALE
    const int AGENT_MAX_ORDERS
    const int AGENT_VALUES
    const int AGENT_SYMBOLS
    const int AGENT_NAME
    const uint32_t AGENT_BOOK
    const uint32_t AGENT_TRADE
    const uint32_t AGENT_STATE
    const uint32_t AGENT_UNTOLD
    const uint32_t AGENT_UNKNOWN
    const uint32_t AGENT_TRADING
    const uint32_t AGENT_QUOTING
    const uint32_t AGENT_PAUSED
    const uint32_t AGENT_HALTED
    const uint32_t AGENT_HALTED_HERE
    const uint32_t AGENT_CLOSED
    const uint32_t AGENT_PRE_MARKET
    const uint32_t AGENT_OPEN
    const uint32_t AGENT_POST_MARKET
    const uint32_t AGENT_ENDED
    const uint32_t AGENT_SHORT_UNTOLD
    const uint32_t AGENT_SHORT_FREE
    const uint32_t AGENT_SHORT_RESTRICTED
    const int32_t AGENT_BUY
    const int32_t AGENT_SELL
    const uint32_t AGENT_ENTER
    const uint32_t AGENT_REPLACE
    const uint32_t AGENT_CANCEL
    const uint32_t AGENT_ACCEPTED
    const uint32_t AGENT_REPLACED
    const uint32_t AGENT_EXECUTED
    const uint32_t AGENT_CANCELED
    const uint32_t AGENT_REJECTED

    struct agent_event:
        uint64_t sequence
        int64_t received_ns
        int64_t exchange_ns
        int64_t exchange_id
        int64_t bid
        int64_t bid_size
        int64_t ask
        int64_t ask_size
        int64_t price
        int64_t size
        uint32_t kind
        uint32_t symbol
        int64_t collar_low
        int64_t collar_high
        uint32_t state
        uint32_t market
        uint32_t short_sale
        uint32_t auction
        uint32_t breached
        uint32_t day

    struct agent_order:
        double price
        int64_t size
        uint64_t id
        uint64_t tag
        int32_t side
        uint32_t symbol
        uint32_t action
        uint32_t reserved

    struct agent_fill:
        uint64_t id
        uint64_t tag
        int64_t received_ns
        int64_t size
        int64_t leaves
        int64_t position
        double price
        int32_t side
        uint32_t symbol
        uint32_t kind
        uint32_t reason

    ctypedef struct agent_name:
        char *text

    struct agent_params:
        double fast
        double slow
        int64_t size
        uint64_t symbols
        double *values
        agent_name *names

    ctypedef int32_t (*agent_init_fn)(void *, const agent_params *) noexcept nogil
    ctypedef int32_t (*agent_on_event_fn)(void *, const agent_event *, agent_order *) noexcept nogil
    ctypedef int32_t (*agent_on_fill_fn)(void *, const agent_fill *, agent_order *) noexcept nogil
    ctypedef int32_t (*agent_on_timer_fn)(void *, int64_t, agent_order *) noexcept nogil
    ctypedef void (*agent_fini_fn)(void *) noexcept nogil

    struct agent_strategy:
        uint32_t abi
        uint32_t size
        uint64_t layout
        uint64_t state_size
        agent_init_fn init
        agent_on_event_fn on_event
        agent_on_fill_fn on_fill
        agent_on_timer_fn on_timer
        agent_fini_fn fini

    int32_t agent_find_symbol(const agent_params *, const char *)
    uint64_t agent_layout_hash()
