# cython: language_level=3
"""The arguments that an engine and a replay have in common, checked before anything is allocated."""

cimport agent.protocols.ouch as ouch
from agent.protocols.formats cimport FeedFormat

cdef enum:
    MOST_SYMBOLS = 16384        # of one engine or replay


cdef inline int check_count(str name, object count) except -1:
    """Raises ValueError for a number of symbols that an engine cannot have."""
    if not 1 <= count <= MOST_SYMBOLS:
        raise ValueError(f"{name}: {count}, allowed: 1 to {MOST_SYMBOLS}")
    return 0


cdef inline int check_symbols(object symbols, const FeedFormat *format) except -1:
    """Raises ValueError for a symbol that the feed's format has no room for."""
    for symbol in symbols:
        if not 1 <= len(symbol) <= <int> format.symbol:
            raise ValueError(f"symbol: {symbol!r}, allowed: 1 to {int(format.symbol)} characters "
                             f"({(<bytes> format.name).decode()})")
    return 0


cdef inline bytes pad_exchange_name(bytes name):
    """Returns the name of a symbol as OUCH 5.0 has it, 8 characters. Raises ValueError for one that it cannot carry."""
    if not 1 <= len(name) <= ouch.SYMBOL_SIZE:
        raise ValueError(f"symbol: {name!r}, allowed: a name at the exchange of 1 to 8 characters (OUCH 5.0 Symbol)")
    return name.ljust(ouch.SYMBOL_SIZE)


cdef inline int check_strategy(size_t address) except -1:
    """Raises ValueError for NULL."""
    if address == 0:
        raise ValueError("strategy: NULL")
    return 0
