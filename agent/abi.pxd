"""The C headers of include/, as Cython sees them: the layouts are theirs."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


cdef extern from "agent_strategy.h" nogil:
    const int AGENT_ABI
    const int64_t AGENT_SCALE
    const int AGENT_MAX_ORDERS
    const uint32_t AGENT_BOOK
    const uint32_t AGENT_TRADE
    const int32_t AGENT_BUY
    const int32_t AGENT_SELL

    struct agent_tick:
        uint64_t sequence
        int64_t received_ns
        int64_t exchange_id
        int64_t bid
        int64_t bid_size
        int64_t ask
        int64_t ask_size
        int64_t price
        int64_t size
        uint32_t kind
        uint32_t symbol

    struct agent_order:
        double price
        int64_t size
        int32_t side
        uint32_t symbol

    struct agent_params:
        double fast
        double slow
        int64_t size

    ctypedef int32_t (*agent_init_fn)(void *, const agent_params *) noexcept nogil
    ctypedef int32_t (*agent_on_event_fn)(void *, const agent_tick *, agent_order *) noexcept nogil


cdef extern from "agent_shm.h" nogil:
    const uint32_t AGENT_STARTING
    const uint32_t AGENT_CONNECTING
    const uint32_t AGENT_RUNNING
    const uint32_t AGENT_STOPPED
    const int AGENT_HIST_BITS
    const int AGENT_HIST_BUCKETS

    struct agent_histogram:
        uint64_t count
        uint64_t sum
        uint64_t min
        uint64_t max
        uint64_t *buckets

    struct agent_counters:
        uint64_t datagrams
        uint64_t datagram_bytes
        uint64_t messages
        uint64_t book_ticker
        uint64_t trade
        uint64_t depth_update
        uint64_t other
        uint64_t malformed_truncated
        uint64_t malformed_json
        uint64_t malformed_field
        uint64_t malformed_number
        uint64_t other_symbol
        uint64_t malformed_datagram
        uint64_t heartbeats
        uint64_t end_of_session
        uint64_t sessions
        uint64_t gaps
        uint64_t lost
        uint64_t duplicates
        uint64_t kernel_drops
        uint64_t receive_errors
        uint64_t receive_buffer
        uint64_t events
        uint64_t strategy_errors
        uint64_t orders_wanted
        uint64_t orders_sent
        uint64_t reject_closed
        uint64_t reject_backlog
        uint64_t reject_side
        uint64_t reject_symbol
        uint64_t reject_size
        uint64_t reject_price
        uint64_t reject_notional
        uint64_t reject_rate
        uint64_t reject_count
        uint64_t send_short
        uint64_t send_refused
        uint64_t accepted
        uint64_t rejected
        uint64_t answers_unmatched
        uint64_t exchange_other
        uint64_t exchange_malformed
        uint64_t exchange_heartbeats
        uint64_t heartbeats_sent
        uint64_t logins
        uint64_t connection_lost
        uint64_t orders_unanswered
        uint64_t empty_polls
        uint64_t yields

    struct agent_histograms:
        agent_histogram own_code
        agent_histogram send
        agent_histogram order_ack

    struct agent_shm:
        uint32_t state
        uint64_t size
        uint64_t pid
        uint64_t start_time
        int64_t started_ns
        int64_t heartbeat_ns
        char boot_id[40]
        char ended[128]
        agent_counters counters
        agent_histograms histograms

    void agent_shm_init(agent_shm *)
