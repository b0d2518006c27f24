/* The worker ABI, version 1: the one declaration of these layouts.
 *
 * A worker is a table of C functions (struct desk_worker) and the size of its state. `desk worker` owns
 * the state, zeroes it before init() and never moves it; it hands over records where they lie in the
 * ring, many at a time, and copies the results to the output ring.
 *
 * Cython reads this header through abi.pxd; desk_abi.rs beside it declares the table again for Rust.
 * Both are refused when the table's number or size is another one.
 */
#ifndef DESK_WORKER_H
#define DESK_WORKER_H

#include <stdint.h>

#define DESK_WORKER_ABI 1
#define DESK_WORKER_PARAMETERS 16  /* numbers that the configuration hands to init(), at most */
#define DESK_WORKER_NUMBERS 16     /* numbers that a worker shows, at most */
#define DESK_WORKER_NAME 32        /* bytes of such a number's name: at most 31 of a-z, 0-9 and _; zeros behind them */
#define DESK_WORKER_RECORD 4096    /* bytes of a record and of a result, at most; a multiple of 8 */
#define DESK_WORKER_RESULTS 64     /* results of a record, at most */

/* X(type of the result, name, arguments): none of them may block, allocate, or call into Python.
 *
 * init    once, on the zeroed state, with `count` numbers of the configuration. Returns 0; below 0 the worker
 *         does not start.
 * work    for a batch: `count` records of `size` bytes each, one behind the other. Writes results one behind
 *         the other, there is room for `capacity` of them. Returns how many, or a number below 0, which ends
 *         the worker. The records are read-only, and another process may write there at any time: what is
 *         checked has to be a copy. The first 8 bytes of a record are its sequence number, which the first 8
 *         of each of its results repeat, in order.
 * report  about once a second, between batches: writes the numbers to show, in the order of `names`.
 * fini    once, at the end.
 */
#define DESK_WORKER_FUNCTIONS(X) \
    X(int32_t, init, (void *state, const double *parameters, uint32_t count)) \
    X(int32_t, work, (void *state, const void *records, uint32_t count, uint32_t size, \
                      void *results, uint32_t capacity)) \
    X(void, report, (const void *state, double *numbers)) \
    X(void, fini, (void *state))

#define DESK_WORKER_TYPE(type, name, arguments) typedef type (*desk_##name##_fn) arguments;
DESK_WORKER_FUNCTIONS(DESK_WORKER_TYPE)

/* What a worker hands over: a symbol "desk_worker" of a shared object (C, C++, Rust), a capsule "desk.worker"
 * (Cython), or built by desk/worker from Numba's addresses. `work` is required; a NULL does nothing. */
struct desk_worker {
    uint32_t abi;                  /* DESK_WORKER_ABI */
    uint32_t size;                 /* sizeof(struct desk_worker) */
    uint64_t state_size;           /* bytes */
    uint32_t record_size;          /* bytes of a record of the input ring */
    uint32_t result_size;          /* bytes of a result; 0: the worker has none */
    uint32_t most_results;         /* results that a record may have; 0 where result_size is 0 */
    uint32_t numbers;              /* how many numbers report() writes */
    char names[DESK_WORKER_NUMBERS][DESK_WORKER_NAME];
#define DESK_WORKER_MEMBER(type, name, arguments) desk_##name##_fn name;
    DESK_WORKER_FUNCTIONS(DESK_WORKER_MEMBER)
};

#endif
