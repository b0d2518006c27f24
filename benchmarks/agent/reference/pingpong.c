/* Records of 64 bytes between two processes on two CPUs, in shared memory: by one word on one cache line each way (round
 * trips only), and by single-producer single-consumer queues of 1,024 slots that keep the other's index until it does not
 * suffice. Both sides spin; between two slices the other process sleeps.
 *
 *     pingpong CPU CPU        reads lines: KIND COUNT, prints for each: NANOSECONDS
 *
 * KIND is word or queue (a round trip, the median of batches of 100) or stream (a record through one queue, the
 * mean; each is numbered and checked). The first WARM are not counted. A slice that takes a minute ends the program. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 1024
#define BATCH 100
#define WARM 1000
#define MOST 1000000

struct queue {
    _Alignas(128) uint64_t tail;
    _Alignas(128) uint64_t head;
    _Alignas(128) uint8_t slots[SLOTS][64];
};
struct shared {
    _Alignas(128) uint64_t ping;
    _Alignas(128) uint64_t pong;
    struct queue there, back;
};
struct end { struct queue *q; uint64_t own, peer; };
struct slice { int64_t kind, count; };      /* kind: the first letter */

static int push(struct end *e, const void *message)
{
    if (e->own - e->peer == SLOTS) {
        e->peer = __atomic_load_n(&e->q->head, __ATOMIC_ACQUIRE);
        if (e->own - e->peer == SLOTS)
            return 0;
    }
    memcpy(e->q->slots[e->own % SLOTS], message, 64);
    __atomic_store_n(&e->q->tail, ++e->own, __ATOMIC_RELEASE);
    return 1;
}

static int pop(struct end *e, void *message)
{
    if (e->own == e->peer) {
        e->peer = __atomic_load_n(&e->q->tail, __ATOMIC_ACQUIRE);
        if (e->own == e->peer)
            return 0;
    }
    memcpy(message, e->q->slots[e->own % SLOTS], 64);
    __atomic_store_n(&e->q->head, ++e->own, __ATOMIC_RELEASE);
    return 1;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus))
        _exit(3);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The other process: echoes, or sends the stream. */
static void other(struct shared *s, int commands)
{
    struct end in = { &s->there, 0, 0 }, out = { &s->back, 0, 0 };
    struct slice slice;
    uint64_t word = 0;
    while (read(commands, &slice, sizeof slice) == sizeof slice) {
        uint8_t message[64] = { 0 };
        for (int64_t i = 0; i < slice.count; i++) {
            if (slice.kind == 'w') {
                word++;
                while (__atomic_load_n(&s->ping, __ATOMIC_ACQUIRE) != word)
                    ;
                __atomic_store_n(&s->pong, word, __ATOMIC_RELEASE);
                continue;
            }
            if (slice.kind == 'q')
                while (!pop(&in, message))
                    ;
            else
                memcpy(message, &i, 8);
            while (!push(&out, message))
                ;
        }
    }
}

int main(int argc, char **argv)
{
    static double batches[MOST / BATCH];
    int pipes[2];
    if (argc != 3 || pipe(pipes))
        return 2;
    struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (s == MAP_FAILED)
        return 4;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pipes[1]);
        pin(atoi(argv[2]));
        other(s, pipes[0]);
        _exit(0);
    }
    close(pipes[0]);
    pin(atoi(argv[1]));
    struct end out = { &s->there, 0, 0 }, in = { &s->back, 0, 0 };
    uint8_t message[64] = { 0 };
    uint64_t word = 0;
    char kind[16];
    long long count;
    while (scanf("%15s %lld", kind, &count) == 2) {
        if (count < BATCH || count > MOST)
            return 2;
        struct slice slice = { kind[0], WARM + count / BATCH * BATCH };
        alarm(60);
        if (write(pipes[1], &slice, sizeof slice) != sizeof slice)
            return 5;
        int64_t begun = 0, first = 0, n = 0;
        for (int64_t i = 0; i < slice.count; i++) {
            if (i >= WARM && (i - WARM) % BATCH == 0) {
                int64_t at = now();
                if (i == WARM)
                    first = at;
                else
                    batches[n++] = (double)(at - begun) / BATCH;
                begun = at;
            }
            if (slice.kind == 'w') {
                __atomic_store_n(&s->ping, ++word, __ATOMIC_RELEASE);
                while (__atomic_load_n(&s->pong, __ATOMIC_ACQUIRE) != word)
                    ;
                continue;
            }
            if (slice.kind == 'q')
                while (!push(&out, message))
                    ;
            while (!pop(&in, message))
                ;
            if (slice.kind == 's' && memcmp(message, &i, 8))
                return 6;
        }
        int64_t end = now();
        batches[n++] = (double)(end - begun) / BATCH;
        if (slice.kind == 's') {
            printf("%.2f\n", (double)(end - first) / (double)(slice.count - WARM));
        } else {
            qsort(batches, (size_t)n, sizeof(double), compare);
            printf("%.2f\n", batches[n / 2]);
        }
        fflush(stdout);
        alarm(0);
    }
    close(pipes[1]);
    waitpid(child, NULL, 0);
    return 0;
}
