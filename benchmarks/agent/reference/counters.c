/* Counts, by LD_PRELOAD, what a process asks of the C library: allocations, and system calls on sockets and files.
 *
 * $COUNTERS names a file of at least sizeof(struct counts) * 2 bytes, which is mapped. The first struct is where the
 * counts stood when order number $COUNTERS_FROM had been sent (a send of $COUNTERS_SIZE bytes is an order), the second
 * where they stood at the last order. Without $COUNTERS nothing is counted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct counts { uint64_t orders, allocations, mappings, feed_receives, answer_receives, empty_receives, sends, others; };

static struct counts now, *kept;
static uint64_t from;
static int exchange = -1;       /* where orders go */
static ssize_t order_size;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("COUNTERS"), *first = getenv("COUNTERS_FROM"), *size = getenv("COUNTERS_SIZE");
    if (!path || !first || !size)
        return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *at = file < 0 ? MAP_FAILED : mmap(NULL, 2 * sizeof now, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (at == MAP_FAILED)
        _exit(120);
    from = strtoull(first, NULL, 10);
    order_size = atoll(size);
    kept = at;
}

/* The next definition of a function: glibc's. */
#define NEXT(name) \
    static __typeof__(&name) next_##name; \
    if (!next_##name) \
        next_##name = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* glibc's own allocator by its other names: dlsym itself may allocate. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) { now.allocations++; return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { now.allocations++; return __libc_calloc(n, size); }
void *realloc(void *at, size_t size) { now.allocations++; return __libc_realloc(at, size); }
void *memalign(size_t to, size_t size) { now.allocations++; return __libc_memalign(to, size); }
void *aligned_alloc(size_t to, size_t size) { now.allocations++; return __libc_memalign(to, size); }
int posix_memalign(void **at, size_t to, size_t size)
{
    now.allocations++;
    *at = __libc_memalign(to, size);
    return *at ? 0 : ENOMEM;
}

void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset)
{
    NEXT(mmap);
    now.mappings++;
    return next_mmap(at, size, protection, flags, file, offset);
}

static ssize_t received(int s, ssize_t n)
{
    if (n < 0 && errno == EAGAIN)
        now.empty_receives++;
    else if (s == exchange)
        now.answer_receives++;
    else
        now.feed_receives++;
    return n;
}

ssize_t recv(int s, void *to, size_t size, int flags)
{
    NEXT(recv);
    return received(s, next_recv(s, to, size, flags));
}

ssize_t recvmsg(int s, struct msghdr *m, int flags)
{
    NEXT(recvmsg);
    return received(s, next_recvmsg(s, m, flags));
}

int recvmmsg(int s, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
    NEXT(recvmmsg);
    return (int)received(s, next_recvmmsg(s, m, n, flags, timeout));
}

ssize_t send(int s, const void *data, size_t size, int flags)
{
    NEXT(send);
    ssize_t n = next_send(s, data, size, flags);
    now.sends++;
    if (kept && n == order_size) {
        exchange = s;
        if (++now.orders >= from)
            kept[now.orders > from] = now;
    }
    return n;
}

#define COUNTED(result, name, parameters, arguments) \
    result name parameters \
    { \
        NEXT(name); \
        now.others++; \
        return next_##name arguments; \
    }
COUNTED(int, getsockopt, (int s, int level, int name, void *value, socklen_t *size), (s, level, name, value, size))
COUNTED(int, setsockopt, (int s, int level, int name, const void *value, socklen_t size), (s, level, name, value, size))
COUNTED(int, getrusage, (__rusage_who_t who, struct rusage *usage), (who, usage))
COUNTED(int, poll, (struct pollfd *p, nfds_t n, int timeout), (p, n, timeout))
COUNTED(int, nanosleep, (const struct timespec *want, struct timespec *left), (want, left))
COUNTED(ssize_t, read, (int file, void *to, size_t size), (file, to, size))
COUNTED(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
