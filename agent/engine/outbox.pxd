# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What goes to the exchange's socket. What the socket does not take is kept, whole and in order, and nothing else is
sent until it is gone.

Source: send(2).
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from agent.engine.state cimport Core, Wire
from agent.system cimport MSG_DONTWAIT, MSG_NOSIGNAL, send


cdef inline bint add_to_wire(Wire *wire, const uint8_t *data, uint32_t size) noexcept nogil:
    """Give bytes to who replays. Returns False if there is no room for them."""
    if size > wire.capacity - wire.size:
        return False
    memcpy(wire.bytes + wire.size, data, size)
    wire.size += size
    return True


cdef inline bint send_bytes(Core *e, const uint8_t *data, uint32_t size) noexcept nogil:
    """Give bytes to the socket, and keep what it does not take. Only called while the outbox is empty. Returns False
    if the connection is lost."""
    cdef Py_ssize_t n
    if e.orders.simulated:
        return e.outbox.wire == NULL or add_to_wire(e.outbox.wire, data, size)
    n = send(e.session.socket, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    e.counters.send_calls += 1
    if n == <Py_ssize_t> size:
        return True
    if n < 0:
        if errno != EAGAIN and errno != EINTR:
            return False
        e.counters.send_refused += 1
        n = 0
    else:
        e.counters.send_short += 1
    memcpy(e.outbox.bytes, data + n, size - n)
    e.outbox.begin = 0
    e.outbox.end = size - <uint32_t> n
    return True


cdef inline bint flush_outbox(Core *e) noexcept nogil:
    """Give what was kept to the socket. Returns False if the connection is lost."""
    cdef Py_ssize_t n = send(e.session.socket, e.outbox.bytes + e.outbox.begin, e.outbox.end - e.outbox.begin,
                             MSG_DONTWAIT | MSG_NOSIGNAL)
    e.counters.send_calls += 1
    if n < 0:
        return errno == EAGAIN or errno == EINTR
    e.outbox.begin += <uint32_t> n
    if e.outbox.begin == e.outbox.end:
        e.outbox.begin = e.outbox.end = 0
    return True
