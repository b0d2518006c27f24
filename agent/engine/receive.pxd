# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Reading datagrams: recv(2) while the feed is quiet, recvmmsg(2) while more than one datagram may wait, the kernel
adds its receive stamps, or the sender matters.

Source: recvmmsg(2); Documentation/networking/timestamping.rst (SCM_TIMESTAMPING).
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset
from posix.time cimport timespec

from agent.system cimport (CMSG_DATA, CMSG_FIRSTHDR, CMSG_NXTHDR, MSG_DONTWAIT, SCM_TIMESTAMPING, SOL_SOCKET, cmsghdr,
                           iovec, mmsghdr, recv, recvmmsg, sockaddr_in)

cdef enum:
    BATCH = 32                  # datagrams of one call
    DATAGRAM = 65536            # bytes; the largest UDP payload is 65,507
    # Bytes from one buffer to the next. No power of two between their beginnings, which would share cache sets.
    STRIDE = 65536 + 4096 + 192
    CONTROL = 128               # bytes of a datagram's control messages
    SOURCES = 8                 # addresses of one line


cdef struct Receiver:
    uint8_t *buffers            # [BATCH x STRIDE]
    mmsghdr headers[BATCH]      # msg_len: bytes of the datagram in this buffer
    iovec vectors[BATCH]        # one per header: its buffer
    uint8_t control[BATCH * CONTROL]
    sockaddr_in senders[BATCH]  # of each datagram; only where there are sources
    uint32_t sources[SOURCES]   # the addresses that datagrams may come from
    int source_count            # 0: any
    bint stamped                # each datagram is read with the kernel's receive stamp
    bint dated                  # the kernel keeps a receive stamp for whoever asks: calls of recvmmsg do
    bint has_stamps             # the datagrams in the buffers have been read with their stamps
    int64_t empty_at            # no later than the last look that found nothing: what comes now arrived after that
    bint batch                  # the last call brought something: more datagrams may be waiting


cdef inline void init_receiver(Receiver *r, uint8_t *buffers, bint stamped) noexcept nogil:
    """Begin with BATCH x STRIDE bytes of buffers."""
    cdef int i
    memset(r, 0, sizeof(r[0]))
    r.buffers = buffers
    r.stamped = stamped
    for i in range(BATCH):
        r.vectors[i].iov_base = buffers + i * STRIDE
        r.vectors[i].iov_len = DATAGRAM
        r.headers[i].msg_hdr.msg_iov = &r.vectors[i]
        r.headers[i].msg_hdr.msg_iovlen = 1


cdef inline void set_sources(Receiver *r, const char *addresses, int count) noexcept nogil:
    """Take datagrams from these IPv4 addresses alone: 4 bytes each, at most SOURCES."""
    cdef int i
    memcpy(r.sources, addresses, 4 * <size_t> count)
    r.source_count = count
    for i in range(BATCH if count else 0):
        r.headers[i].msg_hdr.msg_name = &r.senders[i]
        r.headers[i].msg_hdr.msg_namelen = sizeof(sockaddr_in)


cdef inline bint comes_from_source(const Receiver *r, int i) noexcept nogil:
    """Returns whether datagram i came from one of the sources. There is one at least."""
    cdef int place
    for place in range(r.source_count):
        if r.senders[i].sin_addr.s_addr == r.sources[place]:
            return True
    return False


cdef inline int receive_datagrams(Receiver *r, int descriptor) noexcept nogil:
    """Read what waits, at most BATCH datagrams. Returns how many are in the buffers now; 0 for none, -1 with errno for
    an error."""
    cdef Py_ssize_t n
    cdef int i, count
    r.has_stamps = False
    if not r.batch and not r.stamped and not r.source_count:
        n = recv(descriptor, r.buffers, DATAGRAM, MSG_DONTWAIT)
        if n >= 0:
            r.headers[0].msg_len = <unsigned int> n
            r.batch = True
            return 1
    else:
        if r.stamped or r.dated:
            r.has_stamps = True
            for i in range(BATCH):
                r.headers[i].msg_hdr.msg_control = r.control + i * CONTROL
                r.headers[i].msg_hdr.msg_controllen = CONTROL
        count = recvmmsg(descriptor, r.headers, BATCH, MSG_DONTWAIT, NULL)
        r.batch = count > 1
        if count > 0:
            return count
    if errno == EAGAIN or errno == EINTR:
        return 0
    return -1


cdef inline int64_t receive_stamp(Receiver *r, int i, bint of_card) noexcept nogil:
    """CLOCK_REALTIME ns at which the kernel (of_card: or the card, by its own clock) received datagram i; 0 if it did
    not say."""
    cdef cmsghdr *c = CMSG_FIRSTHDR(&r.headers[i].msg_hdr)
    cdef timespec *t
    while c != NULL:
        if c.cmsg_level == SOL_SOCKET and c.cmsg_type == SCM_TIMESTAMPING:
            t = <timespec *> CMSG_DATA(c)       # [0] software, [2] hardware
            if of_card and (t[2].tv_sec or t[2].tv_nsec):
                return <int64_t> t[2].tv_sec * 1000000000 + t[2].tv_nsec
            return <int64_t> t[0].tv_sec * 1000000000 + t[0].tv_nsec
        c = CMSG_NXTHDR(&r.headers[i].msg_hdr, c)
    return 0
