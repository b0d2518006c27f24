"""The simulator's state: a struct for each of its parts, and Run, which holds them all.

Times are CLOCK_MONOTONIC in nanoseconds. Prices are OUCH's: 4 decimals in an integer.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef extern from *:
    "#define EXCHANGE_SECOND 1000000000LL"
    const int64_t SECOND "EXCHANGE_SECOND"  # in ns

cdef enum:
    STREAM_CAPACITY = 65536     # bytes of the link that can wait for the rest of their packet
    LOGIN_REQUEST = 49          # bytes of a SoupBinTCP Login Request packet
    MAX_OPEN_ORDERS = 131072    # a power of two: an order's slot is its UserRefNum modulo this
    FEED_LINES = 2              # A and B
    MOLD_HEADER = 20            # bytes of a MoldUDP64 downstream packet's header
    MAX_RETRANSMISSION = 1400   # bytes of a retransmission packet

    # a packet's fate on one line
    SEND = 0
    DROP = 1
    DUPLICATE = 2
    SWAP = 3                    # it goes out behind the next one

    # why a run ended
    COMPLETE = 0
    TIMED_OUT = 1
    DISCONNECTED = 2
    PROTOCOL_ERROR = 3
    INTERRUPTED = 4
    NO_LOGIN = 5
    LOGIN_REFUSED = 6
    LOG_FULL = 7
    STATE_FILE_ERROR = 8


cdef struct SequencedLog:
    # Every Sequenced Data packet, one behind the other, as the link is sent them.
    uint8_t *data
    uint64_t capacity           # of data, in bytes
    uint64_t size               # bytes in use
    uint64_t *offsets           # by packet: where in data it begins
    uint64_t count              # packets; the sequence number of packet i is i + 1
    uint64_t max_count          # packets that offsets has a place for
    bint full                   # a packet did not fit
    int state_file              # open for appending; -1: none
    uint64_t written            # bytes of data that are in the state file


cdef struct Order:
    uint32_t user_ref_num       # 0: the slot is free
    int32_t symbol              # of the feed; -1: the feed does not have it, so the order never executes
    uint32_t total              # shares, executed ones included; over all Replaces
    uint32_t executed           # shares; over all Replaces
    uint64_t price
    uint8_t side                # B or S; a short sale is an S
    uint8_t symbol_name[8]
    uint8_t time_in_force
    uint8_t display
    uint8_t capacity_to_cross[3]  # Capacity, InterMarket Sweep Eligibility, CrossType
    uint8_t cl_ord_id[14]
    uint32_t next               # resting orders of the symbol: slot + 1 of the next one; 0: none
    uint32_t previous           # and of the previous one; 0: none


cdef struct BestPrices:
    # The feed's best bid and offer of one symbol, and the orders that rest in it.
    uint64_t bid                # 0: none
    uint64_t ask                # 0: none
    uint32_t bid_size           # shares that were not executed against yet
    uint32_t ask_size
    uint32_t first_resting      # slot + 1 of the newest resting order; 0: none
    uint64_t highest_buy        # no resting buy has a higher price
    uint64_t lowest_sell        # no resting sell has a lower price; 0: none rests


cdef struct Market:
    # Open orders, what they execute against (matching.pxd has the fill rule), and the answers to them.
    SequencedLog log
    uint64_t midnight           # CLOCK_MONOTONIC of UTC midnight, as a wrapping number: OUCH stamps count from there
    Order *orders               # by slot
    bint executes               # False: orders are only accepted
    int32_t symbols
    const uint64_t *symbol_names  # by symbol: 8 characters, padded with blanks
    BestPrices *best            # by symbol
    uint32_t reject_every       # each so many-th valid order is rejected; 0: none
    uint64_t valid_orders
    uint32_t last_user_ref_num
    uint64_t last_reference_number  # Order Reference Number of OUCH
    uint64_t last_match_number
    int64_t queried_at          # when the last Account Query was read
    # counts
    uint64_t queries            # Account Queries
    uint64_t acknowledged       # Accepted messages
    uint64_t executions
    uint64_t canceled
    uint64_t replaced
    uint64_t replaces_ignored   # of orders that were not open any more
    uint64_t rejected_on_purpose  # by reject_every, and where the slot is taken
    uint64_t invalid            # orders that a real exchange would reject; answered Rejected
    uint64_t out_of_order       # UserRefNum not above the last one; ignored, as OUCH says
    uint64_t other_messages     # OUCH messages that are not served
    uint64_t order_messages     # Enter, Replace and Cancel messages that were read, whatever became of them


cdef struct Arrivals:
    # A sample of each Enter Order, in the order of arrival.
    int64_t *message            # index of the message that its ClOrdID names, or -1
    int64_t *at
    uint32_t *user_ref_num
    uint64_t capacity           # samples that there is a place for
    uint64_t count
    int64_t last_at             # when the last order came
    uint64_t first_sequence     # MoldUDP64 sequence number of message 0
    uint64_t messages_sent      # of the feed: no order can answer a later message
    # counts
    uint64_t overflow           # orders without a sample: no place was left
    uint64_t unmatched          # ClOrdID names no message of this run, or one that was not sent yet


cdef struct Publisher:
    # The feed. Packet i is data[starts[i]:starts[i + 1]] and holds the messages firsts[i] up to firsts[i + 1].
    int lines[FEED_LINES]       # connected UDP sockets; -1: none
    int request_socket          # for MoldUDP64 requests; -1: none
    uint8_t session[10]
    const uint8_t *data
    const int64_t *starts
    const int64_t *firsts
    const int64_t *blocks       # by message: offset in data of its message block, the length first
    int64_t packets
    int64_t messages
    uint64_t first_sequence     # of message 0
    const uint8_t *fates[FEED_LINES]  # by packet; NULL: all are SEND
    int64_t next                # the packet that is published next
    int64_t held[FEED_LINES]    # a packet that waits for the next one to overtake it, or -1
    # pacing
    const int64_t *due          # by packet: ns after started_at
    bint lockstep               # a packet is due when the agent has counted all messages before it
    const uint64_t *counter     # the agent's count of messages; NULL: none
    const uint64_t *polls       # its count of looks at the feed that brought nothing; NULL: only messages are awaited
    const uint64_t *answers_read    # its count of sequenced messages in the order session
    const uint64_t *sent_counts[3]  # its counts of Enter, Replace and Cancel messages
    uint64_t sent_base          # what these were together when the run began
    bint holding                # answers wait until the agent has done with the message
    bint quiet                  # the agent has nothing left that we know of, since polls_at
    uint64_t polls_at
    uint64_t counter_base       # what it was when the run began
    int64_t started_at
    int64_t last_packet_at
    int end_packets             # End of Session packets that were sent
    # samples, by packet
    int64_t *intended           # when it was due
    int64_t *sent               # right before its send; 0: not sent
    # by message: what it leaves of its symbol's prices
    const int32_t *mark_symbol  # -1: nothing
    const uint64_t *marks       # bid, ask, bid size, ask size
    # counts
    uint64_t fate_counts[4]
    uint64_t send_retries
    uint64_t refused            # errors of a send, above all ICMP port unreachable: nobody listens
    uint64_t requests
    uint64_t retransmitted      # messages


cdef struct Session:
    # SoupBinTCP: one link at a time, and a candidate that has not logged in yet.
    int server                  # listening, non-blocking
    int candidate               # -1: none
    int link                    # -1: none
    uint8_t name[10]
    uint8_t user[6]
    uint8_t password[10]
    bint any_login              # whatever user and password
    uint8_t request[64]         # the candidate's Login Request, so far
    uint32_t request_size
    int64_t connected_at        # of the candidate
    uint8_t *stream             # what was read of the link and not handled yet
    uint32_t stream_size
    uint8_t control[64]         # packets that are not in the log; they go out between two of its packets
    uint32_t control_at         # sent so far
    uint32_t control_size
    uint64_t log_position       # bytes of the log that this link was sent
    bint hold_answers           # the feed is late: answers wait, and go out together
    bint logged_out             # a Logout Request was read
    bint looking                # the link asked for no message of the past, and has sent nothing since
    bint looked                 # the last link was such a one: whoever had it comes back
    int64_t login_at            # of the link
    int64_t down_at             # when the link was lost; 0: it is up, or never was
    int64_t last_sent_at
    int64_t last_received_at
    uint64_t disconnect_after   # orders, once; 0: never
    # counts
    uint64_t logins             # but for those that only looked
    uint64_t looks              # logins that asked for no message of the past, and left without having sent any
    uint64_t logins_refused
    uint64_t disconnects
    uint64_t replayed           # Sequenced Data packets that were sent again
    uint64_t heartbeats
    uint64_t other_packets      # of a type that is not served


cdef struct Run:
    Market market
    Arrivals arrivals
    Publisher publisher
    Session session
    bint spin                   # never sleep
    int64_t linger              # ns without an order behind the last packet until the run ends
    int64_t login_wait          # ns until the first login
    int64_t reconnect           # ns until another login; 0: a disconnect ends the run
    int64_t timeout             # ns
    int64_t begun_at
    bint publishing             # the feed has begun
    int64_t quiet_since         # last packet or order, whichever is later
    bint finished
    int ended                   # why
