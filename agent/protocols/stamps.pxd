# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Time stamps since 1970 in milliseconds, microseconds or nanoseconds, made nanoseconds.

The unit is told by the number's size: from September 2001 to the end of 2099 a time has 13 digits in milliseconds, 16
in microseconds and 19 in nanoseconds. Where times are others (since midnight, say), the unit has to be given.
"""

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # Units, by the power of 1000 that makes them nanoseconds
    NS = 0
    US = 1
    MS = 2
    NO_UNIT = 3                 # of no plausible time; of a clock: none yet, it is told by the number's size

    _FIRST_S = 1000000000       # 2001-09-09T01:46:40Z
    _BEHIND_S = 4102444800      # 2100-01-01T00:00:00Z

# The stamps of one source, one after the other.
cdef struct Clock:
    int unit                    # of the last one, or as given; NO_UNIT: there was none yet
    bint given                  # its unit is not told by their size
    uint64_t *mixed             # stamps in another unit than the one before, or than the given one
    uint64_t *implausible       # stamps of no plausible time, left as they are


cdef inline void init_clock(Clock *clock, int unit, uint64_t *mixed, uint64_t *implausible) noexcept nogil:
    """Begin without a stamp. unit: NS, US, MS, or NO_UNIT where it is to be told. mixed, implausible: where these are
    counted."""
    clock.unit = unit
    clock.given = unit != NO_UNIT
    clock.mixed = mixed
    clock.implausible = implausible


cdef inline int find_unit(int64_t stamp) noexcept nogil:
    """Tell the unit of a stamp by its size: NS, US or MS, or NO_UNIT for no plausible time."""
    if stamp >= <int64_t> _FIRST_S * 1000000000:
        return NS if stamp < <int64_t> _BEHIND_S * 1000000000 else NO_UNIT
    if stamp >= <int64_t> _FIRST_S * 1000000:
        return US if stamp < <int64_t> _BEHIND_S * 1000000 else NO_UNIT
    if stamp >= <int64_t> _FIRST_S * 1000:
        return MS if stamp < <int64_t> _BEHIND_S * 1000 else NO_UNIT
    return NO_UNIT


cdef inline int judge_unit(Clock *clock, int unit) noexcept nogil:
    """Count a stamp whose unit is not the clock's. Returns the unit that it is read in."""
    if unit == NO_UNIT:
        if clock.given:
            return clock.unit
        clock.implausible[0] += 1
        return NS
    if clock.unit != NO_UNIT:
        clock.mixed[0] += 1
    if not clock.given:
        clock.unit = unit
    return clock.unit


cdef inline int64_t scale_stamp(int64_t stamp, int unit) noexcept nogil:
    """Returns a stamp of a unit, not NO_UNIT, in nanoseconds; -1 where int64 does not hold it."""
    if unit == NS:
        return stamp
    if unit == US:
        return stamp * 1000 if stamp <= 0x7FFFFFFFFFFFFFFFLL // 1000 else -1
    return stamp * 1000000 if stamp <= 0x7FFFFFFFFFFFFFFFLL // 1000000 else -1


cdef inline int64_t read_stamp(Clock *clock, int64_t stamp) noexcept nogil:
    """Returns a stamp, not negative, in nanoseconds; one of no plausible time as it is."""
    cdef int unit = find_unit(stamp)
    cdef int64_t scaled
    if unit != clock.unit or unit == NO_UNIT:
        unit = judge_unit(clock, unit)
    scaled = scale_stamp(stamp, unit)
    if scaled < 0:
        clock.implausible[0] += 1
        return stamp
    return scaled


cdef inline int64_t peek_stamp(const Clock *clock, int64_t stamp) noexcept nogil:
    """Returns what read_stamp() will return for a stamp, and counts nothing."""
    cdef int unit = clock.unit if clock.given else find_unit(stamp)
    cdef int64_t scaled = scale_stamp(stamp, unit if unit != NO_UNIT else NS)
    return stamp if scaled < 0 else scaled


cdef inline int require_unit(str name) except -2:
    """Returns the unit called name: ns, us, ms, or auto. Raises ValueError, which names these."""
    if name == "auto":
        return NO_UNIT
    if name == "ns":
        return NS
    if name == "us":
        return US
    if name == "ms":
        return MS
    raise ValueError(f"time_unit: {name!r}, allowed: auto, ms, us, ns")
