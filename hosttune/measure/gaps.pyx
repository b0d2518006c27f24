# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The gap detector's loop: spin on the clock, note every hole in the spinning.

A thread that reads the clock without pause sees consecutive readings some 25 ns apart. A larger distance
is time in which the thread did not run. The loop runs without the GIL, calls nothing that can block while
it spins, and writes into memory that was touched before the start.

What the kernel knows about a gap is asked for right after it, and the clock is read again afterwards, so
that the questions do not count as lost time: getrusage(RUSAGE_THREAD) for every gap (was this thread
switched out?), /proc/stat for gaps of at least `explain_ns` (was the CPU idle, or stolen by the
hypervisor, meanwhile?). /proc/stat counts in ticks of 10 ms, so shorter gaps are not worth that question.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport strlen, strstr
from posix.fcntl cimport O_RDONLY, open
from posix.resource cimport rusage
from posix.time cimport clock_gettime, timespec
from posix.unistd cimport close

cdef extern from "<sys/resource.h>" nogil:
    enum: RUSAGE_THREAD
    int getrusage(int who, rusage *usage)

cdef extern from "<time.h>" nogil:
    enum: CLOCK_MONOTONIC

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void *buffer, size_t count, long offset)

cdef extern from "<stdlib.h>" nogil:
    long long strtoll(const char *text, char **end, int base)


cdef struct Gap:
    int64_t start
    int64_t length
    int64_t switches
    int64_t idle
    int64_t steal


cdef struct Ticks:
    int64_t idle
    int64_t steal


cdef inline int64_t now() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return at.tv_sec * <int64_t>1000000000 + at.tv_nsec


cdef inline int64_t involuntary_switches() noexcept nogil:
    cdef rusage usage
    getrusage(RUSAGE_THREAD, &usage)
    return usage.ru_nivcsw


cdef Ticks cpu_ticks(int fd, const char *row, char *buffer, size_t size) noexcept nogil:
    """Idle and steal of one CPU from /proc/stat (proc_stat(5)): columns 4 and 8 of its row."""
    cdef Ticks ticks = Ticks(-1, -1)
    cdef ssize_t got = pread(fd, buffer, size - 1, 0)
    cdef char *at
    cdef int column
    cdef int64_t value
    if got <= 0:
        return ticks
    buffer[got] = 0
    at = strstr(buffer, row)
    if at == NULL:
        return ticks
    at += strlen(row)
    for column in range(1, 9):
        value = strtoll(at, &at, 10)
        if column == 4:
            ticks.idle = value
        elif column == 8:
            ticks.steal = value
    return ticks


def spin(int cpu, int64_t duration_ns, int64_t threshold_ns, int64_t explain_ns, int capacity):
    """Spin for `duration_ns` on the calling thread, which the caller has placed on `cpu`.

    Returns a dict: `started_ns` (CLOCK_MONOTONIC), `spun_ns`, `loops` (clock readings), `longest_ns`,
    `lost_ns` (sum of all gaps above the threshold), `count` (all gaps above the threshold) and `gaps`: the
    first `capacity` of them as tuples (start_ns since `started_ns`, length_ns, involuntary switches, idle
    ticks, steal ticks); ticks are -1 where not asked for or unreadable.

    Raises MemoryError, and OSError if /proc/stat cannot be opened.
    """
    cdef Gap *gaps = <Gap *>calloc(max(capacity, 1), sizeof(Gap))
    cdef size_t size = 1 << 18
    cdef char *buffer = <char *>calloc(size, 1)
    cdef bytes name = b"\ncpu%d " % cpu
    cdef const char *row = name
    cdef int fd = open(b"/proc/stat", O_RDONLY)
    cdef int64_t start, last, at, length, switches, seen, end
    cdef int64_t loops = 0, longest = 0, lost = 0
    cdef int count = 0, i
    cdef Ticks before, after
    try:
        if gaps == NULL or buffer == NULL:
            raise MemoryError()
        if fd < 0:
            raise OSError("/proc/stat cannot be opened")
        with nogil:
            for i in range(capacity):
                gaps[i].start = -1
            before = cpu_ticks(fd, row, buffer, size)
            seen = involuntary_switches()
            start = last = now()
            end = start + duration_ns
            while last < end:
                at = now()
                loops += 1
                length = at - last
                last = at
                if length > longest:
                    longest = length
                if length <= threshold_ns:
                    continue
                lost += length
                switches = involuntary_switches()
                if count < capacity:
                    gaps[count].start = at - length - start
                    gaps[count].length = length
                    gaps[count].switches = switches - seen
                    gaps[count].idle = gaps[count].steal = -1
                    if length >= explain_ns:
                        after = cpu_ticks(fd, row, buffer, size)
                        if before.idle >= 0 and after.idle >= 0:
                            gaps[count].idle = after.idle - before.idle
                            gaps[count].steal = after.steal - before.steal
                        before = after
                count += 1
                seen = switches
                last = now()
        return {
            "started_ns": start, "spun_ns": last - start, "loops": loops, "longest_ns": longest,
            "lost_ns": lost, "count": count,
            "gaps": [
                (gaps[i].start, gaps[i].length, gaps[i].switches, gaps[i].idle, gaps[i].steal)
                for i in range(min(count, capacity))
            ],
        }
    finally:
        free(gaps)
        free(buffer)
        if fd >= 0:
            close(fd)
