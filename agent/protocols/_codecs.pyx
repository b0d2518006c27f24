# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The data plane's parsers for Python: what tests and tools call; the engine has the same code inlined.

Every parser takes exactly one message and returns (verdict, fields): fields is {} unless the verdict is the type of a
message that is read.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cimport agent.protocols.binaryfile as binaryfile
cimport agent.protocols.itch as itch
cimport agent.protocols.stamps as clocks
cimport agent.protocols.text as text
cimport agent.protocols.verdict as verdict
from agent.protocols.formats cimport FeedFormat, require_feed_format
from agent.protocols.itch_layouts import decode as itch_decode
from agent.protocols.itch_layouts import encode as itch_encode

__all__ = [
    "binaryfile_find_records",
    "binaryfile_messages",
    "binaryfile_skip_records",
    "itch_decode",
    "itch_encode",
    "itch_length",
    "itch_parse",
    "read_stamps",
    "stamped_lines",
    "text_lines",
    "tick_parse",
]

#: Verdicts in words; of a quote: the exchange's own name of it (tick_parse).
_KINDS = {verdict.TRADE: "trade", verdict.HEADER: "header", verdict.DEPTH: "depthUpdate", verdict.OTHER: "other",
          verdict.EMPTY: "empty"}
_REASONS = {verdict.TRUNCATED: "truncated", verdict.OVERSIZED: "oversized", verdict.UNKNOWN: "unknown",
            verdict.BAD_FIELD: "field", verdict.BAD_NUMBER: "number", verdict.BAD_JSON: "json",
            verdict.BAD_SYMBOL: "symbol"}
_PLACES = {binaryfile.DONE: "done", binaryfile.MORE: "more", binaryfile.CUT: "cut",
           binaryfile.SESSION_END: "session end", binaryfile.LOST: "lost"}


def itch_length(uint8_t type):
    """Returns the bytes of an ITCH message whose type is this byte; 0 for an unknown type."""
    return itch.length(type)


def itch_parse(bytes data not None):
    """Read one ITCH message with itch.parse.

    Returns (verdict, fields). The verdict is the type's letter, or truncated, oversized, unknown or field. fields has
    the members of itch.Message: letters as str ("" where the type has none), stock as 8 bytes or None.
    """
    cdef itch.Message m
    cdef int kind = itch.parse(<const uint8_t *> <const char *> data, <uint32_t> len(data), &m)
    if kind < 0:
        return _REASONS[kind], {}
    return chr(kind), {
        "type": chr(m.type),
        "side": chr(m.side) if m.side else "",
        "printable": chr(m.printable) if m.printable else "",
        "event": chr(m.event) if m.event else "",
        "market": chr(m.market) if m.market else "",
        "locate": m.locate,
        "tracking": m.tracking,
        "timestamp": m.timestamp,
        "reference": m.reference,
        "new_reference": m.new_reference,
        "match": m.match,
        "shares": m.shares,
        "price": m.price,
        "upper": m.upper,
        "lower": m.lower,
        "stock": None if m.stock == NULL else (<const char *> m.stock)[:8],
    }


def tick_parse(str feed_format not None, bytes message not None):
    """Read one message of a feed of quotes and trades (a line without its end) with the parser of its format.

    Returns (verdict, fields). The verdict is the format's name of a quote, trade, both with "and", header, depthUpdate,
    other or empty; or truncated, oversized, field, number or json. fields of a quote or trade are those of text.Tick:
    symbol as bytes, exchange_ns in ns, exchange_id, and of the quote bid, bid_size, ask, ask_size, of the trade price,
    size, in units of 1e-8. Raises ValueError for a format that does not exist, or is one of orders.
    """
    cdef FeedFormat row
    cdef text.Tick tick
    cdef int kind
    require_feed_format(feed_format, &row)
    if row.parse == NULL:
        raise ValueError(f"feed_format: {feed_format!r} is a format of orders, allowed: one of quotes and trades")
    kind = row.parse(<const uint8_t *> <const char *> message, <uint32_t> len(message), &tick)
    if kind < 0:
        return _REASONS[kind], {}
    if kind > (verdict.QUOTE | verdict.TRADE) or kind == verdict.EMPTY:
        return _KINDS[kind], {}
    names = []
    fields = {"symbol": (<const char *> tick.symbol.at)[:tick.symbol.size], "exchange_ns": tick.exchange_ns,
              "exchange_id": tick.exchange_id}
    if kind & verdict.QUOTE:
        names.append((<bytes> row.quote).decode())
        fields |= {"bid": tick.bid, "bid_size": tick.bid_size, "ask": tick.ask, "ask_size": tick.ask_size}
    if kind & verdict.TRADE:
        names.append(_KINDS[verdict.TRADE])
        fields |= {"price": tick.price, "size": tick.size}
    return " and ".join(names), fields


def binaryfile_skip_records(const uint8_t[::1] data not None, Py_ssize_t start, bint final):
    """Find the end of the whole BinaryFILE records that data has from start on. final: nothing follows data.

    Returns (stop, what is at stop): done: nothing; lost: no record; more: that needs bytes from behind the end. With
    final also cut: an incomplete last record; session end: the mark of it. Raises ValueError for a start outside data.
    """
    cdef const uint8_t *base
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef int place
    if not 0 <= start <= data.shape[0]:
        raise ValueError(f"start: found {start}, allowed is 0 to {data.shape[0]}")
    if data.shape[0] == 0:
        return 0, "done"
    base = &data[0]
    at = base + start
    end = base + data.shape[0]
    with nogil:
        place = binaryfile.skip_records(&at, end, final)
    return at - base, _PLACES[place]


def binaryfile_find_records(const uint8_t[::1] data not None, Py_ssize_t start, bint final):
    """Find records behind a damaged place. final: nothing follows data.

    Returns the first place from start on where records fit again, or where more bytes may show that they do. Raises
    ValueError for a start outside data.
    """
    cdef const uint8_t *base
    cdef const uint8_t *at
    if not 0 <= start < data.shape[0]:
        raise ValueError(f"start: found {start}, allowed is 0 to {data.shape[0] - 1}")
    base = &data[0]
    with nogil:
        at = binaryfile.find_records(base + start, base + data.shape[0], final)
    return at - base


def binaryfile_messages(bytes data not None):
    """Returns the messages of the records that data begins with, and the bytes of an incomplete record behind them."""
    cdef const uint8_t *at = <const uint8_t *> <const char *> data
    cdef const uint8_t *end = at + len(data)
    cdef const uint8_t *message = NULL
    cdef uint32_t size = 0
    messages = []
    while binaryfile.next_record(&at, end, &message, &size) == binaryfile.RECORD:
        messages.append((<const char *> message)[:size])
    return messages, (<const char *> at)[:end - at]


def text_lines(bytes data not None):
    """Returns the lines of data without their ends."""
    cdef const uint8_t *at = <const uint8_t *> <const char *> data
    cdef const uint8_t *end = at + len(data)
    cdef const uint8_t *line = NULL
    cdef uint32_t size = 0
    found = []
    while text.next_line(&at, end, &line, &size):
        found.append((<const char *> line)[:size])
    return found


def stamped_lines(bytes data not None):
    """Returns (local time, message) for each line of a recording of stamped lines; None for an empty line, and
    for one without a stamp."""
    cdef const uint8_t *at = <const uint8_t *> <const char *> data
    cdef const uint8_t *end = at + len(data)
    cdef const uint8_t *line = NULL
    cdef const uint8_t *message = NULL
    cdef uint32_t size = 0
    cdef uint32_t message_size = 0
    cdef int64_t local = 0
    found = []
    while text.next_line(&at, end, &line, &size):
        if text.split_stamp(line, size, &local, &message, &message_size) == text.STAMPED:
            found.append((local, (<const char *> message)[:message_size]))
        else:
            found.append(None)
    return found


def read_stamps(list stamps not None, str unit="auto"):
    """Read the stamps of one source, one after the other: stamps.read_stamp.

    Returns (them in ns, how many were in another unit than the one before, how many of no plausible time). Raises
    ValueError for an unknown unit."""
    cdef uint64_t mixed = 0, implausible = 0
    cdef clocks.Clock clock
    clocks.init_clock(&clock, clocks.require_unit(unit), &mixed, &implausible)
    return [clocks.read_stamp(&clock, stamp) for stamp in stamps], mixed, implausible
