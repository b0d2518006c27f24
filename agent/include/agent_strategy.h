/* The strategy ABI, version 1: the only declaration of these layouts.
 *
 * A strategy is a pair of C functions and the size of its state. The engine owns the state and
 * the order buffer, zeroes both before init() and never moves them. Orders are returned as
 * values, so that the risk gate always stands between a strategy and the socket.
 *
 * agent/strategy.py holds the same layouts as NumPy records; importing a strategy compares them
 * with the sizes and offsets of this header as compiled.
 */
#ifndef AGENT_STRATEGY_H
#define AGENT_STRATEGY_H

#include <stdint.h>

#define AGENT_ABI 1
#define AGENT_SCALE 100000000      /* prices and sizes of a tick: units of 1e-8 */
#define AGENT_MAX_ORDERS 8         /* places in the order buffer of one event */

#define AGENT_BOOK 1               /* best bid and offer changed */
#define AGENT_TRADE 2              /* a trade was printed */

#define AGENT_BUY 1
#define AGENT_SELL (-1)

struct agent_tick {
    uint64_t sequence;             /* MoldUDP64 sequence number of the message */
    int64_t received_ns;           /* CLOCK_MONOTONIC, when the datagram was in user memory */
    int64_t exchange_id;           /* update id (book) or trade id (trade) of the exchange */
    int64_t bid, bid_size;         /* AGENT_BOOK, else 0; units of 1e-8 */
    int64_t ask, ask_size;
    int64_t price, size;           /* AGENT_TRADE, else 0; units of 1e-8 */
    uint32_t kind;                 /* AGENT_BOOK or AGENT_TRADE */
    uint32_t symbol;               /* index of the configured symbol */
};

struct agent_order {
    double price;                  /* limit price in currency; a multiple of 0.0001 */
    int64_t size;                  /* whole units, as OUCH counts shares */
    int32_t side;                  /* AGENT_BUY or AGENT_SELL */
    uint32_t symbol;               /* index of the configured symbol */
};

struct agent_params {
    double fast, slow;             /* periods, in events */
    int64_t size;                  /* order size, whole units */
};

/* Called once, before the loop, with the state zeroed. 0, or a negative error code. */
typedef int32_t (*agent_init_fn)(void *state, const struct agent_params *params);

/* Called for each tick. The number of orders written to out (at most AGENT_MAX_ORDERS), or a
 * negative error code. It must not block, allocate, or call into Python. */
typedef int32_t (*agent_on_event_fn)(void *state, const struct agent_tick *tick,
                                     struct agent_order *out);

#endif
