# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One record of the journal, as the engine writes it to the ring and as it is in the file, in 64 bytes.

Python has the fields by their names, through _record.pyx. What the kinds mean for users: docs/journal.md.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


cdef struct JournalRecord:
    uint64_t number             # of the record, from 1, without holes
    int64_t time_ns             # CLOCK_REALTIME
    uint64_t exchange_sequence  # sequenced messages that the exchange need not send again; 0: our own doing
    uint64_t price              # 4 decimals; SESSION: the last 2 characters of the session
    # SESSION: the first 8 characters of the session; EXECUTED, BROKEN, CONTRADICTED: the exchange's match number
    uint64_t tag                # the strategy's own
    uint32_t kind               # below
    uint32_t id                 # UserRefNum; CAUGHT_UP: the next one that the exchange expects
    uint32_t original           # UserRefNum of the order that this one is to replace; 0: none. CONTRADICTED: why
    uint32_t quantity           # whole units: of the order, or of what was executed, canceled or broken
    int32_t side                # AGENT_BUY or AGENT_SELL
    uint32_t symbol             # index in the engine's configuration


cdef enum:                      # JournalRecord.kind
    ENTERED = 1                 # an Enter Order was given to the socket, or is about to be
    REPLACING = 2               # a Replace was given to the socket, or is about to be
    ACCEPTED = 3
    REPLACED = 4
    EXECUTED = 5
    CANCELED = 6
    REJECTED = 7
    NEVER_REACHED = 8           # the exchange said that it had not seen the order
    SESSION = 9                 # logged in to a session
    QUERIED = 10                # an Account Query was sent
    CAUGHT_UP = 11              # an Account Query was answered
    IGNORED = 12                # a Replace of an order that was closed already: the exchange does not answer it
    CONTRADICTED = 13           # the exchange said what cannot be; its words are in the record, whatever they are
    BROKEN = 14                 # the exchange took an execution back
    MODIFIED = 15               # the exchange says what is open of the order now
    OVER = 16                   # the exchange said that its session is over: all its messages were read
    LAST_KIND = OVER
    LIMIT_SET = 32              # LimitRecord: a limit was changed, and keeps its value
    LIMIT_RESET = 33            # LimitRecord: a limit has agent.toml's value again

cdef enum:                      # JournalRecord.original of CONTRADICTED
    SETTLED = 0                 # a person has looked at it, and the gate is open again
    UNKNOWN_ORDER = 1           # an answer about an order that was never sent, or that nobody knows any more
    WRONG_ANSWER = 2            # one that the order cannot get: accepted twice, rejected when live, done already
    WRONG_SIDE = 3
    WRONG_SYMBOL = 4
    WRONG_PRICE = 5             # accepted or executed at a price worse than the order's limit
    WRONG_SIZE = 6              # accepted, replaced or modified with another size
    EXECUTED_TOO_MUCH = 7       # more units than are open of the order
    CANCELED_TOO_MUCH = 8
    WRONG_MATCH = 9             # an execution told twice, or taken back that is not known
    LOST_SESSION = 10           # it ended, or expects numbers that are used, and nobody tells what became of orders
    BAD_VALUE = 11              # a quantity that OUCH does not allow
    LAST_CONTRADICTION = BAD_VALUE


cdef enum:
    LIMIT_NAME = 20             # bytes of LimitRecord.name

cdef enum:                      # LimitRecord.uid and .login
    UNKNOWN_USER = 0xFFFFFFFF   # nobody knows: the limit was written past the commands; of the login: there was none
    ENGINE_ITSELF = 0xFFFFFFFE  # login, with uid UNKNOWN_USER: the engine did it, for one of its own limits


cdef struct LimitRecord:        # a JournalRecord of a kind from LIMIT_SET on: a decision about a limit
    uint64_t number             # as JournalRecord
    int64_t time_ns
    char name[LIMIT_NAME]       # of AGENT_LIMITS, padded with NUL
    uint32_t login              # the user whose login it comes from
    uint32_t kind
    uint32_t uid                # the user who did it
    uint64_t old                # values in the units of AGENT_LIMITS
    uint64_t new


cdef enum:
    MAX_QUANTITY = 999999       # of OUCH 5.0: a quantity is below 1,000,000
    MAX_PRICE = 1999999900      # of OUCH 5.0, 4 decimals
    HALF_OF_REFERENCES = 0x7FFFFFFF  # UserRefNum: a session begins at 1 again where the one before went beyond

cdef enum:                      # what is wrong with a record by itself
    FINE
    BAD_NUMBER
    BAD_KIND
    BAD_SYMBOL
    BAD_SIDE
    BAD_QUANTITY
    BAD_ID
    BAD_ORIGINAL
    BAD_SESSION
    BAD_NAME


cdef inline bint is_limit_record(const JournalRecord *r) noexcept nogil:
    return r.kind == LIMIT_SET or r.kind == LIMIT_RESET


cdef inline bint is_limit_name(const char *name) noexcept nogil:
    """Whether LIMIT_NAME bytes are a name as AGENT_LIMITS has them, and then NULs."""
    cdef int i
    cdef bint ended = False
    for i in range(LIMIT_NAME):
        if name[i] == 0:
            ended = True
        elif ended or not (c'a' <= name[i] <= c'z' or (i and (name[i] == c'_' or c'0' <= name[i] <= c'9'))):
            return False
    return name[0] != 0


cdef inline int find_fault(const JournalRecord *r, uint32_t symbols) noexcept nogil:
    """Returns what makes a record one that no engine of so many symbols writes; FINE: nothing."""
    if r.number == 0:
        return BAD_NUMBER
    if is_limit_record(r):
        # Of any value: the engine has obeyed it, whatever it was.
        return FINE if is_limit_name((<const LimitRecord *> r).name) else BAD_NAME
    if r.kind < ENTERED or r.kind > LAST_KIND:
        return BAD_KIND
    if r.kind == CONTRADICTED:
        # What the exchange said is kept as it was said.
        if r.symbol >= symbols:
            return BAD_SYMBOL
        if r.side < -1 or r.side > 1:
            return BAD_SIDE
        return BAD_ORIGINAL if r.original > LAST_CONTRADICTION else FINE
    if r.kind == SESSION or r.kind == QUERIED or r.kind == CAUGHT_UP or r.kind == OVER:
        # Of no order.
        if r.symbol != 0:
            return BAD_SYMBOL
        if r.side != 0:
            return BAD_SIDE
        if r.quantity != 0:
            return BAD_QUANTITY
        if r.original != 0:
            return BAD_ORIGINAL
        return BAD_SESSION if r.kind == SESSION and r.price > 0xFFFF else FINE
    if r.symbol >= symbols:
        return BAD_SYMBOL
    if r.side != 1 and r.side != -1:
        return BAD_SIDE
    if r.quantity < 1 or r.quantity > MAX_QUANTITY:
        return BAD_QUANTITY
    if r.id == 0:
        return BAD_ID
    if r.original == r.id or (r.kind == REPLACING and r.original == 0) or (r.kind == ENTERED and r.original != 0):
        return BAD_ORIGINAL
    return FINE
