# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One engine's memory: what the parts of the loop share. No function of the loop allocates."""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from agent.book.order_book cimport Books
from agent.protocols.formats cimport FeedFormat
from agent.protocols.moldudp64 cimport Mold
from agent.protocols.stamps cimport Clock
from agent.shm.ring cimport Ring
from agent.shm.segment cimport agent_counters, agent_histograms, agent_limits, agent_shm, agent_symbol
from agent.shm.series cimport Series
from agent.strategy.abi cimport agent_event, agent_fill, agent_order, agent_strategy
from agent.system cimport sockaddr_in


cdef extern from *:
    """
    __extension__ typedef __int128 agent_wide;
    /* Without loss: the factors are of 64 bits. */
    static inline agent_wide agent_product(int64_t a, uint64_t b) { return (agent_wide)a * (agent_wide)b; }
    """
    ctypedef long long wide "agent_wide"        # of 128 bits, whatever this line says
    wide product "agent_product"(int64_t a, uint64_t b) nogil


cdef enum:
    SLOTS = 65536               # open orders that can be known at once; a power of two
    BACKLOG = 4096              # bytes of order entry that the socket did not take
    STREAM = 65536              # bytes of the exchange's stream that are not handled yet
    LOCATES = 65536             # values of an ITCH Stock Locate code
    EXECUTIONS = 32768          # executions that are known by their match number; a power of two
    RECENT = 8                  # orders of a symbol and side that a new one is compared with; a power of two
    NAME_SLOTS = 32768          # for the names of symbols; a power of two, twice as many as there can be symbols

cdef enum:                      # Feed.by_locate, beside an index of a symbol
    NOT_OURS = -1               # the code of a symbol that the engine does not have
    NOT_SEEN = -2               # no message has named the code's symbol yet

cdef enum:                      # Session.state
    DISCONNECTED = 0
    CONNECTING = 1              # connect(2) is under way
    LOGGING_IN = 2              # the Login Request is sent
    CATCHING_UP = 3             # logged in; the answer to the Account Query ends the replay
    READY = 4                   # orders may be sent

cdef enum:                      # Core.stop
    RUNNING = 0
    STOP_SIGNAL = 1             # SIGTERM or SIGINT
    STOP_LOST = 2               # the connection to the exchange was lost for longer than Session.give_up_after
    STOP_REFUSED = 3            # the exchange refused the login
    STOP_SESSION = 4            # the exchange ended the session, and Session.once is set
    STOP_NO_PAST = 5            # the exchange does not send the session's messages from the one on that is wanted
    STOP_BEHIND = 6             # the exchange's session has fewer messages than were read of it

cdef enum:
    BEFORE_FIRST = -1           # Feed.day_clock, until a day's first message

cdef enum:                      # bits of SymbolState.conditions and of Risk.refused
    OF_MARKET = 8               # 1 << agent_event.state, and 1 << (OF_MARKET + agent_event.market)
    RESTRICTED = 1 << 16        # Reg SHO's short sale price test
    LOCKED = 1 << 17            # the bid is the offer
    CROSSED = 1 << 18           # the bid is above the offer

cdef enum:                      # OpenOrder.state
    SENT = 1                    # the exchange has not accepted it
    LIVE = 2                    # accepted
    UNSEEN = 3                  # closed: the exchange said that it had not seen it


cdef struct Name:               # of a symbol: 24 characters, padded with spaces, as struct agent_symbol has it
    uint64_t word
    uint64_t word_8
    uint64_t word_16


cdef struct QuoteOrder:
    # Where a symbol's quotes are: the last one that was taken, and those in a row that were older.
    int64_t id                  # the exchange's number of the last one
    int64_t exchange_ns         # the exchange's time of the last one, or the latest before it; 0: none was given
    int64_t received            # when it came
    int64_t older_id            # of the last older one
    int64_t older_ns
    int64_t older_received
    uint32_t older              # how many older ones came in a row, each newer than the one before
    bint seen                   # there was one
    # Where its trades are, of a feed that numbers them: as above.
    int64_t trade_id
    int64_t older_trade_id
    uint32_t older_trades
    bint traded


cdef struct Told:               # what each event says of its symbol: as in agent_event, from collar_low on
    int64_t collar_low
    int64_t collar_high
    uint32_t state
    uint32_t market
    uint32_t short_sale
    uint32_t auction


cdef struct SymbolState:
    Told told
    uint32_t conditions         # what the gate looks at: a bit for its state, one for the market's, and RESTRICTED
    uint8_t action              # what its Trading Action says: AGENT_UNTOLD to AGENT_HALTED
    uint8_t stopped             # 1: an operational halt of this market is in force
    uint16_t code               # its Stock Locate code; 0: no message has told it


cdef struct Feed:
    FeedFormat format           # its row in the table of feed formats
    uint32_t symbols            # symbols known, in the order of the configuration or of the recording
    uint32_t capacity           # symbols that there is memory for; above `symbols` where the feed brings them (replay)
    agent_symbol *rows          # [capacity]
    QuoteOrder *last_quotes     # [capacity]; not of ITCH
    Clock clock                 # the exchange's times in quotes and trades
    bint recorded               # times of receipt are a recording's, which may step back
    uint8_t *traded             # [capacity]: 1 if this shard trades the symbol
    int16_t *by_locate          # [LOCATES]: index of the symbol, NOT_OURS or NOT_SEEN
    uint16_t *by_name           # [NAME_SLOTS]: 1 + index of the symbol whose name belongs there; 0: free
    uint64_t name_bits          # a bit for each name (name_bit()): one whose bit is not set is no symbol's
    uint64_t name_seed          # so that no recording can be made whose names all belong to one place
    uint32_t last_symbol        # index of the symbol that a name was last found to be
    Mold mold                   # order, gaps and retransmission of the packets
    uint8_t session[10]         # the MoldUDP64 session that is wanted, padded with spaces, if one is
    bint retransmitted          # the packet in hand builds the book, but is no reason to trade
    Books books                 # ITCH alone
    Series *series              # the trades, for readers outside; NULL: none
    uint64_t *unknown_by_symbol     # [capacity]: messages about orders that the book does not have, passed over in a
    #                             replay that was asked to; NULL: they make the book stale
    uint64_t unknown_orders     # messages about orders that their book, which was not stale, does not have
    SymbolState *states         # [capacity]; ITCH alone, as what follows
    uint32_t market             # AGENT_UNTOLD to AGENT_ENDED
    uint32_t first_action       # of a symbol that no Trading Action has named
    int64_t day_clock           # of the last message that named its stock, ns after midnight; or BEFORE_FIRST
    uint8_t market_code         # which operational halts are this market's: 'Q', 'B' or 'X'
    bint changes_untold         # states changed while the strategy could not be told


cdef struct Strategy:
    agent_strategy *table       # its functions
    void *state                 # its own memory
    agent_event event           # what on_event is called with
    agent_fill fill             # what on_fill is called with
    agent_order orders[8]       # [AGENT_MAX_ORDERS]: what it wants, written by its functions
    int32_t failed_with         # what it returned when it last failed; 0: it did not


cdef struct OwnSide:
    uint64_t best               # no open order of the side has a better price; 4 decimals
    uint32_t count              # open orders of the side
    uint16_t newest             # slot of the one that was entered last; the others follow (OpenOrder.older)
    uint16_t left               # 1: an order at `best` was closed, and there may be no other one


cdef struct Sent:               # an order that was let through
    uint64_t key                # its price and size; 0: none was
    int64_t at                  # when, CLOCK_MONOTONIC ns


cdef struct SymbolRisk:         # cache lines: money in the first, what the gate looks at in the others
    # What today's sells brought less what its buys cost, units of 1e-8. The position that the day began with counts as
    # bought then, at `last`.
    wide cash
    wide profit                 # of today: cash, and the position at `mark`
    wide peak                   # the most that was, at least 0
    uint64_t mark               # price that the position was marked to last, 1e-8
    uint64_t last               # price of the last execution, 1e-8; 0: there was none
    OwnSide buy
    OwnSide sell
    int64_t quoted_at           # when the message arrived that its quotes are from, CLOCK_MONOTONIC ns; 0: none has
    uint32_t next_bought        # the place of the next order in `bought`, and in `sold`
    uint32_t next_sold
    uint64_t unused[2]
    Sent bought[8]              # [RECENT]: the last buy orders
    Sent sold[8]                # [RECENT]: the last sell orders


cdef struct Risk:
    agent_limits *limits        # in shared memory, written by others: each word is read once per order
    int64_t rate_arrival        # theoretical arrival time of the next order (GCRA), CLOCK_MONOTONIC ns
    SymbolRisk *symbols         # [Feed.capacity]
    wide profit                 # of today and of all symbols, units of 1e-8
    wide peak                   # the most that was, at least 0
    int64_t day                 # days since 1970 (UTC): the one that `today` is
    uint64_t orders_today       # Enter and Replace Orders
    uint64_t symbol_limits[2]   # max_symbol_loss and _drawdown that all symbols were last held against
    bint killed                 # the limit `kill` was set when it was last looked at, or was set by the engine since:
    #                             no order passes, also when the word was taken back meanwhile
    uint32_t refused            # conditions in which no order passes


cdef struct OpenOrder:
    uint32_t id                 # UserRefNum; 0: the slot is free
    # Of a free slot: UserRefNum of the order that was in it last, which the other fields still describe.
    uint32_t original           # UserRefNum of the order that this one is to replace; 0: none
    uint32_t replacement        # UserRefNum of the last Replace of this order; that one may be closed already
    uint32_t symbol             # index in Feed.rows
    uint32_t leaves             # whole units that are open
    uint32_t filled             # units executed of it and of those it replaced: OUCH counts them in its quantities
    int8_t side                 # AGENT_BUY or AGENT_SELL
    uint8_t state               # SENT, LIVE or UNSEEN
    uint16_t newer              # slot of the open order of symbol and side that was entered next; its own: none
    uint16_t older              # the same, of the one entered before
    uint64_t price              # 4 decimals, as sent and then as accepted
    uint64_t tag                # the strategy's own
    int64_t sent_at             # CLOCK_MONOTONIC ns; 0: by an earlier process
    uint64_t limit              # 4 decimals: the price that was sent, or accepted if that is worse; none trades beyond


cdef struct Execution:
    uint64_t match              # the exchange's number of it
    uint64_t price              # 4 decimals
    uint32_t id                 # UserRefNum of the order; 0: the place is free
    uint32_t units              # whole ones; 0: the exchange took the execution back
    uint32_t symbol             # index in Feed.rows
    int32_t side                # AGENT_BUY or AGENT_SELL


cdef struct Orders:
    OpenOrder *open             # [SLOTS], by UserRefNum modulo SLOTS
    uint64_t open_count         # slots that are not free
    uint32_t reference          # the last UserRefNum used; UINT32_MAX: there is none left
    uint32_t confirmed          # the highest UserRefNum that the exchange has accepted in its session
    uint32_t contradicted       # why the gate is shut (agent.journal.record, Contradiction); 0: it is not
    Execution *executions       # [EXECUTIONS], by match number and UserRefNum; a later one takes an earlier one's place
    uint8_t *enter_frames       # [Feed.capacity x 64]: one prepared Enter Order per symbol
    uint8_t replace_frame[64]   # a prepared Replace Order
    uint8_t cancel_frame[64]    # a prepared Cancel Order
    uint32_t cancel_at          # the next slot to cancel, when all orders are to be; SLOTS: done
    bint killed                 # the limit `kill` was set when it was last read
    bint simulated              # replay: there is no socket. Without Outbox.wire nothing is sent, and an order is
    #                             closed when the gate let it through


cdef struct Wire:
    uint8_t *bytes              # [capacity]: whole messages, which the other side takes away
    size_t size                 # how many are there
    size_t capacity


cdef struct Outbox:
    uint8_t bytes[BACKLOG]      # whole messages that the socket did not take, and the rest of one, in order
    uint32_t begin              # the first byte that is not sent
    uint32_t end                # behind the last one; 0: there is none, and messages go to the socket
    Wire *wire                  # replay: where messages go instead; NULL: nowhere


cdef struct Journal:
    Ring *ring                  # NULL: no journal is kept (replay, tests)
    int64_t realtime_offset     # CLOCK_REALTIME less CLOCK_MONOTONIC, ns, as last read
    uint64_t records            # written so far, those of earlier processes included
    bint full                   # a record found no room: the journal ended before it


cdef struct Decisions:
    agent_limits known          # the limits whose change is journaled, or that agent.toml has
    agent_limits apart          # 1 of each that a decision sets apart from agent.toml
    uint64_t complete           # the request whose limits are all in force: the last one that was seen to be complete
    bint written                # what was changed is in the journal's ring
    uint64_t answered           # the last request of a command that was answered (agent_request)
    uint64_t begun              # the last one that was seen to begin
    uint32_t waited             # looks at the limits since


cdef struct Session:
    int state                   # DISCONNECTED to READY
    int socket                  # -1: none
    sockaddr_in address         # of the exchange
    char user[6]                # padded with spaces
    char password[10]           # padded with spaces
    char id[10]                 # of the exchange's session; blank before the first login
    uint64_t sequence           # sequenced messages of it that were read
    uint8_t *stream             # [STREAM]: bytes of the exchange that are not handled yet
    uint32_t stream_size        # how many
    char former[10]             # the session before this one; blank: none
    uint64_t end                # number of the first message that did not exist at the login; 0: not known yet
    int64_t answered_at         # when the last message came, behind an answer to the query; 0: none is waited for
    bint replays                # a session that had no message, as the exchange said, has messages of the past
    bint over                   # its end was read: it has no message that was not read
    int64_t since               # when CONNECTING, LOGGING_IN or CATCHING_UP began, CLOCK_MONOTONIC ns
    int64_t retry_at            # no connection is tried before
    int64_t lost_at             # when the connection was lost; 0: it was not
    int64_t give_up_after       # ns without a connection after which the loop ends
    int64_t last_sent           # when a message was last sent, CLOCK_MONOTONIC ns
    int64_t last_received       # when bytes were last read
    char login_reason           # of the Login Rejected that ended the loop
    bint once                   # the end of the session ends the loop


cdef struct Core:
    agent_shm *shm              # the segment
    agent_counters *counters    # in it
    agent_histograms *histograms    # in it
    bint stamps                 # each stage of the path is timed
    int64_t mark                # when the last stage ended, CLOCK_MONOTONIC ns
    int64_t received            # when the datagram (or answer) in hand was received, CLOCK_MONOTONIC ns
    int64_t cause_at            # when the tick in hand arrived at the host, CLOCK_MONOTONIC ns; 0: none is in hand
    int stop                    # RUNNING, or why the loop ends
    Feed feed
    Strategy strategy
    Risk risk
    Orders orders
    Outbox outbox
    Journal journal
    Session session
    Decisions decisions
