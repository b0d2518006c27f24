# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One engine's memory: what the parts of the loop share. No function of the loop allocates."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.time cimport timespec

from agent.strategy.abi cimport agent_event, agent_fill, agent_order, agent_strategy
from agent.book.order_book cimport Books
from agent.protocols.moldudp64 cimport Mold
from agent.shm.ring cimport Ring
from agent.shm.series cimport Series
from agent.shm.segment cimport agent_counters, agent_histograms, agent_limits, agent_shm, agent_symbol


cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr


cdef enum:
    SLOTS = 65536               # open orders that can be known at once; a power of two
    BACKLOG = 4096              # bytes of unsent order entry
    STREAM = 65536
    LOCATES = 65536

    # feed.format
    BINANCE = 0
    ITCH = 1
    CSV = 2

    # the link to the exchange
    DOWN = 0
    CONNECTING = 1
    LOGGING_IN = 2
    CATCHING_UP = 3             # logged in; the answer to the Account Query ends the replay
    UP = 4

    # why the loop ends
    RUN = 0
    STOP_SIGNAL = 1
    STOP_LOST = 2
    STOP_REFUSED = 3
    STOP_SESSION = 4

    # by_locate
    NOT_OURS = -1
    NOT_SEEN = -2

    # Open.state
    SENT = 1
    LIVE = 2


cdef struct Open:
    uint32_t id                 # UserRefNum; 0: the slot is free
    uint32_t original           # the order that this one is to replace, or 0
    uint32_t replacement        # the last Replace of it; it may not be pending any more
    uint32_t symbol
    uint32_t leaves             # whole units
    uint32_t filled             # of it and of those it replaced: OUCH counts them in its quantities
    int32_t side
    uint32_t state
    uint64_t price              # 4 decimals
    uint64_t tag
    int64_t sent_at             # CLOCK_MONOTONIC ns; 0: by an earlier process
    uint64_t sequence           # MoldUDP64 sequence number of the message that caused it


# One record of the journal; agent/journal/file.py reads the same 64 bytes.
cdef struct Entry:
    uint64_t number             # of the record, without holes
    int64_t time_ns             # CLOCK_REALTIME
    uint64_t exchange_sequence  # SoupBinTCP sequence number of an answer; 0: ours
    uint64_t price              # 4 decimals
    uint64_t tag
    uint32_t kind
    uint32_t id
    uint32_t original
    uint32_t quantity
    int32_t side
    uint32_t symbol             # index in the engine's configuration


cdef enum:                      # Entry.kind
    ENTERED = 1                 # given to the socket, or about to be
    REPLACING = 2
    ACCEPTED = 3
    REPLACED = 4
    EXECUTED = 5
    CANCELED = 6
    REJECTED = 7
    NEVER_REACHED = 8           # the exchange said that it had not seen it
    SESSION = 9                 # logged in; tag and price hold its 10 characters
    QUERIED = 10                # an Account Query was sent
    CAUGHT_UP = 11              # one was answered; id is the next UserRefNum the exchange expects
    IGNORED = 12                # a Replace of an order that was gone: the exchange says nothing of it


cdef struct Core:
    agent_shm *shm
    agent_counters *c
    agent_histograms *h
    agent_limits *limits        # written by others: read each word once
    bint stamps
    int64_t mark                # the last stage's stamp
    int64_t received            # CLOCK_MONOTONIC ns of the datagram (or answer) in hand

    # feed
    int format
    uint32_t symbols
    uint32_t room               # for symbols; more than `symbols` where they are found in the feed (replay)
    agent_symbol *rows          # [room]; name: 8 characters, padded with spaces
    uint8_t *traded             # [room]: of this shard
    int16_t *by_locate          # [LOCATES]
    uint32_t last_symbol
    Mold mold
    bint late                   # a retransmission: it builds the book, but is no reason to trade
    bint feed_ended
    Books books
    Series *series              # NULL: none

    # strategy
    agent_strategy *strategy
    void *state
    agent_event event
    agent_fill fill
    agent_order orders[8]       # AGENT_MAX_ORDERS

    # risk
    int64_t allowed             # theoretical arrival time of the next order
    uint64_t *last_key          # [room]: of the last order of a symbol: side, price, size
    int64_t *last_at            # [room]
    uint64_t open_orders
    bint simulated              # replay: nothing is sent, an order is done with when it passed

    # orders
    Open *open                  # [SLOTS], by id modulo SLOTS
    uint32_t reference          # the last UserRefNum used
    uint8_t *frames             # [room x 64]: one prepared Enter Order per symbol
    uint8_t replace_frame[64]
    uint8_t cancel_frame[64]
    uint8_t backlog[BACKLOG]
    uint32_t backlog_at
    uint32_t backlog_size
    uint32_t cancel_at          # cancel_all: the next slot to look at; SLOTS: done
    bint killed

    # journal
    Ring *journal               # NULL: none (replay, tests)
    int64_t realtime            # CLOCK_REALTIME less CLOCK_MONOTONIC, as last looked at
    bint journal_full
    uint64_t entries

    # link
    int link
    int exchange
    sockaddr_in address
    char user[6]
    char password[10]
    char session[10]            # of the exchange; blank before the first login
    uint64_t sequence           # sequenced messages read in it
    uint8_t *stream
    uint32_t stream_size
    uint32_t queries            # Account Queries sent and, as far as we know, not answered
    uint32_t next_id            # of the last answer to one since the login, 0 before it
    int64_t link_since
    int64_t retry_at
    int64_t lost_at             # when the link went down; 0: it never was up
    int64_t give_up_after
    int64_t last_sent
    int64_t last_received
    char login_reason

    int stop
    bint once
