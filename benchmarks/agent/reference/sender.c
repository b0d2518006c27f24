/* Sends MoldUDP64 packets of ITCH 5.0 messages, as fast as the kernel takes them or at a rate.
 *
 *     sender PORT CPU SESSION FIRST PACKETS MESSAGES RATE
 *
 * PACKETS datagrams of MESSAGES messages each, from sequence number FIRST on, to 127.0.0.1; RATE datagrams a second,
 * 0: a flood of sendmmsg(32). At a rate what is due is sent at once, at most 32 at a time. Prints when it began and
 * ended (CLOCK_MONOTONIC, ns), and how late, at most, a datagram left.
 *
 * The messages follow from their numbers: 1 and 2 are an Add Order each side, and then every four are an order that
 * joins the best bid, is replaced, executed in part and deleted: 36, 35, 31 and 19 bytes. So each changes what the
 * best bid offers, and its price never changes. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 32, DATAGRAM = 1472, BID = 1000000, ASK = 1000100 };

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static uint8_t *put(uint8_t *to, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        to[i] = (uint8_t)value;
    return to + bytes;
}

static uint8_t *add(uint8_t *to, uint64_t reference, char side, uint32_t price)
{
    to = put(to, reference, 8);
    *to++ = (uint8_t)side;
    to = put(to, 100, 4);
    memcpy(to, "AAPL    ", 8);
    return put(to + 8, price, 4);
}

/* Message `number`, its length before it; returns the place behind it. */
static uint8_t *message(uint8_t *to, uint64_t number)
{
    static const uint8_t sizes[] = { 36, 35, 31, 19 };
    int kind = number < 3 ? 0 : (int)((number - 3) % 4);
    uint64_t reference = number < 3 ? number : 3 + (number - 3) / 4 * 2;
    to = put(to, sizes[kind], 2);
    *to++ = (uint8_t)"AUED"[kind];
    to = put(to, 1, 2);
    to = put(to, 0, 2);
    to = put(to, number, 6);
    if (kind == 0)
        return add(to, reference, number == 2 ? 'S' : 'B', number == 2 ? ASK : BID);
    if (kind == 1) {
        to = put(put(to, reference, 8), reference + 1, 8);
        return put(put(to, 200, 4), BID, 4);
    }
    to = put(to, reference + 1, 8);
    return kind == 2 ? put(put(to, 50, 4), number, 8) : to;
}

int main(int argc, char **argv)
{
    static uint8_t buffers[BATCH][DATAGRAM];
    static struct mmsghdr headers[BATCH];
    static struct iovec vectors[BATCH];
    cpu_set_t cpus;
    if (argc != 8 || strlen(argv[3]) != 10)
        return 2;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[2]), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus))
        return 3;
    uint64_t next = strtoull(argv[4], NULL, 10), packets = strtoull(argv[5], NULL, 10), sent = 0;
    uint32_t messages = (uint32_t)atoi(argv[6]);
    double gap = atof(argv[7]) > 0 ? 1e9 / atof(argv[7]) : 0;
    int size = 4 << 20, feed = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(feed, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (messages < 1 || messages > 36 || connect(feed, (struct sockaddr *)&to, sizeof to))
        return 4;
    for (int i = 0; i < BATCH; i++) {
        vectors[i].iov_base = buffers[i];
        headers[i].msg_hdr.msg_iov = &vectors[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        memcpy(buffers[i], argv[3], 10);
    }
    int64_t begun = now(), late = 0;
    while (sent < packets) {
        uint64_t due = packets - sent;
        if (gap > 0) {
            double since = (double)(now() - begun);
            uint64_t so_far = (uint64_t)(since / gap) + 1;
            if (so_far <= sent)
                continue;
            if (so_far - sent < due)
                due = so_far - sent;
            int64_t behind = (int64_t)(since - (double)sent * gap);
            if (behind > late)
                late = behind;
        }
        int n = due < BATCH ? (int)due : BATCH;
        for (int i = 0; i < n; i++) {
            uint8_t *at = put(buffers[i] + 10, next, 8);
            at = put(at, messages, 2);
            for (uint32_t k = 0; k < messages; k++)
                at = message(at, next++);
            vectors[i].iov_len = (size_t)(at - buffers[i]);
        }
        for (int gone = 0; gone < n;) {
            int taken = sendmmsg(feed, headers + gone, (unsigned)(n - gone), 0);
            if (taken > 0)
                gone += taken;
            else if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED)
                return 5;
        }
        sent += (uint64_t)n;
    }
    printf("%lld %lld %lld\n", (long long)begun, (long long)now(), (long long)late);
    return 0;
}
