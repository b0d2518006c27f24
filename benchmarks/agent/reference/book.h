/* What the drivers of order books share: operations from a file, passes over them, the fastest of which is printed, and
 * then, for each symbol, best bid, its shares, best offer, its shares. The layout is benchmarks/agent/_bench.pyx's Operation.
 *
 *     PROGRAM FILE SYMBOLS LAST_REFERENCE PASSES CPU */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct operation {
    uint64_t reference, replacement;
    uint32_t symbol, shares, price;
    uint8_t kind, side;
    uint16_t unused;
};

static struct operation *operations;
static int64_t count, symbols, last_reference, passes;

/* Exit status 0, or 2 for arguments that cannot be used. */
static int prepare(int argc, char **argv)
{
    FILE *file = argc == 6 ? fopen(argv[1], "rb") : NULL;
    cpu_set_t cpus;
    if (!file)
        return 2;
    fseek(file, 0, SEEK_END);
    count = ftell(file) / (long)sizeof *operations;
    rewind(file);
    operations = (struct operation *)malloc((size_t)count * sizeof *operations);
    if (!operations || fread(operations, sizeof *operations, (size_t)count, file) != (size_t)count)
        return 2;
    fclose(file);
    symbols = atoll(argv[2]);
    last_reference = atoll(argv[3]);
    passes = atoll(argv[4]);
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[5]), &cpus);
    return sched_setaffinity(0, sizeof cpus, &cpus) ? 2 : 0;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}
