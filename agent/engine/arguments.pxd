# cython: language_level=3
"""The arguments that an engine and a replay have in common, checked before anything is allocated."""

cdef enum:
    MOST_SYMBOLS = 16384        # of one engine or replay


cdef inline int check_count(str name, object count) except -1:
    """Raises ValueError for a number of symbols that an engine cannot have."""
    if not 1 <= count <= MOST_SYMBOLS:
        raise ValueError(f"{name}: {count}, allowed: 1 to {MOST_SYMBOLS}")
    return 0


cdef inline int check_symbols(object symbols) except -1:
    """Raises ValueError for a symbol that OUCH 5.0 cannot carry (Symbol: 8 characters)."""
    for symbol in symbols:
        if not 1 <= len(symbol) <= 8:
            raise ValueError(f"symbol: {symbol!r}, allowed: 1 to 8 characters (OUCH 5.0 Symbol)")
    return 0


cdef inline int check_strategy(size_t address) except -1:
    """Raises ValueError for NULL."""
    if address == 0:
        raise ValueError("strategy: NULL")
    return 0
