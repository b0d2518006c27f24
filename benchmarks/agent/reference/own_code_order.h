/* From a strategy's order to the call of send, for own_code.c: strategy, gate, open orders, journal, Enter Order. */
#include "link.h"
#include "agent_shm.h"
#undef AGENT_NAME                               /* a macro of the one header, a constant of the other */
#include "agent_strategy.h"
#include <endian.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* Of the conditions in which no order passes: bit n of a symbol's state n, above them of the market's, and of the book. */
enum { OF_MARKET = 12, LOCKED = 1 << 24, CROSSED = 1 << 25 };
enum { OPEN = 65536, RING = 16384, MAX_QUANTITY = 999999, UNIT = 10000, SHARE = 100000000 };
static const double MAX_PRICE = 1999999900;     /* 4 decimals */

struct order {
    uint32_t id, symbol, leaves, filled;        /* id: UserRefNum; 0: the slot is free */
    int32_t side;
    uint16_t live, older, newer;                /* slots of the open orders of the side before and after it, or its own */
    uint64_t price, tag, sequence;
    int64_t at;
};
struct own_side { uint64_t best; uint32_t count; uint16_t newest, left; };      /* open orders; left: best may be gone */
struct losses { __int128 cash, profit, peak; uint64_t mark; };                  /* of today, units of 1e-8 */
struct record { uint64_t number, time, answer, price, tag; uint32_t kind, id, original, quantity, side, symbol; };
struct ring {
    _Atomic uint64_t tail __attribute__((aligned(128)));
    _Atomic uint64_t head __attribute__((aligned(128)));
    _Atomic uint32_t ended;
    struct record records[RING] __attribute__((aligned(128)));
};

static volatile struct agent_limits limits;
static struct agent_histogram own_code, sending;
static struct {
    uint64_t datagrams, bytes, packets, messages, itch, events, wanted, sent, sends, open, journaled, answers, refused[17];
} counters;
static struct order *orders;
static struct ring *ring;
static struct agent_symbol row;                 /* the best prices, in units of 1e-8, and the position */
static struct agent_event event;
static struct agent_order wanted[AGENT_MAX_ORDERS];
static struct agent_strategy *volatile strategy;
static uint64_t strategy_state[2], ring_tail, ring_head, records, open_orders, last_key;
static uint8_t frame[64];                       /* the Enter Order, prepared */
static uint32_t reference;                      /* UserRefNum of the last order */
static struct own_side own[2];                  /* buys, sells */
static struct losses losses;
static uint64_t orders_today;
static int64_t arrived;                         /* when the tick in hand did, at the earliest */
static int64_t received, rate_arrival, last_key_at, offset, last_sent;  /* CLOCK_MONOTONIC ns; offset: to CLOCK_REALTIME */
static struct { int64_t collar_low, collar_high; uint32_t state, market, short_sale, auction; } told;    /* as in struct agent_event */
static uint32_t conditions, refused;            /* that there are; in which no order passes */
static int exchange;
static bool ready, stale;

static inline uint16_t load16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return be16toh(v); }
static inline uint32_t load32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return be32toh(v); }
static inline uint64_t load64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return be64toh(v); }
static inline void store32(uint8_t *p, uint32_t v) { v = htobe32(v); memcpy(p, &v, 4); }
static inline void store64(uint8_t *p, uint64_t v) { v = htobe64(v); memcpy(p, &v, 8); }

static inline void record_time(struct agent_histogram *h, int64_t ns)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0, bucket = value;
    if (value >= 1 << AGENT_HIST_BITS) {
        int shift = 63 - __builtin_clzll(value) - AGENT_HIST_BITS;
        bucket = ((uint64_t)shift << AGENT_HIST_BITS) + (value >> shift);
    }
    h->buckets[bucket < AGENT_HIST_BUCKETS ? bucket : AGENT_HIST_BUCKETS - 1]++;
    h->min = h->count == 0 || value < h->min ? value : h->min;
    h->max = value > h->max ? value : h->max;
    h->sum += value;
    h->count++;
}

/* ------------------------------------------------------------------ strategy: every_tick */

struct every_tick { int64_t size, seen; };

static int32_t begin(void *memory, const struct agent_params *params)
{
    ((struct every_tick *)memory)->size = params->size;
    return 0;
}

static int32_t on_event(void *memory, const struct agent_event *e, struct agent_order *out)
{
    struct every_tick *s = memory;
    if (!(e->kind & AGENT_BOOK))
        return 0;
    s->seen++;
    bool buy = (s->seen & 1 && e->ask) || !e->bid;
    out[0] = (struct agent_order){ .price = (double)(buy ? e->ask : e->bid) * 1e-8, .size = s->size,
                                   .side = buy ? AGENT_BUY : AGENT_SELL, .symbol = e->symbol };
    return 1;
}

static struct agent_strategy every_tick = { .init = begin, .on_event = on_event };

/* ------------------------------------------------------------------ gate */

static inline bool refuse(int why) { counters.refused[why]++; return false; }

/* A position has another price, or is another one: what was lost today sets the limit `kill`. */
static inline void mark_position(void)
{
    int64_t position = (int64_t)row.position;
    uint64_t price = position > 0 ? row.bid : row.ask;
    if (price)
        losses.mark = price;
    losses.profit = losses.cash + (__int128)position * losses.mark;
    losses.peak = losses.profit > losses.peak ? losses.profit : losses.peak;
    const volatile uint64_t *loss[] = { &limits.max_symbol_loss, &limits.max_loss };
    const volatile uint64_t *drawdown[] = { &limits.max_symbol_drawdown, &limits.max_drawdown };
    for (int i = 0; i < 2; i++) {
        uint64_t most = *loss[i], down = *drawdown[i];
        __int128 lost = -losses.profit, fallen = losses.peak - losses.profit;
        if ((most && lost > (__int128)most * UNIT) || (down && fallen > (__int128)down * UNIT))
            limits.kill = 1;
    }
}

static void show_conditions(void) { conditions = 1u << told.state | 1u << (OF_MARKET + told.market); }

/* Read in which conditions no order passes. */
static void read_choices(void)
{
    const struct { const volatile uint64_t *allowed; uint32_t bits; } choices[] = {
        { &limits.allow_unknown, 1u << AGENT_UNKNOWN | 1u << (OF_MARKET + AGENT_UNKNOWN) },
        { &limits.allow_quoting, 1u << AGENT_QUOTING },
        { &limits.allow_paused, 1u << AGENT_PAUSED },
        { &limits.allow_halted, 1u << AGENT_HALTED },
        { &limits.allow_halted_here, 1u << AGENT_HALTED_HERE },
        { &limits.allow_closed, 1u << (OF_MARKET + AGENT_CLOSED) | 1u << (OF_MARKET + AGENT_ENDED) },
        { &limits.allow_pre_market, 1u << (OF_MARKET + AGENT_PRE_MARKET) },
        { &limits.allow_post_market, 1u << (OF_MARKET + AGENT_POST_MARKET) },
        { &limits.allow_locked, LOCKED },
        { &limits.allow_crossed, CROSSED },
    };
    refused = 0;
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        refused |= *choices[i].allowed ? 0 : choices[i].bits;
}

static inline bool is_better(bool buy, uint64_t price, uint64_t other) { return buy ? price > other : price < other; }

/* Whether an order could trade with an own one of the other side. */
static inline bool crosses_own(bool buy, uint64_t price)
{
    struct own_side *s = &own[buy];
    if (!s->count || is_better(!buy, price, s->best))
        return false;
    if (s->left) {
        const struct order *o = &orders[s->newest];
        s->best = o->price;
        for (uint32_t i = 1; i < s->count; i++) {
            o = &orders[o->older];
            s->best = is_better(!buy, o->price, s->best) ? o->price : s->best;
        }
        s->left = 0;
    }
    return !is_better(!buy, price, s->best);
}

static inline void remember_own(struct order *o)
{
    struct own_side *s = &own[o->side == AGENT_SELL];
    uint16_t slot = (uint16_t)(o->id & (OPEN - 1));
    o->older = o->newer = slot;
    if (s->count++) {
        o->older = s->newest;
        orders[s->newest].newer = slot;
    }
    if (s->count == 1 || is_better(o->side == AGENT_BUY, o->price, s->best)) {
        s->best = o->price;
        s->left = 0;
    }
    s->newest = slot;
}

static inline void forget_own(const struct order *o)
{
    struct own_side *s = &own[o->side == AGENT_SELL];
    uint16_t slot = (uint16_t)(o->id & (OPEN - 1));
    bool first = o->newer == slot, last = o->older == slot;
    s->count--;
    s->left |= o->price == s->best;
    if (first)
        s->newest = o->older;
    else
        orders[o->newer].older = last ? o->newer : o->older;
    if (!last)
        orders[o->older].newer = first ? o->older : o->newer;
}

/* Every check of the engine's gate, with what limits says now. *price: with 4 decimals. */
static inline bool pass(const struct agent_order *o, uint64_t *price)
{
    int64_t bound, size = o->size;
    bool buy = o->side == AGENT_BUY;
    if (limits.kill)
        return refuse(0);
    if (!ready)
        return refuse(1);
    if (!buy && o->side != AGENT_SELL)
        return refuse(2);
    if (o->symbol != 0)
        return refuse(3);
    if (stale)
        return refuse(4);
    bound = (int64_t)limits.max_tick_age_ns;
    if (bound && now() - arrived > bound)
        return refuse(13);
    if ((conditions & refused) || row.bid >= row.ask) {
        uint32_t found = conditions | (row.ask && row.bid >= row.ask ? row.bid > row.ask ? CROSSED : LOCKED : 0);
        if (found & refused)
            return refuse(16);
    }
    if (size <= 0 || size > (int64_t)limits.max_size || size > MAX_QUANTITY)
        return refuse(5);
    double scaled = o->price * 1e4;
    if (!(scaled > 0.5 && scaled < MAX_PRICE + 0.5))
        return refuse(6);
    *price = (uint64_t)(scaled + 0.5);
    if (fabs(scaled - (double)*price) > 1e-3)
        return refuse(6);
    bound = (int64_t)limits.max_notional;
    if (bound && *price * (uint64_t)size > (uint64_t)bound)
        return refuse(7);
    bound = (int64_t)limits.collar_ppm;
    if (bound) {
        uint64_t far = buy ? row.ask : row.bid;
        double edge = (double)far * (buy ? 1.0 + 1e-6 * (double)bound : 1.0 - 1e-6 * (double)bound);
        if (far == 0 || (buy ? (double)*price * UNIT > edge : (double)*price * UNIT < edge))
            return refuse(8);
    }
    bound = (int64_t)limits.max_position;
    if (bound) {
        int64_t position = (int64_t)row.position, open = (int64_t)(buy ? row.open_buy : row.open_sell);
        if (size > bound - open - (buy ? position : -position))
            return refuse(9);
    }
    bound = (int64_t)limits.max_open_orders;
    if ((bound && open_orders >= (uint64_t)bound) || orders[(reference + 1) & (OPEN - 1)].id)
        return refuse(10);
    if (limits.refuse_self_match && crosses_own(buy, *price))
        return refuse(14);
    bound = (int64_t)limits.max_orders_per_day;
    if (bound && orders_today >= (uint64_t)bound)
        return refuse(15);
    bound = (int64_t)limits.duplicate_ns;
    uint64_t key = (*price << 32) ^ ((uint64_t)size << 1) ^ buy;
    if (bound && last_key == key && received - last_key_at < bound)
        return refuse(11);
    bound = (int64_t)limits.rate_interval_ns;
    if (bound) {
        if (rate_arrival - received > (int64_t)limits.rate_burst_ns - bound)
            return refuse(12);
        rate_arrival = (rate_arrival > received ? rate_arrival : received) + bound;
    }
    last_key = key;
    last_key_at = received;
    return true;
}

/* ------------------------------------------------------------------ orders and journal */

static inline bool journal(uint32_t kind, const struct order *o, uint32_t quantity, uint64_t price, uint64_t answer)
{
    if (ring_tail - ring_head == RING) {
        ring_head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
        if (ring_tail - ring_head == RING)
            return false;
    }
    ring->records[ring_tail % RING] = (struct record){ ++records, (uint64_t)(received + offset), answer, price, o->tag,
                                                       kind, o->id, 0, quantity, (uint32_t)o->side, o->symbol };
    __atomic_store_n(&ring->tail, ++ring_tail, __ATOMIC_RELEASE);
    counters.journaled++;
    return true;
}

/* 14 decimal digits. */
static inline void write_clordid(uint8_t *at, uint64_t number)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "404142434445464748495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293"
        "949596979899";
    for (int i = 12; i >= 0; i -= 2, number /= 100)
        memcpy(at + i, pairs + 2 * (number % 100), 2);
}

static inline void enter(const struct agent_order *w)
{
    uint64_t price;
    counters.wanted++;
    if (!pass(w, &price))
        return;
    struct order *o = &orders[++reference & (OPEN - 1)];
    *o = (struct order){ .id = reference, .symbol = w->symbol, .leaves = (uint32_t)w->size, .side = w->side,
                         .price = price, .tag = w->tag, .sequence = event.sequence };
    counters.open = ++open_orders;
    orders_today++;
    remember_own(o);
    *(w->side == AGENT_BUY ? &row.open_buy : &row.open_sell) += o->leaves;
    if (!journal(1, o, o->leaves, price, 0))
        exit(7);
    store32(frame + 4, reference);
    frame[8] = w->side == AGENT_BUY ? 'B' : 'S';
    store32(frame + 9, o->leaves);
    store64(frame + 21, price);
    write_clordid(frame + 34, event.sequence);
    counters.sent++;
    int64_t begun = now();
    ssize_t n = send(exchange, frame, 50, MSG_DONTWAIT | MSG_NOSIGNAL);
    last_sent = now();
    counters.sends++;
    o->at = begun;
    record_time(&own_code, begun - received);
    record_time(&sending, last_sent - begun);
    if (n != 50)
        exit(6);
    __builtin_prefetch(&orders[(reference + 1) & (OPEN - 1)], 1);
    __builtin_prefetch(&ring->records[ring_tail % RING], 1);
}
