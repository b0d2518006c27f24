# cython: language_level=3
"""System calls that Python 3.11 has no function for; each raises OSError with the kernel's answer.

Sources: prctl(2), capset(2), capabilities(7), keyctl_join_session_keyring(3).
"""

from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EINVAL, ENOSYS, EPERM, errno
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "<sys/prctl.h>" nogil:
    enum:
        PR_SET_NO_NEW_PRIVS
        PR_SET_PDEATHSIG
        PR_CAPBSET_READ
        PR_CAPBSET_DROP
        PR_CAP_AMBIENT
        PR_CAP_AMBIENT_CLEAR_ALL
    int prctl(int option, ...)

cdef extern from "<linux/capability.h>" nogil:
    enum:
        _LINUX_CAPABILITY_VERSION_3
    struct __user_cap_header_struct:
        uint32_t version
        int pid
    struct __user_cap_data_struct:
        uint32_t effective
        uint32_t permitted
        uint32_t inheritable

cdef extern from "<linux/keyctl.h>" nogil:
    enum:
        KEYCTL_JOIN_SESSION_KEYRING

cdef extern from "<sys/syscall.h>" nogil:
    enum:
        SYS_capset
        SYS_keyctl

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)


def set_no_new_privileges():
    if prctl(PR_SET_NO_NEW_PRIVS, <unsigned long>1, <unsigned long>0, <unsigned long>0, <unsigned long>0):
        PyErr_SetFromErrno(OSError)


def set_parent_death_signal(int number):
    if prctl(PR_SET_PDEATHSIG, <unsigned long>number):
        PyErr_SetFromErrno(OSError)


def empty_bounding_set():
    cdef unsigned long number
    cdef int held
    for number in range(64):
        held = prctl(PR_CAPBSET_READ, number, <unsigned long>0, <unsigned long>0, <unsigned long>0)
        if held < 0:
            if errno == EINVAL and number:
                return  # beyond the kernel's last capability
            PyErr_SetFromErrno(OSError)
        if held and prctl(PR_CAPBSET_DROP, number, <unsigned long>0, <unsigned long>0, <unsigned long>0):
            PyErr_SetFromErrno(OSError)


def set_capabilities(uint64_t permitted, uint64_t effective):
    cdef __user_cap_header_struct header
    cdef __user_cap_data_struct words[2]
    cdef unsigned long nothing = 0
    if prctl(PR_CAP_AMBIENT, <unsigned long>PR_CAP_AMBIENT_CLEAR_ALL, nothing, nothing, nothing) and errno != EINVAL:
        PyErr_SetFromErrno(OSError)  # EINVAL: before Linux 4.3, which has no ambient set
    header.version = _LINUX_CAPABILITY_VERSION_3
    header.pid = 0
    words[0].permitted, words[1].permitted = permitted & 0xffffffff, permitted >> 32
    words[0].effective, words[1].effective = effective & 0xffffffff, effective >> 32
    words[0].inheritable = words[1].inheritable = 0
    if syscall(SYS_capset, &header, <__user_cap_data_struct *>words):
        PyErr_SetFromErrno(OSError)


def join_new_session_keyring():
    # ENOSYS: a kernel without keys. EPERM: a seccomp filter, which the program has too.
    if syscall(SYS_keyctl, <long>KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 and errno not in (ENOSYS, EPERM):
        PyErr_SetFromErrno(OSError)
