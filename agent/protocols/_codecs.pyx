# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The data plane's parsers for Python: what tests and tools call; the engine has the same code inlined.

Every parser takes exactly one message and returns (verdict, fields): fields is {} unless the verdict is
a message's type or kind.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cimport agent.protocols.binance as binance
cimport agent.protocols.binaryfile as binaryfile
cimport agent.protocols.csv_ticks as csvtick
cimport agent.protocols.itch as itch
cimport agent.protocols.text as lines
from agent.strategy.abi cimport AGENT_BOOK, AGENT_TRADE, agent_event
from agent.protocols.itch_layouts import decode as itch_decode
from agent.protocols.itch_layouts import encode as itch_encode

__all__ = [
    "binance_parse",
    "binaryfile_messages",
    "binaryfile_resync",
    "binaryfile_whole",
    "csv_parse",
    "itch_decode",
    "itch_encode",
    "itch_length",
    "itch_parse",
    "stamped_lines",
    "text_lines",
]

_ITCH = {itch.TRUNCATED: "truncated", itch.OVERSIZED: "oversized", itch.UNKNOWN: "unknown", itch.BAD_FIELD: "field"}
_BINANCE = {binance.BOOK: "bookTicker", binance.TRADE: "trade", binance.DEPTH: "depthUpdate",
            binance.OTHER: "other", binance.TRUNCATED: "truncated", binance.BAD_JSON: "json",
            binance.BAD_FIELD: "field", binance.BAD_NUMBER: "number"}
_CSV = {AGENT_BOOK: "quote", AGENT_TRADE: "trade", AGENT_BOOK | AGENT_TRADE: "quote and trade",
        csvtick.HEADER: "header", csvtick.EMPTY: "empty", csvtick.TRUNCATED: "truncated",
        csvtick.OVERSIZED: "oversized", csvtick.BAD_FIELD: "field", csvtick.BAD_NUMBER: "number"}
_WHOLE = {binaryfile.DONE: "done", binaryfile.MORE: "more", binaryfile.CUT: "cut",
          binaryfile.SESSION_END: "session end", binaryfile.LOST: "lost"}


def itch_length(uint8_t type):
    """Bytes of an ITCH message whose type is this byte; 0 for an unknown type."""
    return itch.length(type)


def itch_parse(bytes data not None):
    """One ITCH message as itch.parse sees it.

    The verdict is the type's letter, or truncated, oversized, unknown or field. fields has the members of
    itch.Message: letters as str ("" where the type has none), stock as 8 bytes or None.
    """
    cdef itch.Message m
    cdef int verdict = itch.parse(<const uint8_t *> <const char *> data, <uint32_t> len(data), &m)
    if verdict < 0:
        return _ITCH[verdict], {}
    return chr(verdict), {
        "type": chr(m.type),
        "side": chr(m.side) if m.side else "",
        "printable": chr(m.printable) if m.printable else "",
        "event": chr(m.event) if m.event else "",
        "locate": m.locate,
        "tracking": m.tracking,
        "timestamp": m.timestamp,
        "reference": m.reference,
        "new_reference": m.new_reference,
        "match": m.match,
        "shares": m.shares,
        "price": m.price,
        "stock": None if m.stock == NULL else (<const char *> m.stock)[:8],
    }


def binance_parse(bytes data not None):
    """One Binance message as binance.parse sees it; prices and sizes in 1e-8.

    The verdict is bookTicker, trade, depthUpdate, other, or truncated, json, field or number.
    """
    cdef agent_event event
    cdef binance.Span symbol
    cdef int verdict = binance.parse(<const uint8_t *> <const char *> data, <uint32_t> len(data), &event, &symbol)
    if verdict == binance.BOOK:
        fields = {"u": event.exchange_id, "b": event.bid, "B": event.bid_size, "a": event.ask, "A": event.ask_size}
    elif verdict == binance.TRADE:
        fields = {"t": event.exchange_id, "p": event.price, "q": event.size}
    else:
        return _BINANCE[verdict], {}
    fields["s"] = (<const char *> symbol.at)[:symbol.size]
    return _BINANCE[verdict], fields


def csv_parse(bytes line not None):
    """One CSV line, without its end, as csvtick.parse sees it; prices and sizes in 1e-8.

    The verdict is quote, trade, "quote and trade", header, empty, or truncated, oversized, field or number.
    """
    cdef agent_event event
    cdef binance.Span symbol
    cdef int verdict = csvtick.parse(<const uint8_t *> <const char *> line, <uint32_t> len(line), &event, &symbol)
    if verdict <= 0 or verdict == csvtick.HEADER:
        return _CSV[verdict], {}
    fields = {"timestamp_ns": event.exchange_ns, "symbol": (<const char *> symbol.at)[:symbol.size]}
    if verdict & AGENT_BOOK:
        fields |= {"bid": event.bid, "bid_size": event.bid_size, "ask": event.ask, "ask_size": event.ask_size}
    if verdict & AGENT_TRADE:
        fields |= {"price": event.price, "size": event.size}
    return _CSV[verdict], fields


def binaryfile_whole(const uint8_t[::1] data not None, Py_ssize_t start, bint final):
    """(stop, verdict): data[start:stop] is whole BinaryFILE records; verdict says what is at stop.

    done: nothing; lost: no record; more: needs bytes from behind the end. With final (nothing follows data)
    also cut: an incomplete last record; session end: the mark of it.
    """
    cdef const uint8_t *base
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef int verdict
    if not 0 <= start <= data.shape[0]:
        raise ValueError(f"start: found {start}, allowed is 0 to {data.shape[0]}")
    if data.shape[0] == 0:
        return 0, "done"
    base = &data[0]
    at = base + start
    end = base + data.shape[0]
    with nogil:
        verdict = binaryfile.whole(&at, end, final)
    return at - base, _WHOLE[verdict]


def binaryfile_resync(const uint8_t[::1] data not None, Py_ssize_t start, bint final):
    """The first place from start on where records fit again, or where more bytes may show that they do."""
    cdef const uint8_t *base
    cdef const uint8_t *at
    if not 0 <= start < data.shape[0]:
        raise ValueError(f"start: found {start}, allowed is 0 to {data.shape[0] - 1}")
    base = &data[0]
    with nogil:
        at = binaryfile.resync(base + start, base + data.shape[0], final)
    return at - base


def binaryfile_messages(bytes data not None):
    """(messages, rest): the messages of the records that data begins with, and the bytes of an incomplete one."""
    cdef const uint8_t *at = <const uint8_t *> <const char *> data
    cdef const uint8_t *end = at + len(data)
    cdef const uint8_t *message = NULL
    cdef uint32_t size = 0
    messages = []
    while binaryfile.next_record(&at, end, &message, &size) == binaryfile.RECORD:
        messages.append((<const char *> message)[:size])
    return messages, (<const char *> at)[:end - at]


def text_lines(bytes data not None):
    """The lines of data without their ends."""
    cdef const uint8_t *at = <const uint8_t *> <const char *> data
    cdef const uint8_t *end = at + len(data)
    cdef const uint8_t *line = NULL
    cdef uint32_t size = 0
    found = []
    while lines.next_line(&at, end, &line, &size):
        found.append((<const char *> line)[:size])
    return found


def stamped_lines(bytes data not None):
    """The lines of a Binance recording: (local ns, message), or None for a line that is not so, or is empty."""
    cdef const uint8_t *at = <const uint8_t *> <const char *> data
    cdef const uint8_t *end = at + len(data)
    cdef const uint8_t *line = NULL
    cdef const uint8_t *message = NULL
    cdef uint32_t size = 0
    cdef uint32_t message_size = 0
    cdef int64_t local = 0
    found = []
    while lines.next_line(&at, end, &line, &size):
        if lines.stamped(line, size, &local, &message, &message_size) == lines.STAMPED:
            found.append((local, (<const char *> message)[:message_size]))
        else:
            found.append(None)
    return found
