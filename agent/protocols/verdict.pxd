"""What a parser says of the bytes that it was given: the kind of message (> 0), or why they are no message (< 0).

One set of numbers for the feed's parsers, so that the engine counts malformed messages in one place. A parser of ITCH
returns the letter of the message's type instead of the kinds below. The session protocols have reasons of their own.
"""

cdef enum:
    # kinds of messages in feeds of quotes and trades; QUOTE and TRADE are bits
    QUOTE = 1                   # the best bid and offer
    TRADE = 2                   # a printed trade
    HEADER = 4                  # of a file: no market data
    DEPTH = 5                   # a change of the book's depth: known, and not used
    OTHER = 6                   # well-formed, of a type that is not known
    EMPTY = 0                   # an empty line

    # malformed
    TRUNCATED = -1              # shorter than its type or format asks for
    OVERSIZED = -2              # longer than that
    UNKNOWN = -3                # no such type
    BAD_FIELD = -4              # a field is missing, given twice, or has a value that does not exist
    BAD_NUMBER = -5             # a price, size or time is not a number of the format
    BAD_JSON = -6               # not JSON
    BAD_SYMBOL = -7             # a symbol's name is not 1 to SYMBOL (text.pxd) printable ASCII characters
