/* The shared-memory segment of one engine: counters and latency histograms.
 *
 * One writer, the engine's loop; any number of readers, which map it read-only. Every value is an
 * aligned 64-bit word, so a reader sees whole values, of slightly different moments. The segment
 * describes itself: the header gives offsets, counts and the names in order, and agent/shm.py
 * reads it by these alone.
 */
#ifndef AGENT_SHM_H
#define AGENT_SHM_H

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#define AGENT_SHM_MAGIC "HTAGENT"   /* 7 characters and the NUL */
#define AGENT_SHM_VERSION 1

#define AGENT_STARTING 0
#define AGENT_CONNECTING 1          /* the loop runs, ticks are read, the gate is closed */
#define AGENT_RUNNING 2             /* logged in at the exchange */
#define AGENT_STOPPED 3

#define AGENT_COUNTERS(X) \
    X(datagrams)                /* datagrams received */ \
    X(datagram_bytes)           \
    X(messages)                 /* messages read out of datagrams: the sum of the next five groups */ \
    X(book_ticker)              /* ticks in: best bid and offer */ \
    X(trade)                    /* ticks in: trades */ \
    X(depth_update)             /* read and counted, not parsed */ \
    X(other)                    /* well-formed, of another type */ \
    X(malformed_truncated)      /* the message ended inside a value */ \
    X(malformed_json)           /* not JSON */ \
    X(malformed_field)          /* a field missing, doubled, escaped or of the wrong type */ \
    X(malformed_number)         /* not a decimal of at most 11 digits and 8 decimals */ \
    X(other_symbol)             /* of the ticks in: not the configured symbol */ \
    X(malformed_datagram)       /* header or message block overruns the datagram, or bytes are left */ \
    X(heartbeats)               /* MoldUDP64 heartbeats */ \
    X(end_of_session)           /* MoldUDP64 end of session packets */ \
    X(sessions)                 /* MoldUDP64 sessions joined */ \
    X(gaps)                     /* jumps in the sequence */ \
    X(lost)                     /* messages missing in those jumps */ \
    X(duplicates)               /* messages with a sequence number already passed, skipped */ \
    X(kernel_drops)             /* datagrams the kernel dropped at this socket */ \
    X(receive_errors)           \
    X(receive_buffer)           /* bytes of SO_RCVBUF as read back */ \
    X(events)                   /* strategy calls */ \
    X(strategy_errors)          /* calls that returned a negative code */ \
    X(orders_wanted)            /* orders the strategy returned: sent + all rejects */ \
    X(orders_sent)              /* passed the gate and given to the socket */ \
    X(reject_closed)            /* not logged in */ \
    X(reject_backlog)           /* an earlier send was short or refused, bytes still wait */ \
    X(reject_side)              \
    X(reject_symbol)            \
    X(reject_size)              /* not positive, over max_size, or over OUCH's 999,999 */ \
    X(reject_price)             /* not finite, not positive, off the 0.0001 grid, over OUCH's limit */ \
    X(reject_notional)          \
    X(reject_rate)              \
    X(reject_count)             /* the strategy returned more orders than the buffer holds */ \
    X(send_short)               /* sends that took part of the bytes */ \
    X(send_refused)             /* sends that took none (buffer full) */ \
    X(accepted)                 /* OUCH Accepted for an open order */ \
    X(rejected)                 /* OUCH Rejected for an open order */ \
    X(answers_unmatched)        /* Accepted or Rejected for no open order */ \
    X(exchange_other)           /* other OUCH messages, and SoupBinTCP debug packets */ \
    X(exchange_malformed)       /* bytes of the exchange that are not the protocol: closes the link */ \
    X(exchange_heartbeats)      \
    X(heartbeats_sent)          \
    X(logins)                   /* SoupBinTCP logins accepted */ \
    X(connection_lost)          /* links that ended without SoupBinTCP end of session */ \
    X(orders_unanswered)        /* open orders when a link ended */ \
    X(empty_polls)              \
    X(yields)                   /* moments slept for the kernel's own threads of this CPU */

#define AGENT_HISTOGRAMS(X) \
    X(own_code)   /* datagram in user memory to send call entered, per order, ns */ \
    X(send)       /* the send call, per order, ns */ \
    X(order_ack)  /* send call entered to Accepted read, per order, ns */

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

#define AGENT_NAME(name) #name "\n"
#define AGENT_COUNTER_NAMES AGENT_COUNTERS(AGENT_NAME)
#define AGENT_HIST_NAMES AGENT_HISTOGRAMS(AGENT_NAME)

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
    uint64_t names_offset, names_size;   /* counters, then histograms, each name and a newline */
    char boot_id[40];
    char ended[128];                /* why the loop ended, once state is AGENT_STOPPED */
    struct agent_counters counters __attribute__((aligned(128)));
    struct agent_histograms histograms __attribute__((aligned(128)));
    char names[sizeof(AGENT_COUNTER_NAMES AGENT_HIST_NAMES)];
};

static inline void agent_shm_init(struct agent_shm *s)
{
    memset(s, 0, sizeof *s);
    s->size = sizeof *s;
    s->counters_offset = offsetof(struct agent_shm, counters);
    s->counters_count = sizeof(struct agent_counters) / sizeof(uint64_t);
    s->histograms_offset = offsetof(struct agent_shm, histograms);
    s->histograms_count = sizeof(struct agent_histograms) / sizeof(struct agent_histogram);
    s->histogram_bits = AGENT_HIST_BITS;
    s->histogram_buckets = AGENT_HIST_BUCKETS;
    s->names_offset = offsetof(struct agent_shm, names);
    s->names_size = sizeof s->names - 1;
    memcpy(s->names, AGENT_COUNTER_NAMES AGENT_HIST_NAMES, sizeof s->names);
    s->version = AGENT_SHM_VERSION;
    memcpy(s->magic, AGENT_SHM_MAGIC, sizeof s->magic);
}

#endif
