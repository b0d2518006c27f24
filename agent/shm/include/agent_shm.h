/* The shared-memory segment of one engine: counters, latency histograms, symbols and limits.
 *
 * One writer, the engine's loop, and any number of readers, which map it read-only; only the limits are
 * written by others (`agent limits`, `agent kill`). Every value is an aligned 64-bit word, so a reader sees
 * whole values, of slightly different moments. The segment describes itself: the header gives offsets,
 * counts and the names in order, and agent/shm.py reads it by these alone.
 */
#ifndef AGENT_SHM_H
#define AGENT_SHM_H

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#define AGENT_SHM_MAGIC "HTAGENT"   /* 7 characters and the NUL */
#define AGENT_SHM_VERSION 2

#define AGENT_STARTING 0
#define AGENT_CONNECTING 1          /* the loop runs, ticks are read, the gate is closed */
#define AGENT_RUNNING 2             /* logged in at the exchange, and all its answers are read */
#define AGENT_STOPPED 3

#define AGENT_COUNTERS(X) \
    X(datagrams)                /* datagrams received, of every line */ \
    X(datagram_bytes)           \
    X(packets_a)                /* of them, from the feed */ \
    X(packets_b)                /* from the second feed */ \
    X(packets_retransmitted)    /* from the request server */ \
    X(messages)                 /* messages read out of packets, each once and in order */ \
    X(book_ticker)              /* quotes: best bid and offer (Binance, CSV) */ \
    X(trade)                    /* trades (Binance, CSV) */ \
    X(itch)                     /* ITCH messages, well-formed, of every type */ \
    X(depth_update)             /* read and counted, not parsed */ \
    X(other)                    /* well-formed, of another type */ \
    X(malformed_truncated)      /* the message ended inside a value, or is shorter than its type */ \
    X(malformed_oversized)      /* longer than its type */ \
    X(malformed_type)           /* of no known type */ \
    X(malformed_json)           /* not JSON */ \
    X(malformed_field)          /* a field missing, doubled, escaped, of the wrong type or value */ \
    X(malformed_number)         /* not a decimal of at most 11 digits and 8 decimals */ \
    X(malformed_datagram)       /* header or message block overruns the datagram, or bytes are left */ \
    X(other_symbol)             /* well-formed, but not of a configured symbol */ \
    X(heartbeats)               /* MoldUDP64 heartbeats */ \
    X(end_of_session)           /* MoldUDP64 end of session packets */ \
    X(sessions)                 /* MoldUDP64 sessions joined */ \
    X(gaps)                     /* jumps in the sequence */ \
    X(healed)                   /* messages of gaps that the other feed or a request brought */ \
    X(lost)                     /* messages given up */ \
    X(duplicates)               /* messages already seen, skipped */ \
    X(wrong_session)            /* packets of another MoldUDP64 session, skipped */ \
    X(requests)                 /* retransmissions asked for */ \
    X(held_dropped)             /* packets after a gap that found no room to wait */ \
    X(kernel_drops)             /* datagrams the kernel dropped at these sockets */ \
    X(receive_errors)           \
    X(receive_buffer)           /* bytes of SO_RCVBUF as read back */ \
    X(ring_damaged)             /* 1: the feed's ring is not what a writer wrote; nothing more is read from it */ \
    X(book_huge_pages)          /* 1: the books are in huge pages */ \
    X(book_inconsistent)        /* book messages that contradict the book */ \
    X(books_stale)              /* books marked stale, with the reason in the symbol's row */ \
    X(events)                   /* calls of on_event */ \
    X(fills)                    /* calls of on_fill */ \
    X(timers)                   /* calls of on_timer */ \
    X(strategy_errors)          /* calls that returned a negative code */ \
    X(orders_wanted)            /* orders the strategy returned: sent + all rejects */ \
    X(orders_sent)              /* Enter Order: passed the gate and given to the socket */ \
    X(replaces_sent)            \
    X(cancels_sent)             \
    X(reject_closed)            /* not logged in, or answers from before are not yet all read */ \
    X(reject_killed)            /* the kill switch is on */ \
    X(reject_backlog)           /* an earlier send was short or refused, bytes still wait */ \
    X(reject_journal)           /* the journal's ring is full */ \
    X(reject_stale)             /* the symbol's book is stale */ \
    X(reject_action)            \
    X(reject_side)              \
    X(reject_symbol)            \
    X(reject_size)              /* not positive, over max_size, or over OUCH's 999,999 */ \
    X(reject_price)             /* not finite, not positive, off the 0.0001 grid, over OUCH's limit */ \
    X(reject_notional)          \
    X(reject_collar)            /* too far from the book, or there is no book to compare with */ \
    X(reject_position)          \
    X(reject_open_orders)       \
    X(reject_duplicate)         \
    X(reject_rate)              \
    X(reject_id)                /* replace or cancel of an order that is not open */ \
    X(reject_count)             /* the strategy returned more orders than the buffer holds */ \
    X(send_short)               /* sends that took part of the bytes */ \
    X(send_refused)             /* sends that took none (buffer full) */ \
    X(accepted)                 /* OUCH answers for known orders */ \
    X(replaced)                 \
    X(executed)                 \
    X(canceled)                 \
    X(rejected)                 \
    X(replaces_ignored)         /* Replaces of orders that were gone when the exchange read them */ \
    X(cancel_rejected)          /* Cancel Reject, Cancel Pending */ \
    X(answers_unmatched)        /* answers for no order of ours */ \
    X(broken_trades)            /* executions the exchange took back: positions are NOT corrected */ \
    X(exchange_other)           /* other OUCH messages, and SoupBinTCP debug packets */ \
    X(exchange_malformed)       /* bytes of the exchange that are not the protocol: closes the link */ \
    X(exchange_heartbeats)      \
    X(exchange_sequence)        /* SoupBinTCP: sequenced messages read in this session */ \
    X(heartbeats_sent)          \
    X(logins)                   /* SoupBinTCP logins accepted */ \
    X(connection_lost)          /* links that ended without SoupBinTCP end of session */ \
    X(orders_open)              /* now */ \
    X(orders_never_reached)     /* sent, but the exchange says after a new login that it never saw them */ \
    X(journal_records)          \
    X(receive_calls)            /* receive system calls that brought something */ \
    X(send_calls)               \
    X(empty_polls)              \
    X(yields)                   /* moments slept for the kernel's own threads of this CPU */ \
    X(warmed)                   /* idle runs through the hot path */ \
    X(minor_faults)             /* page faults of the thread since the loop began */ \
    X(major_faults)             \
    X(involuntary_switches)     /* times the kernel took the CPU away since then */

#define AGENT_HISTOGRAMS(X) \
    X(kernel)     /* kernel's or card's receive stamp to user memory, per datagram, ns (feed.timestamps) */ \
    X(receive)    /* receive call that brought something, ns: with engine.stamps, as are the next five */ \
    X(parse)      /* datagram in user memory to message parsed */ \
    X(book)       /* to book and series updated */ \
    X(strategy)   /* to orders returned */ \
    X(risk)       /* to order passed */ \
    X(encode)     /* to send call entered */ \
    X(send)       /* the send call, per order */ \
    X(own_code)   /* datagram in user memory to send call entered, per order */ \
    X(total)      /* datagram in user memory to send call returned, per order */ \
    X(order_ack)  /* send call entered to Accepted read, per order */

/* What the gate holds each order against, in shared memory: a control process may write them, one aligned
 * word at a time, while the engine runs; 0 switches a limit off unless it says otherwise. */
#define AGENT_LIMITS(X) \
    X(kill)               /* 1: no order passes, and open ones are cancelled */ \
    X(max_size)           /* whole units; 0: nothing passes */ \
    X(max_notional)       /* price x size of one order, in 0.0001 of the currency */ \
    X(collar_ppm)         /* parts per million beyond the far side of the book */ \
    X(max_position)       /* of a symbol, long or short, open orders included, whole units */ \
    X(max_open_orders)    /* of all symbols; at most 65,536 */ \
    X(rate_interval_ns)   /* what one order costs */ \
    X(rate_burst_ns)      /* what may be ahead */ \
    X(duplicate_ns)       /* the same symbol, side, price and size again within this time */

#define AGENT_SYMBOL_FIELDS(X) \
    X(name)               /* 8 characters, padded with spaces */ \
    X(stale)              /* 0, or why its book is not to be trusted: book.pxd */ \
    X(bid)                /* units of 1e-8, as in agent_event */ \
    X(bid_size)           \
    X(ask)                \
    X(ask_size)           \
    X(position)           /* whole units, signed */ \
    X(open_buy)           /* whole units in open orders */ \
    X(open_sell)

/* Log-linear: 2^7 buckets per power of two, exact below 128, so a bucket is at most 1/128 of its
 * value wide and its midpoint at most 0.4 % off. Values from 2^40 ns on share the last bucket. */
#define AGENT_HIST_BITS 7
#define AGENT_HIST_BUCKETS ((40 - AGENT_HIST_BITS + 1) << AGENT_HIST_BITS)

struct agent_histogram {
    uint64_t count, sum, min, max;
    uint64_t buckets[AGENT_HIST_BUCKETS];
};

#define AGENT_FIELD(name) uint64_t name;
struct agent_counters { AGENT_COUNTERS(AGENT_FIELD) };

#define AGENT_HIST_FIELD(name) struct agent_histogram name;
struct agent_histograms { AGENT_HISTOGRAMS(AGENT_HIST_FIELD) };

struct agent_limits { AGENT_LIMITS(AGENT_FIELD) };
struct agent_symbol { AGENT_SYMBOL_FIELDS(AGENT_FIELD) };

#define AGENT_NAME(name) #name "\n"
#define AGENT_NAMES AGENT_COUNTERS(AGENT_NAME) AGENT_HISTOGRAMS(AGENT_NAME) \
    AGENT_LIMITS(AGENT_NAME) AGENT_SYMBOL_FIELDS(AGENT_NAME)

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
    struct agent_counters counters __attribute__((aligned(128)));
    struct agent_histograms histograms __attribute__((aligned(128)));
    char names[sizeof(AGENT_NAMES)];
    struct agent_limits limits __attribute__((aligned(128)));
    struct agent_symbol symbols[] __attribute__((aligned(128)));
};

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
