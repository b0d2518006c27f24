# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Reading datagrams: one recvmsg while the feed is quiet, recvmmsg when it is not, and receive stamps."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport timespec


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    struct cmsghdr:
        int cmsg_level
        int cmsg_type
    int recvmmsg(int, mmsghdr *, unsigned int, int, timespec *)
    Py_ssize_t recvmsg(int, msghdr *, int)
    Py_ssize_t recv(int, void *, size_t, int)
    cmsghdr *CMSG_FIRSTHDR(msghdr *)
    cmsghdr *CMSG_NXTHDR(msghdr *, cmsghdr *)
    unsigned char *CMSG_DATA(cmsghdr *)
    int MSG_DONTWAIT
    int SOL_SOCKET

cdef extern from *:
    """
    #include <sys/uio.h>
    #include <linux/errqueue.h>
    #ifndef SCM_TIMESTAMPING
    #define SCM_TIMESTAMPING 37
    #endif
    """
    int SCM_TIMESTAMPING

cdef enum:
    BATCH = 32
    DATAGRAM = 65536            # the largest UDP payload is 65,507
    # Behind each other without a power of two between their beginnings, which would share cache sets.
    STRIDE = 65536 + 4096 + 192
    CONTROL = 128


cdef struct Receiver:
    uint8_t *buffers            # BATCH x STRIDE
    mmsghdr headers[BATCH]
    iovec vectors[BATCH]
    uint8_t control[BATCH * CONTROL]
    bint stamped                # the kernel adds its receive stamps
    bint batch                  # the last call brought something: more may be waiting


cdef inline void receiver_init(Receiver *r, uint8_t *buffers, bint stamped) noexcept nogil:
    cdef int i
    memset(r, 0, sizeof(r[0]))
    r.buffers = buffers
    r.stamped = stamped
    for i in range(BATCH):
        r.vectors[i].iov_base = buffers + i * STRIDE
        r.vectors[i].iov_len = DATAGRAM
        r.headers[i].msg_hdr.msg_iov = &r.vectors[i]
        r.headers[i].msg_hdr.msg_iovlen = 1


cdef inline int receive(Receiver *r, int descriptor) noexcept nogil:
    """How many datagrams are in the buffers now; 0 for none, -1 with errno for an error."""
    cdef Py_ssize_t n
    cdef int i, count
    if not r.batch and not r.stamped:
        n = recv(descriptor, r.buffers, DATAGRAM, MSG_DONTWAIT)
        if n >= 0:
            r.headers[0].msg_len = <unsigned int> n
            r.batch = True
            return 1
    else:
        if r.stamped:
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


cdef inline int64_t stamp_of(Receiver *r, int i) noexcept nogil:
    """CLOCK_REALTIME ns at which kernel (or card) received datagram i; 0 if it did not say."""
    cdef cmsghdr *c = CMSG_FIRSTHDR(&r.headers[i].msg_hdr)
    cdef timespec *t
    while c != NULL:
        if c.cmsg_level == SOL_SOCKET and c.cmsg_type == SCM_TIMESTAMPING:
            t = <timespec *> CMSG_DATA(c)       # [0] software, [2] hardware
            if t[2].tv_sec or t[2].tv_nsec:
                return <int64_t> t[2].tv_sec * 1000000000 + t[2].tv_nsec
            return <int64_t> t[0].tv_sec * 1000000000 + t[0].tv_nsec
        c = CMSG_NXTHDR(&r.headers[i].msg_hdr, c)
    return 0
