/* What an engine's own code costs in C: the steps of `agent run` on an ITCH feed of one symbol, with the limits of its
 * gate, its journal and a strategy that sends an order on every change of the best bid or offer.
 *
 *     own_code FEED_PORT EXCHANGE_PORT CPU SYMBOL DIRECTORY LIMIT=VALUE...
 *
 * MoldUDP64 packet in memory -> session, sequence number and blocks checked -> ITCH message parsed, its length and its
 * side checked -> day and symbol found, the name compared -> book by order -> quote, with the state of the symbol and of
 * the market -> strategy, called by its table -> gate -> open order noted, record in the journal's ring -> Enter Order in its packet -> the call of send. Two readings of the clock: when the
 * packet is in memory, and before that call. A packet that is not the next one, and an answer of the exchange that is
 * not understood, ends it: the benchmark has none. What the ring holds another process writes to DIRECTORY/journal. At
 * the end the times are written to DIRECTORY/times: struct agent_histogram. LIMIT: a word of AGENT_LIMITS. */
#include "own_code_order.h"
#include "own_code_book.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define HOUR INT64_C(3600000000000)
enum { LOCATES = 65536 };

static struct book *book;
static int16_t by_locate[LOCATES];              /* 1 + the symbol; 0: not seen yet, -1: not ours */
static int64_t day_clock = -1;                  /* the time of the last message that has a stock's name, of the day */
static uint64_t symbol_name, expected;          /* expected: sequence number; 0: not joined yet */
static uint8_t session[10], stream[65536];
static uint32_t stream_size;
static int64_t kept, day, empty_at;             /* empty_at: when the feed was last looked at in vain */
static int feed;

/* ------------------------------------------------------------------ feed */

/* Bytes of a message by its type, 0: there is no such type. */
static const uint8_t lengths[256] = {
    ['A'] = 36, ['B'] = 19, ['C'] = 36, ['D'] = 19, ['E'] = 31, ['F'] = 40, ['H'] = 25, ['I'] = 50, ['J'] = 35,
    ['K'] = 28, ['L'] = 26, ['N'] = 20, ['O'] = 48, ['P'] = 44, ['Q'] = 40, ['R'] = 39, ['S'] = 12, ['U'] = 35,
    ['V'] = 35, ['W'] = 12, ['X'] = 23, ['Y'] = 20, ['h'] = 21,
};

static inline int symbol_of(uint16_t locate, const uint8_t *name)
{
    if (name && (by_locate[locate] == 0 || name[-11] == 'R')) {
        uint64_t found;
        memcpy(&found, name, 8);
        by_locate[locate] = found == symbol_name ? 1 : -1;
    }
    return by_locate[locate] - 1;
}

/* Change the book as the message says. Returns false when it contradicts the book. */
static inline bool apply(const uint8_t *m, struct resting *was)
{
    uint64_t id = load64(m + 11);
    switch (m[0]) {
    case 'A':
    case 'F':
        was->side = m[19] != 'B';
        return book_add(book, id, was->side, load32(m + 20), load32(m + 32));
    case 'E':
    case 'C':
    case 'X':
        return book_take(book, id, load32(m + 19), false, was);
    case 'D':
        return book_take(book, id, 0, true, was);
    default:
        return book_take(book, id, 0, true, was)
               && book_add(book, load64(m + 19), was->side, load32(m + 27), load32(m + 31));
    }
}

/* A System Event: no order passes outside of the market hours, but where a limit allows it. */
static void tell_market(uint8_t code)
{
    told.market = code == 'S' ? AGENT_PRE_MARKET : code == 'Q' ? AGENT_OPEN : code == 'M' ? AGENT_POST_MARKET : AGENT_CLOSED;
    show_conditions();
}

/* A Stock Trading Action. */
static void tell_action(uint8_t code)
{
    told.state = code == 'T' ? AGENT_TRADING : code == 'Q' ? AGENT_QUOTING : code == 'P' ? AGENT_PAUSED : AGENT_HALTED;
    show_conditions();
}

static inline void handle_message(const uint8_t *m, uint32_t size, uint64_t sequence)
{
    struct resting was = { 0 };
    counters.messages++;
    uint8_t kind = size ? m[0] : 0;
    if (size == 0 || size != lengths[kind] || ((kind == 'A' || kind == 'F') && m[19] != 'B' && m[19] != 'S'))
        exit(8);
    counters.itch++;
    if (kind == 'S') {
        tell_market(m[11]);
        return;
    }
    const uint8_t *name = kind == 'A' || kind == 'F' ? m + 24 : kind == 'R' || kind == 'H' ? m + 11 : NULL;
    int64_t timestamp = (int64_t)(load64(m + 3) & 0xFFFFFFFFFFFFULL);
    if (name) {
        if (timestamp + HOUR < day_clock)       /* another day */
            exit(11);
        day_clock = timestamp;
    }
    int symbol = symbol_of(load16(m + 1), name);
    if (symbol != 0)
        return;
    if (name && memcmp(name, &symbol_name, 8))  /* another stock than the one that the code stands for */
        exit(8);
    if (kind == 'H')
        tell_action(m[19]);
    if (kind != 'A' && kind != 'F' && kind != 'E' && kind != 'C' && kind != 'X' && kind != 'D' && kind != 'U')
        return;
    if (stale || !apply(m, &was)) {
        stale = true;
        row.bid = row.bid_size = row.ask = row.ask_size = 0;
        return;
    }
    const struct side *s = &book->sides[was.side];
    uint64_t price = 0, shares = 0;
    if (s->count) {
        price = (uint64_t)s->levels[s->count - 1].price * UNIT;
        shares = s->levels[s->count - 1].shares * SHARE;
    }
    uint64_t *at = was.side ? &row.ask : &row.bid, *shares_at = was.side ? &row.ask_size : &row.bid_size;
    event.kind = 0;
    event.price = event.size = 0;
    if (*at != price || *shares_at != shares) {
        *at = price;
        *shares_at = shares;
        event.kind = AGENT_BOOK;
    }
    if (kind == 'E' || (kind == 'C' && m[31] == 'Y')) {
        event.kind |= AGENT_TRADE;
        event.price = (int64_t)(kind == 'C' ? load32(m + 32) : was.price) * UNIT;
        event.size = (int64_t)load32(m + 19) * SHARE;
    }
    if (event.kind & AGENT_TRADE && (!event.price || !event.size))
        event.kind &= ~(uint32_t)AGENT_TRADE;
    if (!event.kind)
        return;
    event.exchange_ns = timestamp;
    event.exchange_id = (int64_t)(event.kind & AGENT_TRADE ? load64(m + 23) : load64(m + 11));
    event.bid = (int64_t)row.bid;
    event.bid_size = (int64_t)row.bid_size;
    event.ask = (int64_t)row.ask;
    event.ask_size = (int64_t)row.ask_size;
    event.sequence = sequence;
    event.received_ns = received;
    event.symbol = (uint32_t)symbol;
    if (row.position)
        mark_position();
    row.tick_ns = (uint64_t)arrived;
    memcpy(&event.collar_low, &told, sizeof told);
    counters.events++;
    int32_t n = strategy->on_event(strategy_state, &event, wanted);
    if (n > AGENT_MAX_ORDERS)
        exit(9);
    for (int32_t i = 0; i < n; i++)
        enter(&wanted[i]);
}

static inline void handle_packet(const uint8_t *data, size_t size)
{
    counters.datagrams++;
    counters.bytes += size;
    counters.packets++;
    if (size < 20)
        exit(10);
    uint64_t sequence = load64(data + 10);
    uint32_t count = load16(data + 18), at = 20;
    if (!expected) {
        memcpy(session, data, sizeof session);
        expected = sequence;
    }
    if (sequence != expected || memcmp(data, session, sizeof session))
        exit(11);
    if (count == 0xFFFF)
        return;
    for (uint32_t i = 0; i < count; i++) {
        if (size - at < 2)
            exit(10);
        at += 2 + load16(data + at);
        if (at > size)
            exit(10);
    }
    if (at != size)
        exit(10);
    for (at = 20; count; count--) {
        uint32_t bytes = load16(data + at);
        handle_message(data + at + 2, bytes, expected++);
        at += 2 + bytes;
    }
}

/* ------------------------------------------------------------------ the exchange */

static void close_order(struct order *o, uint32_t units)
{
    units = units < o->leaves ? units : o->leaves;
    o->leaves -= units;
    *(o->side == AGENT_BUY ? &row.open_buy : &row.open_sell) -= units;
    if (!o->leaves) {
        forget_own(o);
        o->id = 0;
        counters.open = --open_orders;
    }
}

static void handle_answer(const uint8_t *m, uint32_t size)
{
    counters.answers++;
    if (size < 13)
        exit(12);
    uint32_t id = load32(m + 9), units = size >= 18 ? load32(m + (m[0] == 'A' ? 14 : 13)) : 0;
    struct order *o = &orders[id & (OPEN - 1)], copy = *o;
    if (m[0] == 'Q') {
        ready = true;
        return;
    }
    if (o->id != id || (m[0] == 'A' ? size < 62 : m[0] == 'E' ? size < 34 : m[0] == 'J' ? size < 29 : m[0] != 'C'))
        exit(12);
    if (m[0] == 'A') {
        o->live = 1;
        o->price = load64(m + 26);
    } else if (m[0] == 'E') {
        o->filled += units;
        row.position += o->side == AGENT_BUY ? units : -(uint64_t)units;
        losses.cash -= (__int128)o->side * units * UNIT * load64(m + 17);
        losses.mark = load64(m + 17) * UNIT;
        mark_position();
        close_order(o, units);
    } else {
        close_order(o, m[0] == 'J' ? o->leaves : units);
    }
    if (!journal(m[0] == 'A' ? 3 : m[0] == 'E' ? 5 : m[0] == 'C' ? 6 : 7, &copy, units, o->price, counters.answers))
        exit(7);
}

/* Read what the exchange sent, once. Returns false when it has ended. */
static bool read_exchange(void)
{
    ssize_t n = recv(exchange, stream + stream_size, sizeof stream - stream_size, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    received = now();
    stream_size += (uint32_t)n;
    uint32_t at = 0;
    while (stream_size - at >= 2) {
        uint32_t size = load16(stream + at);
        if (stream_size - at - 2 < size)
            break;
        if (size && stream[at + 2] == 'S')
            handle_answer(stream + at + 3, size - 1);
        else if (size && stream[at + 2] == 'Z')
            return false;
        at += 2 + size;
    }
    stream_size -= at;
    memmove(stream, stream + at, stream_size);
    return true;
}

/* ------------------------------------------------------------------ process */

static int64_t realtime(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Now and then: the heartbeat, the clocks' distance, the day. */
static void keep_house(int64_t at)
{
    kept = at;
    offset = realtime() - now();
    read_choices();
    if ((at + offset) / INT64_C(86400000000000) != day) {
        day = (at + offset) / INT64_C(86400000000000);
        orders_today = 0;
        losses = (struct losses){ .mark = losses.mark, .cash = -(__int128)(int64_t)row.position * losses.mark };
    }
    if (at - last_sent > INT64_C(1000000000)) {
        send(exchange, "\0\1R", 3, MSG_DONTWAIT | MSG_NOSIGNAL);
        last_sent = at;
    }
}

static int write_journal(const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    uint64_t done = 0;
    for (;;) {
        uint32_t ended = ring->ended;
        uint64_t until = ring->tail;
        for (; done < until; ring->head = ++done)
            if (write(file, &ring->records[done % RING], sizeof *ring->records) != sizeof *ring->records)
                return 1;
        if (ended)
            return 0;
        usleep(50000);
    }
}

static void *zeroed(size_t size, int kind)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        exit(3);
    madvise(at, size, MADV_HUGEPAGE);
    memset(at, 0, size);
    return at;
}

static int set_limits(char **words)
{
    for (; *words; words++) {
        char *value = strchr(*words, '=');
        const struct agent_word *w = AGENT_LIMIT_WORDS;
        if (!value)
            return 2;
        *value++ = 0;
        while (w->name && strcmp(w->name, *words))
            w++;
        if (!w->name)
            return 2;
        size_t at = w->offset - offsetof(struct agent_shm, limits);
        *(volatile uint64_t *)((volatile char *)&limits + at) = strtoull(value, NULL, 10);
    }
    return 0;
}

/* Not in main(), which a compiler takes for code that runs once, and makes small. */
__attribute__((noinline, hot)) static void run(void)
{
    static uint8_t in[65536];
    for (uint32_t spin = 0;; spin++) {
        ssize_t n = recv(feed, in, sizeof in, MSG_DONTWAIT);
        if (n >= 0) {
            received = arrived = now();
            if (limits.max_tick_age_ns && received - empty_at > (int64_t)limits.max_tick_age_ns)
                arrived = empty_at;
            handle_packet(in, (size_t)n);
            continue;
        }
        empty_at = received;
        if ((spin & (open_orders || !ready ? 1 : 7)) == 0 && !read_exchange())
            return;
        if ((spin & 15) == 0) {
            int64_t at = received = now();
            if (at - kept > 5000000)
                keep_house(at);
        }
    }
}

int main(int argc, char **argv)
{
    char path[4096];
    struct agent_params params = { .size = 1, .symbols = 1 };
    if (argc < 6 || strlen(argv[4]) > 8 || set_limits(argv + 6))
        return 2;
    ring = zeroed(sizeof *ring, MAP_SHARED);
    snprintf(path, sizeof path, "%s/journal", argv[5]);
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);   /* as the parent is killed, too */
        _exit(write_journal(path));
    }
    book = zeroed(sizeof *book, MAP_PRIVATE);
    orders = zeroed(OPEN * sizeof *orders, MAP_PRIVATE);
    if (pin(atoi(argv[3])))
        return 3;
    mlockall(MCL_CURRENT | MCL_FUTURE);
    memset(&symbol_name, ' ', 8);
    memcpy(&symbol_name, argv[4], strlen(argv[4]));
    build_order(frame, argv[4]);
    strategy = &every_tick;
    strategy->init(strategy_state, &params);
    feed = open_feed(atoi(argv[1]), 64 << 20);
    exchange = log_in(atoi(argv[2]));
    if (feed < 0 || exchange < 0)
        return 4;
    received = now();
    keep_house(received);
    puts("ready");
    fflush(stdout);
    run();
    ring->ended = 1;
    snprintf(path, sizeof path, "%s/times", argv[5]);
    FILE *out = fopen(path, "wb");
    return !out || fwrite(&own_code, sizeof own_code, 1, out) != 1 || fclose(out);
}
