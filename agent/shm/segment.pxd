# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""shm/include/agent_shm.h, as Cython sees it: layout and descriptions are the header's own.

A member that is missing here cannot be reached from Cython, one that the header lacks does not compile, and the order
here means nothing: C looks each up by its name. What each says stands in the header.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport strcmp


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
        uint64_t packets_first
        uint64_t packets_second
        uint64_t packets_retransmitted
        uint64_t messages
        uint64_t book_ticker
        uint64_t trade
        uint64_t itch
        uint64_t depth_update
        uint64_t other
        uint64_t malformed_truncated
        uint64_t malformed_oversized
        uint64_t malformed_type
        uint64_t malformed_json
        uint64_t malformed_field
        uint64_t malformed_number
        uint64_t malformed_datagram
        uint64_t malformed_symbol
        uint64_t other_symbol
        uint64_t refused_crossed
        uint64_t refused_zero_size
        uint64_t refused_zero_price
        uint64_t refused_repeated
        uint64_t refused_backward
        uint64_t refused_time_backward
        uint64_t refused_zero_trade
        uint64_t refused_repeated_trade
        uint64_t refused_backward_trade
        uint64_t quotes_restarted
        uint64_t stamps_mixed
        uint64_t stamps_implausible
        uint64_t heartbeats
        uint64_t end_of_session
        uint64_t sessions
        uint64_t gaps
        uint64_t healed
        uint64_t lost
        uint64_t duplicates
        uint64_t wrong_session
        uint64_t wrong_source
        uint64_t far_ahead
        uint64_t feed_contested
        uint64_t requests
        uint64_t held_dropped
        uint64_t kernel_drops
        uint64_t receive_errors
        uint64_t receive_buffer
        uint64_t ring_damaged
        uint64_t book_huge_pages
        uint64_t book_inconsistent
        uint64_t books_stale
        uint64_t day_starts
        uint64_t market
        uint64_t market_breached
        uint64_t trades_broken
        uint64_t events
        uint64_t fills
        uint64_t timers
        uint64_t strategy_errors
        uint64_t orders_wanted
        uint64_t orders_sent
        uint64_t replaces_sent
        uint64_t cancels_sent
        uint64_t reject_closed
        uint64_t reject_killed
        uint64_t reject_contradicted
        uint64_t reject_backlog
        uint64_t reject_journal
        uint64_t reject_stale
        uint64_t reject_action
        uint64_t reject_side
        uint64_t reject_symbol
        uint64_t reject_size
        uint64_t reject_price
        uint64_t reject_notional
        uint64_t reject_collar
        uint64_t reject_position
        uint64_t reject_open_orders
        uint64_t reject_duplicate
        uint64_t reject_rate
        uint64_t reject_old
        uint64_t reject_self_match
        uint64_t reject_daily
        uint64_t reject_id
        uint64_t reject_exhausted
        uint64_t reject_count
        uint64_t reject_closed_market
        uint64_t reject_halted
        uint64_t reject_crossed
        uint64_t reject_short
        uint64_t send_short
        uint64_t send_refused
        uint64_t accepted
        uint64_t replaced
        uint64_t executed
        uint64_t canceled
        uint64_t rejected
        uint64_t replaces_ignored
        uint64_t cancel_rejected
        uint64_t answers_unmatched
        uint64_t orders_adopted
        uint64_t broken_trades
        uint64_t contradicted
        uint64_t contradicted_order
        uint64_t contradicted_answer
        uint64_t contradicted_side
        uint64_t contradicted_symbol
        uint64_t contradicted_price
        uint64_t contradicted_size
        uint64_t contradicted_executed
        uint64_t contradicted_canceled
        uint64_t contradicted_match
        uint64_t contradicted_session
        uint64_t contradicted_value
        uint64_t exchange_other
        uint64_t exchange_malformed
        uint64_t exchange_heartbeats
        uint64_t exchange_sequence
        uint64_t heartbeats_sent
        uint64_t logins
        uint64_t connection_lost
        uint64_t orders_open
        uint64_t orders_today
        uint64_t loss_kills
        uint64_t orders_never_reached
        uint64_t journal_records
        uint64_t receive_calls
        uint64_t send_calls
        uint64_t empty_polls
        uint64_t yields
        uint64_t warmed
        uint64_t minor_faults
        uint64_t major_faults
        uint64_t involuntary_switches

    struct agent_histograms:
        agent_histogram kernel
        agent_histogram receive
        agent_histogram parse
        agent_histogram book
        agent_histogram strategy
        agent_histogram risk
        agent_histogram encode
        agent_histogram send
        agent_histogram own_code
        agent_histogram total
        agent_histogram order_ack

    struct agent_limits:
        uint64_t kill
        uint64_t max_size
        uint64_t max_notional
        uint64_t collar_ppm
        uint64_t max_position
        uint64_t max_open_orders
        uint64_t rate_interval_ns
        uint64_t rate_burst_ns
        uint64_t duplicate_ns
        uint64_t max_tick_age_ns
        uint64_t max_orders_per_day
        uint64_t refuse_self_match
        uint64_t max_loss
        uint64_t max_drawdown
        uint64_t max_symbol_loss
        uint64_t max_symbol_drawdown
        uint64_t allow_unknown
        uint64_t allow_quoting
        uint64_t allow_paused
        uint64_t allow_halted
        uint64_t allow_halted_here
        uint64_t allow_closed
        uint64_t allow_pre_market
        uint64_t allow_post_market
        uint64_t allow_locked
        uint64_t allow_crossed
        uint64_t allow_short

    struct agent_symbol:
        uint64_t name
        uint64_t name_8
        uint64_t name_16
        uint64_t stale
        uint64_t bid
        uint64_t bid_size
        uint64_t ask
        uint64_t ask_size
        uint64_t position
        uint64_t open_buy
        uint64_t open_sell
        uint64_t tick_ns
        uint64_t profit
        uint64_t state
        uint64_t short_sale
        uint64_t auction
        uint64_t collar_low
        uint64_t collar_high

    struct agent_request:
        uint64_t uid
        uint64_t login
        uint64_t begun
        uint64_t complete
        uint64_t answered
        uint64_t journaled

    struct agent_shm:
        char magic[8]
        uint32_t version
        uint32_t state              # AGENT_STARTING to AGENT_STOPPED
        uint64_t size               # bytes of the segment
        uint64_t pid
        uint64_t start_time         # clock ticks after boot
        int64_t started_ns          # CLOCK_REALTIME
        int64_t heartbeat_ns        # CLOCK_MONOTONIC
        uint64_t counters_offset    # bytes from the segment's begin, as all offsets
        uint64_t counters_count
        uint64_t histograms_offset
        uint64_t histograms_count
        uint64_t histogram_bits
        uint64_t histogram_buckets
        uint64_t limits_offset
        uint64_t limits_count
        uint64_t symbols_offset
        uint64_t symbols_count
        uint64_t symbol_words
        uint64_t names_offset
        uint64_t names_size
        char boot_id[40]
        char ended[128]
        char tripped[128]
        char feed_session[16]
        uint64_t configured_offset
        agent_request request
        uint64_t abi
        char build[32]
        agent_counters counters
        agent_histograms histograms
        agent_symbol *symbols
        agent_limits limits
        agent_limits configured

    enum: AGENT_LIMIT_NAME
    const char *AGENT_SHM_MAGIC
    const uint32_t AGENT_SHM_VERSION
    const size_t AGENT_HEADER_SIZE
    uint64_t agent_shm_size(uint64_t symbols)
    void agent_shm_init(agent_shm *s, uint64_t symbols)

    struct agent_word:
        const char *name
        const char *kind
        const char *text
        size_t offset
    const agent_word *AGENT_COUNTER_WORDS
    const agent_word *AGENT_HISTOGRAM_WORDS
    const agent_word *AGENT_LIMIT_WORDS
    const agent_word *AGENT_SYMBOL_WORDS
    const agent_word *AGENT_REQUEST_WORDS


cdef inline int64_t read_word(const uint64_t *word) noexcept nogil:
    """Read a word that another process may be writing, once and alone. (A compiler else reads two at once; if one of
    them was written just now, both then wait until it is in the cache.)"""
    return <int64_t> (<const volatile uint64_t *> word)[0]


cdef inline uint64_t *find_counter(agent_shm *shm, const char *name) noexcept nogil:
    """Returns the counter of this name in a segment, or NULL."""
    cdef const agent_word *word = AGENT_COUNTER_WORDS
    while word.name != NULL and strcmp(word.name, name) != 0:
        word += 1
    return NULL if word.name == NULL else <uint64_t *> (<char *> shm + word.offset)


cdef inline const char *name_counter(const agent_shm *shm, const uint64_t *counter) noexcept nogil:
    """Returns the name of a counter in a segment."""
    cdef const agent_word *word = AGENT_COUNTER_WORDS
    while word.name != NULL and <const char *> shm + word.offset != <const char *> counter:
        word += 1
    return word.name


cdef inline int set_limits(agent_limits *limits, dict values) except -1:
    """Set limits by the names of AGENT_LIMITS, in their units. Raises ValueError for an unknown name, and then sets
    none of them."""
    cdef const agent_word *word = AGENT_LIMIT_WORDS
    cdef dict offsets = {}
    while word.name != NULL:
        offsets[word.name.decode()] = word.offset - AGENT_LIMIT_WORDS[0].offset
        word += 1
    for key in values:
        if key not in offsets:
            raise ValueError(f"limit: {key!r}, allowed: {', '.join(offsets)}")
    for key, value in values.items():
        (<uint64_t *> (<char *> limits + <size_t> offsets[key]))[0] = <uint64_t> (value & 0xFFFFFFFFFFFFFFFF)
    return 0
