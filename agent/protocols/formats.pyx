# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The feed formats for Python: the rows of formats.pxd."""

from typing import NamedTuple

from libc.stdint cimport uint8_t

_FRAMINGS = {BINARYFILE: "binaryfile", STAMPED_LINES: "stamped lines", LINES: "lines"}


class Format(NamedTuple):
    """One feed format. name: in the configuration and in results; recording: the name of its recordings; expected:
    what these hold, in words; framing: "binaryfile", "stamped lines" or "lines"; header: the line that a recording
    begins with, "" for none; symbol: characters of the longest name of one; decimals: of prices as shown; quote: the
    exchange's name of a message with a quote; ticks: whether its messages are quotes and trades (else orders)."""

    name: str
    recording: str
    expected: str
    framing: str
    header: str
    symbol: int
    decimals: int
    quote: str
    ticks: bool


cdef object _make_format(int index):
    cdef FeedFormat row
    set_feed_format(&row, index)
    return Format(
        (<bytes> row.name).decode(),
        (<bytes> row.recording).decode(),
        (<bytes> row.expected).decode(),
        _FRAMINGS[row.framing],
        (<bytes> row.header).decode() if row.header != NULL else "",
        row.symbol,
        row.decimals,
        (<bytes> row.quote).decode() if row.quote != NULL else "",
        row.parse != NULL,
    )


FORMATS = tuple([_make_format(i) for i in range(FEED_FORMATS)])
NAMES = tuple([row.name for row in FORMATS])


def find(str name not None):
    """Returns the Format called name. Raises ValueError, which names those that exist."""
    cdef FeedFormat row
    require_feed_format(name, &row)
    return FORMATS[NAMES.index(name)]


def detect(bytes head not None):
    """Tell the format of a recording by what it begins with.

    head: its first 64 KiB, or all of it. Returns a Format, or None.
    """
    cdef FeedFormat row
    cdef int i
    for i in range(FEED_FORMATS):
        set_feed_format(&row, i)
        if row.begins_recording(<const uint8_t *> <const char *> head, <size_t> len(head)):
            return FORMATS[i]
    return None
