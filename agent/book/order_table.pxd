# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The table of open orders, by order reference number: open addressing with linear probing, and deletion by shifting
back, so that a table in use all day does not fill with tombstones.

Invariants: at most half of the slots are in use. From an order's home to its slot no slot is free, and all before its
own are marked CROSSED.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from * nogil:
    void prefetch "__builtin_prefetch" (const void *, int)


cdef enum:
    NEIGHBOURS = 256            # a power of two: so many orders fill a page of 4 KiB
    AHEAD = 32                  # references from a new order to the one that memory is fetched for

    # RestingOrder.place
    CROSSED = 0x80000000u       # an order lies behind this slot that looked here first
    PLACE = 0x7FFFFFFF          # the bits of the level


cdef struct RestingOrder:
    uint64_t reference          # 0: the slot is free
    uint32_t shares             # above 0
    uint32_t place              # index of its level; and CROSSED


cdef struct OrderTable:
    uint64_t limit              # orders that it may hold
    uint64_t mask               # slots less 1; they are a power of two
    int shift                   # 64 less the slots' logarithm
    uint64_t used               # orders that it holds
    uint64_t high_water         # the most that it held
    RestingOrder *slots         # [mask + 1]


cdef inline uint64_t count_slots(uint64_t orders) noexcept nogil:
    """Slots for so many orders: a power of two, at most half full."""
    cdef uint64_t slots = NEIGHBOURS
    while slots < 2 * orders:
        slots *= 2
    return slots


cdef inline size_t order_table_size(uint64_t orders) noexcept nogil:
    """Bytes of the table for so many orders."""
    return count_slots(orders) * sizeof(RestingOrder)


cdef inline void init_order_table(OrderTable *t, uint8_t *block, uint64_t orders) noexcept nogil:
    """Begin in order_table_size() zeroed bytes."""
    cdef uint64_t slots = count_slots(orders)
    memset(t, 0, sizeof(t[0]))
    t.limit = orders
    t.mask = slots - 1
    t.shift = 64
    while slots > 1:
        slots //= 2
        t.shift -= 1
    t.slots = <RestingOrder *> block


cdef inline uint64_t home_slot(const OrderTable *t, uint64_t reference) noexcept nogil:
    """The slot to begin at. Neighbours stay together: the exchange counts references up, so a new order, and one that
    does not live long, is in memory whose page is at hand. The groups are spread by a multiplicative hash."""
    return ((((reference // NEIGHBOURS) * 0x9E3779B97F4A7C15ULL) >> t.shift & ~<uint64_t> (NEIGHBOURS - 1))
            | (reference & (NEIGHBOURS - 1)))


cdef inline RestingOrder *find_order(const OrderTable *t, uint64_t reference) noexcept nogil:
    """Returns the order, or NULL."""
    cdef uint64_t i = home_slot(t, reference)
    while t.slots[i].reference != reference:
        if t.slots[i].reference == 0:
            return NULL
        i = (i + 1) & t.mask
    return &t.slots[i] if reference != 0 else NULL


cdef inline void free_slot(OrderTable *t, RestingOrder *o) noexcept nogil:
    """Take an order out, and move back what probing had put behind it."""
    cdef uint64_t hole = <uint64_t> (o - t.slots), i = hole, home
    while t.slots[hole].place & CROSSED:
        i = (i + 1) & t.mask
        if t.slots[i].reference == 0:
            break
        home = home_slot(t, t.slots[i].reference)
        # It may move when its home is not between the hole and itself.
        if ((i - home) & t.mask) >= ((i - hole) & t.mask):
            t.slots[hole] = t.slots[i]
            t.slots[hole].place |= CROSSED
            hole = i
    # No order is found by way of a free slot.
    t.slots[hole].reference = 0
    t.slots[hole].place = 0
    t.used -= 1


cdef inline void clear_order_table(OrderTable *t) noexcept nogil:
    """Take all orders out."""
    memset(t.slots, 0, (t.mask + 1) * sizeof(RestingOrder))
    t.used = 0
