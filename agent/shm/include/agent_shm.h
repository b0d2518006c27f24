/* The shared-memory segment of one engine: counters, latency histograms, symbols and limits.
 *
 * One writer, the engine's loop, and any number of readers, which map it read-only; only the limits are
 * written by others (`agent limits`, `agent kill`). Every value is an aligned 64-bit word, so a reader sees
 * whole values, of slightly different moments. The segment describes itself: its head gives offsets,
 * counts and the names in order, and agent/shm/segment.py reads the rest by these alone.
 */
#ifndef AGENT_SHM_H
#define AGENT_SHM_H

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#define AGENT_SHM_MAGIC "HTAGENT"   /* 7 characters and the NUL */
#define AGENT_SHM_VERSION 4         /* one more when struct agent_shm's head, a limit or a symbol's field changes */

#define AGENT_STARTING 0
#define AGENT_CONNECTING 1          /* the loop runs, ticks are read, the gate is closed */
#define AGENT_RUNNING 2             /* logged in at the exchange, and all its answers are read */
#define AGENT_STOPPED 3

/* The segment's words. Each list is the only place that has its words: structs, names, offsets and descriptions below
 * come from it. agent/shm/segment.pxd repeats the names, because Cython must know a member to compile an access to it;
 * tests/unit/agent/shm/test_layout.py holds both equal. A word can be moved freely: nothing uses its number.
 *
 * X(name, kind, text). kind: counter (only grows) or gauge (how it is now). */
#define AGENT_COUNTERS(X) \
    X(datagrams, counter, "datagrams received, of every line") \
    X(datagram_bytes, counter, "bytes of all datagrams received") \
    X(packets_first, counter, "datagrams of the first feed line") \
    X(packets_second, counter, "datagrams of the second feed line") \
    X(packets_retransmitted, counter, "datagrams of the request server") \
    X(messages, counter, "messages read out of packets, each once and in order") \
    X(book_ticker, counter, "quotes: best bid and offer (Binance, CSV)") \
    X(trade, counter, "trades (Binance, CSV)") \
    X(itch, counter, "ITCH messages, well-formed, of every type") \
    X(depth_update, counter, "Binance depth updates: counted, not parsed") \
    X(other, counter, "well-formed messages of another type") \
    X(malformed_truncated, counter, "messages that end inside a value, or are shorter than their type") \
    X(malformed_oversized, counter, "messages longer than their type") \
    X(malformed_type, counter, "messages of no known type") \
    X(malformed_json, counter, "messages that are not JSON") \
    X(malformed_field, counter, "messages with a field missing, doubled, escaped, of the wrong type or value") \
    X(malformed_number, counter, "messages with a number that is not a decimal of at most 11 digits and 8 decimals") \
    X(malformed_datagram, counter, "datagrams whose header or message block overruns them, or that have bytes left") \
    X(malformed_symbol, counter, "messages whose symbol is not 1 to 20 printable ASCII characters") \
    X(other_symbol, counter, "well-formed messages of a symbol that is not configured") \
    X(refused_crossed, counter, "quotes refused: the bid is above the ask") \
    X(refused_zero_size, counter, "quotes refused: a side has a price and no size") \
    X(refused_zero_price, counter, "quotes refused: a side has a size and no price") \
    X(refused_repeated, counter, "quotes refused: the symbol's last one again") \
    X(refused_backward, counter, "quotes refused: the update id is below that of the symbol's last one") \
    X(refused_time_backward, counter, "quotes refused: the time is before that of the symbol's last one") \
    X(refused_zero_trade, counter, "trades refused: without a price or a size") \
    X(refused_repeated_trade, counter, "trades refused: the symbol's last one again") \
    X(refused_backward_trade, counter, "trades refused: the trade id is below that of the symbol's last one") \
    X(quotes_restarted, counter, "times a symbol's update ids or times began anew, and were believed") \
    X(stamps_mixed, counter, "time stamps in another unit (ms, us, ns) than the one before, or than the given one") \
    X(stamps_implausible, counter, "time stamps outside the years 2001 to 2099 in each unit, left as they are") \
    X(heartbeats, counter, "MoldUDP64 heartbeats") \
    X(end_of_session, counter, "MoldUDP64 end of session packets") \
    X(sessions, counter, "MoldUDP64 sessions joined") \
    X(gaps, counter, "jumps in the feed's sequence numbers") \
    X(healed, counter, "messages of gaps that the other line or a request brought") \
    X(lost, counter, "messages given up") \
    X(duplicates, counter, "messages already seen, skipped") \
    X(wrong_session, counter, "packets of another MoldUDP64 session, skipped") \
    X(wrong_source, counter, "datagrams from an address that is not of feed.source, ignored") \
    X(far_ahead, counter, "packets more than feed.max_jump messages ahead and not believed, skipped") \
    X(feed_contested, gauge, "1: packets of another session are in sequence beside ours; theirs count as lost") \
    X(requests, counter, "retransmissions asked for") \
    X(held_dropped, counter, "packets behind a gap for which feed.store had no space") \
    X(kernel_drops, counter, "datagrams the kernel dropped at the feed's sockets") \
    X(receive_errors, counter, "receive system calls that failed") \
    X(receive_buffer, gauge, "bytes of SO_RCVBUF as read back") \
    X(ring_damaged, gauge, "1: the feed's ring is not what a writer wrote; nothing more is read from it") \
    X(book_huge_pages, gauge, "1: the books are in huge pages") \
    X(book_inconsistent, counter, "book messages that contradict the book") \
    X(books_stale, counter, "books marked stale, with the reason in the symbol's row") \
    X(day_starts, counter, "days begun: a MoldUDP64 session, ITCH's Start of Messages, or a time back to another day") \
    X(market, gauge, "0 not told, 1 unknown, 2 closed, 3 pre-market, 4 open, 5 post-market, 6 ended by the breaker") \
    X(market_breached, gauge, "highest level of the market-wide circuit breaker breached this day") \
    X(trades_broken, counter, "trades the feed took back (ITCH Broken Trade): the tick series keeps them") \
    X(events, counter, "calls of the strategy's on_event") \
    X(fills, counter, "calls of the strategy's on_fill") \
    X(timers, counter, "calls of the strategy's on_timer") \
    X(strategy_errors, counter, "calls of the strategy that returned a negative code") \
    X(orders_wanted, counter, "orders the strategy returned: those sent and all rejects") \
    X(orders_sent, counter, "Enter Order messages that passed the gate and were given to the socket") \
    X(replaces_sent, counter, "Replace Order messages given to the socket") \
    X(cancels_sent, counter, "Cancel Order messages given to the socket") \
    X(reject_closed, counter, "orders refused: not logged in, answers from before are not yet all read, or the engine ends") \
    X(reject_killed, counter, "orders refused: the kill switch is on") \
    X(reject_contradicted, counter, "orders refused: the exchange said what cannot be, and nobody has resumed since") \
    X(reject_backlog, counter, "orders refused: an earlier send was short or refused, bytes still wait") \
    X(reject_journal, counter, "orders refused: the journal's ring is full") \
    X(reject_stale, counter, "orders refused: the symbol's book is stale") \
    X(reject_action, counter, "orders refused: no such action") \
    X(reject_side, counter, "orders refused: no such side") \
    X(reject_symbol, counter, "orders refused: no such symbol, or one of another shard") \
    X(reject_size, counter, "orders refused: size not positive, over max_size, or over OUCH's 999,999") \
    X(reject_price, counter, "orders refused: price not finite, not positive, off the 0.0001 grid, over OUCH's limit") \
    X(reject_notional, counter, "orders refused: price x size over max_notional") \
    X(reject_collar, counter, "orders refused: too far from the book, or there is no book to compare with") \
    X(reject_position, counter, "orders refused: position and open orders would pass max_position") \
    X(reject_open_orders, counter, "orders refused: max_open_orders are open") \
    X(reject_duplicate, counter, "orders refused: the same as one of the last 8 of symbol and side within duplicate_ms") \
    X(reject_rate, counter, "orders refused: over max_orders_per_second and burst") \
    X(reject_old, counter, "orders refused: the tick that caused them, or their symbol's quotes, are older than max_tick_age_us") \
    X(reject_self_match, counter, "orders refused: they could trade with an open order of this engine") \
    X(reject_daily, counter, "orders refused: max_orders_per_day were sent today") \
    X(reject_id, counter, "replaces and cancels refused: the order is not open") \
    X(reject_exhausted, counter, "orders refused: every UserRefNum of OUCH's 4,294,967,295 is used") \
    X(reject_count, counter, "orders refused: the strategy returned more than the buffer holds") \
    X(reject_closed_market, counter, "orders refused: the market is closed, in other hours, or not known to be open") \
    X(reject_halted, counter, "orders refused: the symbol is halted, paused, quoted only, or not known to be traded") \
    X(reject_crossed, counter, "orders refused: the symbol's bid is at its offer or above") \
    X(reject_short, counter, "sales beyond the position refused: Reg SHO's short sale price test is in effect") \
    X(send_short, counter, "sends that took part of the bytes") \
    X(send_refused, counter, "sends that took no byte (buffer full)") \
    X(accepted, counter, "OUCH Accepted for orders of this engine") \
    X(replaced, counter, "OUCH Replaced for orders of this engine") \
    X(executed, counter, "OUCH Executed for orders of this engine") \
    X(canceled, counter, "OUCH Canceled for orders of this engine") \
    X(rejected, counter, "OUCH Rejected for orders of this engine") \
    X(replaces_ignored, counter, "Replaces of orders that were done when the exchange read the Replace") \
    X(cancel_rejected, counter, "OUCH Cancel Reject and Cancel Pending") \
    X(answers_unmatched, counter, "OUCH answers for no order that was open here") \
    X(orders_adopted, counter, "orders that the journal did not have, learned from the exchange's session") \
    X(broken_trades, counter, "executions that the exchange took back") \
    X(contradicted, gauge, "why the gate is shut until `agent resume`: the number of a contradiction; 0: it is not") \
    X(contradicted_order, counter, "answers about an order that was never sent, or that nobody knows any more") \
    X(contradicted_answer, counter, "answers that the order cannot get: accepted twice, rejected when live, done, with other terms") \
    X(contradicted_side, counter, "answers with another side than the order's") \
    X(contradicted_symbol, counter, "answers with another symbol than the order's") \
    X(contradicted_price, counter, "acceptances and executions at a price worse than the order's limit") \
    X(contradicted_size, counter, "acceptances and modifications with another size") \
    X(contradicted_executed, counter, "executions of more units than were open of the order: the position has them") \
    X(contradicted_canceled, counter, "cancels of more units than were open of the order") \
    X(contradicted_match, counter, "a match number told twice of one order, and broken trades of an execution that is not known") \
    X(contradicted_session, counter, "sessions that went on or back without a word on open orders") \
    X(contradicted_value, counter, "answers with a quantity that OUCH does not allow") \
    X(exchange_other, counter, "other OUCH messages, and SoupBinTCP debug packets") \
    X(exchange_malformed, counter, "bytes of the exchange that are not the protocol: the link is closed") \
    X(exchange_heartbeats, counter, "SoupBinTCP heartbeats received") \
    X(exchange_sequence, gauge, "SoupBinTCP sequenced messages read in this session") \
    X(heartbeats_sent, counter, "SoupBinTCP heartbeats sent") \
    X(logins, counter, "SoupBinTCP logins accepted") \
    X(connection_lost, counter, "links that ended without SoupBinTCP end of session") \
    X(orders_open, gauge, "orders open now") \
    X(orders_today, gauge, "Enter and Replace Orders since the day (UTC) began, by earlier processes included") \
    X(loss_kills, counter, "times a loss limit set the limit kill") \
    X(orders_never_reached, counter, "orders sent that the exchange, after a new login, says it never saw") \
    X(journal_records, counter, "records written to the journal's ring") \
    X(receive_calls, counter, "receive system calls that brought datagrams") \
    X(send_calls, counter, "send system calls") \
    X(empty_polls, counter, "looks at the feed that brought nothing") \
    X(yields, counter, "moments slept for the kernel's own threads of this CPU") \
    X(warmed, counter, "idle runs through the hot path") \
    X(minor_faults, counter, "minor page faults of the thread since the loop began") \
    X(major_faults, counter, "major page faults of the thread since the loop began") \
    X(involuntary_switches, counter, "times the kernel took the CPU away since the loop began")

/* X(name, text): durations in ns. */
#define AGENT_HISTOGRAMS(X) \
    X(kernel, "kernel's or card's receive stamp to user memory, per datagram (feed.timestamps)") \
    X(receive, "the receive call that brought something (engine.stamps, as the next five)") \
    X(parse, "datagram in user memory to message parsed") \
    X(book, "message parsed to book and series updated") \
    X(strategy, "book updated to orders returned") \
    X(risk, "orders returned to order passed") \
    X(encode, "order passed to send call entered") \
    X(send, "the send call, per order") \
    X(own_code, "datagram in user memory to send call entered, per order") \
    X(total, "datagram in user memory to send call returned, per order") \
    X(order_ack, "send call entered to Accepted read, per order")

/* X(name, text): what the gate holds each order against. A control process may write these words, one aligned word at
 * a time, while the engine runs; 0 switches a limit off unless its text says otherwise. The units are those that the
 * gate computes with; the words and units for users, and their ranges, are in agent/limits.py. */
#define AGENT_LIMITS(X) \
    X(kill, "1: no order passes, and open ones are cancelled") \
    X(max_size, "whole units; 0: nothing passes") \
    X(max_notional, "price x size of one order, in 0.0001 of the currency") \
    X(collar_ppm, "parts per million beyond the far side of the book") \
    X(max_position, "of a symbol, long or short, open orders included, whole units") \
    X(max_open_orders, "of all symbols; at most 65,536") \
    X(rate_interval_ns, "what one order costs") \
    X(rate_burst_ns, "what may be ahead") \
    X(duplicate_ns, "the same price and size as one of the last 8 orders of symbol and side within this time") \
    X(max_tick_age_ns, "from the arrival of the tick that caused an order") \
    X(max_orders_per_day, "Enter and Replace Orders of a day (UTC)") \
    X(refuse_self_match, "1: no order that could trade with an open one of this engine") \
    X(max_loss, "of all symbols today, in 0.0001 of the currency; beyond it `kill` is set, as for the next three") \
    X(max_drawdown, "of all symbols from the day's best, in 0.0001 of the currency") \
    X(max_symbol_loss, "of one symbol today, in 0.0001 of the currency") \
    X(max_symbol_drawdown, "of one symbol from its day's best, in 0.0001 of the currency") \
    X(allow_unknown, "1: orders pass while the state of the symbol or the market is not known") \
    X(allow_quoting, "1: ... in a quotation-only period") \
    X(allow_paused, "1: ... in a Limit Up-Limit Down pause") \
    X(allow_halted, "1: ... while the symbol is halted") \
    X(allow_halted_here, "1: ... in an operational halt of this market") \
    X(allow_closed, "1: ... outside of the system hours, and after the circuit breaker's level 3") \
    X(allow_pre_market, "1: ... before the market hours") \
    X(allow_post_market, "1: ... after the market hours") \
    X(allow_locked, "1: ... while the bid is the offer") \
    X(allow_crossed, "1: ... while the bid is above the offer") \
    X(allow_short, "1: sales beyond the position pass while Reg SHO's price test is in effect")

/* X(name, text): a row per symbol. */
#define AGENT_SYMBOL_FIELDS(X) \
    X(name, "the first 8 of 24 characters, padded with spaces") \
    X(name_8, "the next 8 characters of the name") \
    X(name_16, "the last 8 characters of the name") \
    X(stale, "0, or why the symbol's book is not to be trusted: agent/book/order_book.pxd") \
    X(bid, "best bid, units of 1e-8 as in agent_event; 0: none") \
    X(bid_size, "units of 1e-8") \
    X(ask, "best offer, units of 1e-8; 0: none") \
    X(ask_size, "units of 1e-8") \
    X(position, "whole units, short is negative") \
    X(open_buy, "whole units in open buy orders") \
    X(open_sell, "whole units in open sell orders") \
    X(tick_ns, "when the last tick arrived that the strategy was told, CLOCK_MONOTONIC ns; 0: none") \
    X(profit, "of today, the position marked to the book, units of 1e-8 of the currency; a loss is negative") \
    X(state, "agent_event.state: 0 not told, 1 unknown, 2 trading, 3 quoting, 4 paused, 5 halted, 6 halted here") \
    X(short_sale, "agent_event.short_sale: 0 not told, 1 free, 2 restricted") \
    X(auction, "ITCH's letter of the cross under way, 0: none") \
    X(collar_low, "LULD auction collar, units of 1e-8; 0: none") \
    X(collar_high, "units of 1e-8")

/* X(name, text): what a command asks of the loop, and the loop's answer. A command holds the file's lock (flock(2)) from
 * before `begun` to the answer, or until it has waited for long enough: so no two ask at once. It writes who asks, then
 * `begun`, the limits, and `complete`. The loop journals the limits that have changed, and answers. */
#define AGENT_REQUEST(X) \
    X(uid, "user of the command's process") \
    X(login, "user whose login it comes from (/proc/PID/loginuid, SUDO_UID); UINT32_MAX: not known") \
    X(begun, "number of the request, before its limits are written: another one than the last request's") \
    X(complete, "the same number, when all its limits are written") \
    X(answered, "the loop's: the last request whose limits are in force") \
    X(journaled, "the loop's: the last one of which all that changed is in the journal's ring too")

/* Log-linear: 2^7 buckets per power of two, exact below 128, so a bucket is at most 1/128 of its
 * value wide and its midpoint at most 0.4 % off. Values from 2^40 ns on share the last bucket. */
#define AGENT_HIST_BITS 7
#define AGENT_HIST_BUCKETS ((40 - AGENT_HIST_BITS + 1) << AGENT_HIST_BITS)

struct agent_histogram {
    uint64_t count, sum, min, max;
    uint64_t buckets[AGENT_HIST_BUCKETS];
};

#define AGENT_FIELD(name, ...) uint64_t name;
struct agent_counters { AGENT_COUNTERS(AGENT_FIELD) };

#define AGENT_HIST_FIELD(name, ...) struct agent_histogram name;
struct agent_histograms { AGENT_HISTOGRAMS(AGENT_HIST_FIELD) };

struct agent_limits { AGENT_LIMITS(AGENT_FIELD) };
struct agent_request { AGENT_REQUEST(AGENT_FIELD) };
struct agent_symbol { AGENT_SYMBOL_FIELDS(AGENT_FIELD) };

#define AGENT_NAME(name, ...) #name "\n"
#define AGENT_NAMES AGENT_COUNTERS(AGENT_NAME) AGENT_HISTOGRAMS(AGENT_NAME) \
    AGENT_LIMITS(AGENT_NAME) AGENT_SYMBOL_FIELDS(AGENT_NAME)

/* A limit's name in the journal: AGENT_LIMITS has none that is longer. */
#define AGENT_LIMIT_NAME 20

struct agent_shm {
    char magic[8];
    uint32_t version;
    uint32_t state;
    uint64_t size;                  /* of the whole segment */
    uint64_t pid;
    uint64_t start_time;            /* field 22 of /proc/PID/stat: with the pid, names the process */
    int64_t started_ns;             /* CLOCK_REALTIME */
    int64_t heartbeat_ns;           /* CLOCK_MONOTONIC, at least every 10 ms while the loop runs */
    uint64_t counters_offset, counters_count;
    uint64_t histograms_offset, histograms_count, histogram_bits, histogram_buckets;
    uint64_t limits_offset, limits_count;
    uint64_t symbols_offset, symbols_count, symbol_words;
    uint64_t names_offset, names_size;   /* counters, histograms, limits, symbol fields: each name, a newline */
    char boot_id[40];
    char ended[128];                /* why the loop ended, once state is AGENT_STOPPED */
    char tripped[128];              /* while the limit `kill` is set: the first loss that was beyond its own */
    char feed_session[16];          /* the MoldUDP64 session that is read: 10 characters; none: not joined yet */
    uint64_t configured_offset;     /* the limits again, as agent.toml had them at the start */
    uint64_t abi;                   /* AGENT_ABI of the engine's build */
    char build[32];                 /* the version of its package */
    struct agent_request request;
    struct agent_counters counters __attribute__((aligned(128)));
    struct agent_histograms histograms __attribute__((aligned(128)));
    char names[sizeof(AGENT_NAMES)];
    struct agent_limits limits __attribute__((aligned(128)));
    struct agent_limits configured __attribute__((aligned(128)));
    struct agent_symbol symbols[] __attribute__((aligned(128)));
};

/* What comes before the words. */
#define AGENT_HEADER_SIZE offsetof(struct agent_shm, counters)

/* A word by its name: where it lies in the segment (a symbol's field: in its row), and what it says. */
struct agent_word {
    const char *name, *kind, *text;
    size_t offset;
};

#define AGENT_COUNTER_WORD(name, kind, text) {#name, #kind, text, offsetof(struct agent_shm, counters.name)},
#define AGENT_HISTOGRAM_WORD(name, text) {#name, "histogram", text, offsetof(struct agent_shm, histograms.name)},
#define AGENT_LIMIT_WORD(name, text) {#name, "limit", text, offsetof(struct agent_shm, limits.name)},
#define AGENT_SYMBOL_WORD(name, text) {#name, "symbol", text, offsetof(struct agent_symbol, name)},
#define AGENT_REQUEST_WORD(name, text) {#name, "request", text, offsetof(struct agent_shm, request.name)},
/* Each ends with a row without a name. */
static const struct agent_word AGENT_COUNTER_WORDS[] = { AGENT_COUNTERS(AGENT_COUNTER_WORD) {0, 0, 0, 0} };
static const struct agent_word AGENT_HISTOGRAM_WORDS[] = { AGENT_HISTOGRAMS(AGENT_HISTOGRAM_WORD) {0, 0, 0, 0} };
static const struct agent_word AGENT_LIMIT_WORDS[] = { AGENT_LIMITS(AGENT_LIMIT_WORD) {0, 0, 0, 0} };
static const struct agent_word AGENT_SYMBOL_WORDS[] = { AGENT_SYMBOL_FIELDS(AGENT_SYMBOL_WORD) {0, 0, 0, 0} };
static const struct agent_word AGENT_REQUEST_WORDS[] = { AGENT_REQUEST(AGENT_REQUEST_WORD) {0, 0, 0, 0} };

#define AGENT_LIMIT_FITS(name, text) \
    _Static_assert(sizeof(#name) <= AGENT_LIMIT_NAME + 1, "a limit's name is longer than AGENT_LIMIT_NAME");
AGENT_LIMITS(AGENT_LIMIT_FITS)

static inline uint64_t agent_shm_size(uint64_t symbols)
{
    return sizeof(struct agent_shm) + symbols * sizeof(struct agent_symbol);
}

static inline void agent_shm_init(struct agent_shm *s, uint64_t symbols)
{
    memset(s, 0, agent_shm_size(symbols));
    s->size = agent_shm_size(symbols);
    s->counters_offset = offsetof(struct agent_shm, counters);
    s->counters_count = sizeof(struct agent_counters) / sizeof(uint64_t);
    s->histograms_offset = offsetof(struct agent_shm, histograms);
    s->histograms_count = sizeof(struct agent_histograms) / sizeof(struct agent_histogram);
    s->histogram_bits = AGENT_HIST_BITS;
    s->histogram_buckets = AGENT_HIST_BUCKETS;
    s->limits_offset = offsetof(struct agent_shm, limits);
    s->limits_count = sizeof(struct agent_limits) / sizeof(uint64_t);
    s->configured_offset = offsetof(struct agent_shm, configured);
    s->symbols_offset = offsetof(struct agent_shm, symbols);
    s->symbols_count = symbols;
    s->symbol_words = sizeof(struct agent_symbol) / sizeof(uint64_t);
    s->names_offset = offsetof(struct agent_shm, names);
    s->names_size = sizeof s->names - 1;
    memcpy(s->names, AGENT_NAMES, sizeof s->names);
    s->version = AGENT_SHM_VERSION;
    memcpy(s->magic, AGENT_SHM_MAGIC, sizeof s->magic);
}

#endif
