"""The feed formats, one row each: what differs between them for the engine, the replay, recordings and tests.

A format of quotes and trades is a module here with parse() and begins_recording() as in binance.pxd and csv.pxd,
and a row below; docs/contributing.md has the whole recipe. A format of orders (ITCH) has no parse() in its row: the
books that its messages change are the engine's.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset, strcmp

cimport agent.protocols.binance as binance
cimport agent.protocols.binaryfile as binaryfile
cimport agent.protocols.csv as csv
from agent.protocols.text cimport SYMBOL, Tick

cdef enum:
    # FeedFormat.framing: how a recording holds its messages
    BINARYFILE = 0              # behind their lengths (binaryfile.pxd)
    STAMPED_LINES = 1           # lines of LOCAL_NANOSECONDS MESSAGE (text.split_stamp)
    LINES = 2                   # lines, each a message

    FEED_FORMATS = 3            # rows

ctypedef int (*parse_t)(const uint8_t *message, uint32_t size, Tick *tick) noexcept nogil
ctypedef bint (*begins_recording_t)(const uint8_t *head, size_t size) noexcept nogil

cdef struct FeedFormat:
    const char *name            # in the configuration (feed.format) and in results
    const char *recording       # the name of its recordings
    const char *expected        # what a recording holds, for the message about a file that is none
    int framing
    const char *header          # of LINES: the line that a recording begins with; NULL: none
    uint32_t symbol             # characters of the longest name of a symbol
    bint numbered               # quotes have the exchange's number of the update
    int decimals                # of the prices that people are shown; 4: sizes are whole shares
    const char *quote           # the exchange's name of a message with QUOTE
    begins_recording_t begins_recording
    parse_t parse               # one message to a Tick: a kind or a reason of verdict.pxd; NULL: a format of orders


cdef inline void set_feed_format(FeedFormat *row, int index) noexcept nogil:
    """Write row `index`, 0 to FEED_FORMATS - 1."""
    memset(row, 0, sizeof(FeedFormat))
    if index == 0:
        row.name = row.recording = "binance"
        row.expected = "lines of TIME JSON"
        row.framing = STAMPED_LINES
        row.symbol = SYMBOL
        row.numbered = True
        row.decimals = 8
        row.quote = "bookTicker"
        row.begins_recording = binance.begins_recording
        row.parse = binance.parse
    elif index == 1:
        row.name = "itch"
        row.recording = "binaryfile"
        row.expected = "ITCH 5.0 messages behind their lengths (2 bytes)"
        row.framing = BINARYFILE
        row.symbol = 8
        row.decimals = 4
        row.begins_recording = binaryfile.begins_recording
    elif index == 2:
        row.name = row.recording = "csv"
        row.expected = "the CSV header timestamp_ns,symbol,bid,bid_size,ask,ask_size[,price,size]"
        row.framing = LINES
        row.header = "timestamp_ns,symbol,bid,bid_size,ask,ask_size,price,size"
        row.symbol = SYMBOL
        row.decimals = 8
        row.quote = "quote"
        row.begins_recording = csv.begins_recording
        row.parse = csv.parse


cdef inline bint find_feed_format(const char *name, FeedFormat *row) noexcept nogil:
    """Write the row of the format called name. Returns False when there is none."""
    cdef int i
    for i in range(FEED_FORMATS):
        set_feed_format(row, i)
        if strcmp(row.name, name) == 0:
            return True
    return False


cdef inline int require_feed_format(str name, FeedFormat *row) except -1:
    """Write the row of the format called name. Raises ValueError, which names those that exist."""
    cdef FeedFormat other
    cdef bytes text = name.encode()
    if find_feed_format(text, row):
        return 0
    names = []
    for i in range(FEED_FORMATS):
        set_feed_format(&other, i)
        names.append((<bytes> other.name).decode())
    raise ValueError(f"feed_format: {name!r}, allowed: {', '.join(names)}")
