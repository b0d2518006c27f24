"""The kernel's calls and constants, as C declares them: each header once, for every room."""

from posix.time cimport timespec
from libc.stdint cimport uint16_t, uint32_t


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
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
    int socket(int, int, int)
    int connect(int, const sockaddr *, socklen_t)
    int accept4(int, sockaddr *, socklen_t *, int)
    int getsockopt(int, int, int, void *, socklen_t *)
    int setsockopt(int, int, int, const void *, socklen_t)
    Py_ssize_t recv(int, void *, size_t, int)
    Py_ssize_t recvfrom(int, void *, size_t, int, sockaddr *, socklen_t *)
    int recvmmsg(int, mmsghdr *, unsigned int, int, timespec *)
    Py_ssize_t send(int, const void *, size_t, int)
    Py_ssize_t sendto(int, const void *, size_t, int, const sockaddr *, socklen_t)
    cmsghdr *CMSG_FIRSTHDR(msghdr *)
    cmsghdr *CMSG_NXTHDR(msghdr *, cmsghdr *)
    unsigned char *CMSG_DATA(cmsghdr *)
    int AF_INET
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int SOCK_STREAM
    int SOCK_NONBLOCK
    int SOCK_CLOEXEC
    int SOL_SOCKET
    int SO_ERROR

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY
    int TCP_QUICKACK

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *, unsigned long, int)
    int ppoll(pollfd *, unsigned long, const timespec *, const void *)
    short POLLIN
    short POLLOUT

cdef extern from "<unistd.h>" nogil:
    int close(int)
    Py_ssize_t write(int, const void *, size_t)

cdef extern from "<errno.h>" nogil:
    int EINPROGRESS

cdef extern from "<sys/resource.h>" nogil:
    struct rusage:
        long ru_minflt
        long ru_majflt
        long ru_nivcsw
    int getrusage(int, rusage *)

cdef extern from * nogil:
    """
    #include <sys/uio.h>
    #include <linux/errqueue.h>
    #include <linux/net_tstamp.h>
    #ifndef SCM_TIMESTAMPING
    #define SCM_TIMESTAMPING 37
    #endif
    #ifndef SO_TIMESTAMPING
    #define SO_TIMESTAMPING 37
    #endif
    #ifndef SO_MEMINFO
    #define SO_MEMINFO 55
    #endif
    #ifndef RUSAGE_THREAD
    #define RUSAGE_THREAD 1
    #endif
    """
    int SCM_TIMESTAMPING
    int SO_TIMESTAMPING
    int SOF_TIMESTAMPING_RX_SOFTWARE
    int SOF_TIMESTAMPING_SOFTWARE
    int SO_MEMINFO
    int RUSAGE_THREAD
