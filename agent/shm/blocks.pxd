# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Large blocks: zeroed, touched, and in huge pages where the host has free ones.

Source: mmap(2), MAP_HUGETLB and MAP_POPULATE; madvise(2), MADV_HUGEPAGE; Documentation/admin-guide/mm/hugetlbpage.rst
and transhuge.rst.
"""

cdef extern from *:
    """
    #include <sys/mman.h>
    #define MEMORY_HUGE ((size_t)2 << 20)
    #define MEMORY_PAGE ((size_t)4096)
    """
    void *mmap(void *, size_t, int, int, int, long) nogil
    int munmap(void *, size_t) nogil
    int madvise(void *, size_t, int) nogil
    int mprotect(void *, size_t, int) nogil
    int PROT_NONE
    int PROT_READ
    int PROT_WRITE
    int MAP_PRIVATE
    int MAP_ANONYMOUS
    int MAP_POPULATE
    int MAP_HUGETLB
    int MAP_NORESERVE
    int MADV_HUGEPAGE
    void *MAP_FAILED
    size_t MEMORY_HUGE
    size_t MEMORY_PAGE


cdef struct Block:
    void *at                    # NULL: none
    size_t size                 # bytes as mapped: a multiple of a huge page
    bint huge                   # in pages of hugetlbfs


cdef inline void block_free(Block *b) noexcept nogil:
    """Unmap a block; none is no error."""
    if b.at != NULL:
        munmap(b.at, b.size)
        b.at = NULL


cdef inline void fault_in(void *at, size_t size) noexcept nogil:
    """Touch each page of size bytes at `at`: the kernel maps it (zeroed) now, and no access faults in the loop."""
    cdef size_t i = 0
    while i < size:
        (<volatile char *> at)[i] = 0
        i += MEMORY_PAGE


cdef inline bint block_reserve(Block *b, size_t size, size_t touched) noexcept nogil:
    """Map at least size bytes, of which only the first `touched` are in memory before their first use; not in pages of
    hugetlbfs. Returns False when the kernel refuses."""
    b.size = (size + MEMORY_HUGE - 1) // MEMORY_HUGE * MEMORY_HUGE
    b.huge = False
    b.at = mmap(NULL, b.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if b.at == MAP_FAILED:
        b.at = NULL
        return False
    madvise(b.at, touched, MADV_HUGEPAGE)
    fault_in(b.at, touched)
    return True


cdef inline bint block_map(Block *b, size_t size) noexcept nogil:
    """Map at least size bytes, all of them in memory. Returns False when the kernel refuses."""
    cdef int flags = MAP_PRIVATE | MAP_ANONYMOUS
    b.size = (size + MEMORY_HUGE - 1) // MEMORY_HUGE * MEMORY_HUGE
    b.at = mmap(NULL, b.size, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB | MAP_POPULATE, -1, 0)
    b.huge = b.at != MAP_FAILED
    if b.huge:
        return True
    # Not accessible at first: where mlockall(MCL_FUTURE) holds, mmap() would fill it with small pages at once.
    b.at = mmap(NULL, b.size, PROT_NONE, flags, -1, 0)
    if b.at == MAP_FAILED:
        b.at = NULL
        return False
    # Asked for before the first touch: a page that is there already would be collapsed later, in the loop's time.
    madvise(b.at, b.size, MADV_HUGEPAGE)
    if mprotect(b.at, b.size, PROT_READ | PROT_WRITE) != 0:
        block_free(b)
        return False
    fault_in(b.at, b.size)
    return True
