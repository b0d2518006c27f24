/* Round trips between two processes on two CPUs, in shared memory: by one word on one cache line each way, and by two
 * single-producer single-consumer queues of 64-byte slots that keep the other's index until it does not suffice.
 *
 *     pingpong CPU CPU COUNT      prints: RAW_NS QUEUE_NS (medians of batches of 1,000) */
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
#define BATCH 1000

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

static void echo(struct shared *s, int64_t count)
{
    struct end in = { &s->there, 0, 0 }, out = { &s->back, 0, 0 };
    uint8_t message[64];
    for (int64_t i = 1; i <= count; i++) {
        while (__atomic_load_n(&s->ping, __ATOMIC_ACQUIRE) != (uint64_t)i)
            ;
        __atomic_store_n(&s->pong, (uint64_t)i, __ATOMIC_RELEASE);
    }
    for (int64_t i = 0; i < count; i++) {
        while (!pop(&in, message))
            ;
        while (!push(&out, message))
            ;
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int64_t count = atoll(argv[3]) / BATCH * BATCH;
    double *batches = malloc(sizeof(double) * (size_t)(count / BATCH) * 2);
    struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    uint8_t message[64] = { 0 };
    if (s == MAP_FAILED || !batches)
        return 4;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(atoi(argv[2]));
        echo(s, count);
        _exit(0);
    }
    pin(atoi(argv[1]));
    struct end out = { &s->there, 0, 0 }, in = { &s->back, 0, 0 };
    for (int kind = 0; kind < 2; kind++) {
        double *times = batches + kind * (count / BATCH);
        for (int64_t i = 0, begun = now(); i < count; i++) {
            if (kind == 0) {
                __atomic_store_n(&s->ping, (uint64_t)i + 1, __ATOMIC_RELEASE);
                while (__atomic_load_n(&s->pong, __ATOMIC_ACQUIRE) != (uint64_t)i + 1)
                    ;
            } else {
                while (!push(&out, message))
                    ;
                while (!pop(&in, message))
                    ;
            }
            if ((i + 1) % BATCH == 0) {
                int64_t at = now();
                times[i / BATCH] = (double)(at - begun) / BATCH;
                begun = at;
            }
        }
        qsort(times, (size_t)(count / BATCH), sizeof(double), compare);
        printf("%.2f ", times[count / BATCH / 2]);
    }
    waitpid(child, NULL, 0);
    return 0;
}
