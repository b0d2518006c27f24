/* The strategy ABI, version 3: the one declaration of these layouts.
 *
 * A strategy is a table of C functions (struct agent_strategy) and the size of its state. The engine
 * owns the state and the order buffer, zeroes both before init() and never moves them. Orders are
 * returned as values, so that the risk gate always stands between a strategy and the socket.
 *
 * Cython reads this header through abi.pxd; the NumPy records of strategy.py and the Rust structures
 * of agent_abi.rs beside it declare the layouts again, and are refused when their layout hash is not
 * the one that agent_layout_hash() computes here.
 */
#ifndef AGENT_STRATEGY_H
#define AGENT_STRATEGY_H

#include <stddef.h>
#include <stdint.h>

#define AGENT_ABI 3
#define AGENT_SCALE 100000000      /* prices and sizes of an event: units of 1e-8 */
#define AGENT_MAX_ORDERS 8         /* places in the order buffer of one call */
#define AGENT_VALUES 8             /* numbers that the configuration hands to init() */
#define AGENT_SYMBOLS 256          /* symbols of an engine, at most */
#define AGENT_NAME 24              /* bytes of a symbol's name: at most 20 characters, zeros behind them */

/* agent_event.kind: bits */
#define AGENT_BOOK 1               /* the best bid or offer changed, in price or size */
#define AGENT_TRADE 2              /* a trade was printed */
#define AGENT_STATE 4              /* what the event says behind `symbol` changed; the quotes are those there are now */

/* agent_event.state and agent_event.market */
#define AGENT_UNTOLD 0             /* the feed does not tell it: not its format's, or no message of it yet */
#define AGENT_UNKNOWN 1            /* not known: joined in the middle, messages lost, no code of the specification */

/* agent_event.state: of the symbol */
#define AGENT_TRADING 2
#define AGENT_QUOTING 3            /* quotation only, before the cross that ends a halt or releases an IPO */
#define AGENT_PAUSED 4             /* Limit Up-Limit Down trading pause */
#define AGENT_HALTED 5             /* halted in all markets, also by the market-wide circuit breaker */
#define AGENT_HALTED_HERE 6        /* operational halt of this market alone */

/* agent_event.market: of the whole market */
#define AGENT_CLOSED 2             /* before and after the system hours */
#define AGENT_PRE_MARKET 3         /* system hours, before the market hours */
#define AGENT_OPEN 4               /* market hours */
#define AGENT_POST_MARKET 5        /* system hours, after the market hours */
#define AGENT_ENDED 6              /* the circuit breaker's level 3 was breached: no more trading this day */

/* agent_event.short_sale */
#define AGENT_SHORT_UNTOLD 0
#define AGENT_SHORT_FREE 1         /* no short sale price test */
#define AGENT_SHORT_RESTRICTED 2   /* Reg SHO: the price test is in effect */

/* sides */
#define AGENT_BUY 1
#define AGENT_SELL (-1)

/* agent_order.action */
#define AGENT_ENTER 0
#define AGENT_REPLACE 1
#define AGENT_CANCEL 2

/* agent_fill.kind */
#define AGENT_ACCEPTED 1
#define AGENT_REPLACED 2
#define AGENT_EXECUTED 3
#define AGENT_CANCELED 4           /* by us, by the exchange, or by a disconnect */
#define AGENT_REJECTED 5           /* by the exchange */

/* X(type, name), ARRAY(type, name, count) */
#define AGENT_EVENT_FIELDS(X) \
    X(uint64_t, sequence)          /* MoldUDP64 sequence number of the message */ \
    X(int64_t, received_ns)        /* CLOCK_MONOTONIC, when the datagram was in user memory */ \
    X(int64_t, exchange_ns)        /* the exchange's time: ITCH, ns after midnight; else 0 */ \
    X(int64_t, exchange_id)        /* Binance update or trade id; ITCH order reference or match number */ \
    X(int64_t, bid)                /* best bid after the message, 0 for none; units of 1e-8 */ \
    X(int64_t, bid_size)           \
    X(int64_t, ask)                \
    X(int64_t, ask_size)           \
    X(int64_t, price)              /* AGENT_TRADE, else 0; units of 1e-8 */ \
    X(int64_t, size)               \
    X(uint32_t, kind)              /* AGENT_BOOK, AGENT_TRADE, AGENT_STATE: one or more */ \
    X(uint32_t, symbol)            /* index of the configured symbol */ \
    X(int64_t, collar_low)         /* LULD auction collar, until the symbol trades again; 0: none; units of 1e-8 */ \
    X(int64_t, collar_high)        \
    X(uint32_t, state)             /* AGENT_UNTOLD ... AGENT_HALTED_HERE: of the symbol */ \
    X(uint32_t, market)            /* AGENT_UNTOLD ... AGENT_ENDED: of the market */ \
    X(uint32_t, short_sale)        /* AGENT_SHORT_UNTOLD ... AGENT_SHORT_RESTRICTED: of the symbol */ \
    X(uint32_t, auction)           /* ITCH's letter of the cross under way, and of the cross that is this trade; 0 */ \
    X(uint32_t, breached)          /* 1 to 3: level of the market-wide circuit breaker breached this day; 0: none */ \
    X(uint32_t, day)               /* counts the days that begin in the feed */

#define AGENT_ORDER_FIELDS(X) \
    X(double, price)               /* limit price in currency, a multiple of 0.0001; not for AGENT_CANCEL */ \
    X(int64_t, size)               /* whole units to be open, as OUCH counts shares; AGENT_CANCEL: to remain */ \
    X(uint64_t, id)                /* AGENT_REPLACE, AGENT_CANCEL: agent_fill.id of the open order */ \
    X(uint64_t, tag)               /* of the strategy's own; comes back in agent_fill.tag */ \
    X(int32_t, side)               /* AGENT_ENTER: AGENT_BUY or AGENT_SELL */ \
    X(uint32_t, symbol)            /* AGENT_ENTER: index of the configured symbol */ \
    X(uint32_t, action)            /* AGENT_ENTER, AGENT_REPLACE, AGENT_CANCEL */ \
    X(uint32_t, reserved)          /* 0 */

#define AGENT_FILL_FIELDS(X) \
    X(uint64_t, id)                /* the engine's name of the order (OUCH UserRefNum) */ \
    X(uint64_t, tag)               /* from the order */ \
    X(int64_t, received_ns)        /* CLOCK_MONOTONIC */ \
    X(int64_t, size)               /* AGENT_EXECUTED, AGENT_CANCELED: of this fill; else of the order */ \
    X(int64_t, leaves)             /* what is still open of the order */ \
    X(int64_t, position)           /* of the symbol after it, in whole units, short is negative */ \
    X(double, price)               /* AGENT_EXECUTED: of the execution; else of the order; in currency */ \
    X(int32_t, side)               \
    X(uint32_t, symbol)            \
    X(uint32_t, kind)              /* AGENT_ACCEPTED ... AGENT_REJECTED */ \
    X(uint32_t, reason)            /* AGENT_CANCELED: OUCH's letter; AGENT_REJECTED: its code; else 0 */

#define AGENT_PARAMS_FIELDS(X, ARRAY) \
    X(double, fast)                /* periods, in book events */ \
    X(double, slow)                \
    X(int64_t, size)               /* order size, whole units */ \
    X(uint64_t, symbols)           /* how many are configured */ \
    ARRAY(double, values, AGENT_VALUES) /* strategy.values of the configuration, 0 where not given */ \
    ARRAY(agent_name, names, AGENT_SYMBOLS) /* of the symbols, by index; empty behind the last, and where not known yet */

/* A symbol's name. */
typedef struct { char text[AGENT_NAME]; } agent_name;

#define AGENT_MEMBER(type, name) type name;
#define AGENT_MEMBERS(type, name, count) type name[count];
struct agent_event { AGENT_EVENT_FIELDS(AGENT_MEMBER) };
struct agent_order { AGENT_ORDER_FIELDS(AGENT_MEMBER) };
struct agent_fill { AGENT_FILL_FIELDS(AGENT_MEMBER) };
struct agent_params { AGENT_PARAMS_FIELDS(AGENT_MEMBER, AGENT_MEMBERS) };

/* Returns the index of the symbol with this name, or -1. For init(). */
static inline int32_t agent_find_symbol(const struct agent_params *params, const char *name)
{
    for (uint64_t i = 0; i < params->symbols && i < AGENT_SYMBOLS; i++)
        for (int at = 0; at < AGENT_NAME && params->names[i].text[at] == name[at]; at++)
            if (!name[at])
                return (int32_t)i;
    return -1;
}

/* None of them may block, allocate, or call into Python. Those that return orders give the number
 * written to out (at most AGENT_MAX_ORDERS), or a negative error code. */
typedef int32_t (*agent_init_fn)(void *state, const struct agent_params *params);
typedef int32_t (*agent_on_event_fn)(void *state, const struct agent_event *event, struct agent_order *out);
typedef int32_t (*agent_on_fill_fn)(void *state, const struct agent_fill *fill, struct agent_order *out);
typedef int32_t (*agent_on_timer_fn)(void *state, int64_t now_ns, struct agent_order *out);
typedef void (*agent_fini_fn)(void *state);

/* What a strategy hands over: a symbol "agent_strategy" of a shared object (C, C++, Rust), a capsule
 * "agent.strategy" (Cython), or built by strategy.py from Numba's addresses. on_event is required. */
struct agent_strategy {
    uint32_t abi;                  /* AGENT_ABI */
    uint32_t size;                 /* sizeof(struct agent_strategy) */
    uint64_t layout;               /* the layout hash the strategy was built with */
    uint64_t state_size;           /* bytes */
    agent_init_fn init;
    agent_on_event_fn on_event;
    agent_on_fill_fn on_fill;
    agent_on_timer_fn on_timer;
    agent_fini_fn fini;
};

/* The layout hash: 64-bit FNV-1a of "STRUCTURE SIZE" for each of agent_event, agent_order, agent_fill
 * and agent_params, each followed by "MEMBER TYPE OFFSET COUNT" for its members, in order: names as in C,
 * numbers in decimal, a newline behind each. */
static inline uint64_t agent_hash_text(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3ULL;
    return hash;
}

static inline uint64_t agent_hash_number(uint64_t hash, uint64_t number, const char *behind)
{
    char digits[24];
    int at = 23;
    digits[at] = 0;
    do digits[--at] = (char)('0' + number % 10); while (number /= 10);
    return agent_hash_text(agent_hash_text(hash, digits + at), behind);
}

#define AGENT_HASH_MEMBERS(type, name, count) \
    hash = agent_hash_text(hash, #name " " #type " "); \
    hash = agent_hash_number(hash, offsetof(AGENT_HASHED, name), " "); \
    hash = agent_hash_number(hash, count, "\n");
#define AGENT_HASH_MEMBER(type, name) AGENT_HASH_MEMBERS(type, name, 1)
#define AGENT_HASH_SIZE(name) \
    hash = agent_hash_number(agent_hash_text(hash, #name " "), sizeof(struct name), "\n");

static inline uint64_t agent_layout_hash(void)
{
    uint64_t hash = 0xcbf29ce484222325ULL;
#define AGENT_HASHED struct agent_event
    AGENT_HASH_SIZE(agent_event) AGENT_EVENT_FIELDS(AGENT_HASH_MEMBER)
#undef AGENT_HASHED
#define AGENT_HASHED struct agent_order
    AGENT_HASH_SIZE(agent_order) AGENT_ORDER_FIELDS(AGENT_HASH_MEMBER)
#undef AGENT_HASHED
#define AGENT_HASHED struct agent_fill
    AGENT_HASH_SIZE(agent_fill) AGENT_FILL_FIELDS(AGENT_HASH_MEMBER)
#undef AGENT_HASHED
#define AGENT_HASHED struct agent_params
    AGENT_HASH_SIZE(agent_params) AGENT_PARAMS_FIELDS(AGENT_HASH_MEMBER, AGENT_HASH_MEMBERS)
#undef AGENT_HASHED
    return hash;
}

#endif
