/* The floor of tick to order: receives a datagram and sends an order, and nothing else. Spins on both sockets.
 *
 *     forwarder FEED_PORT EXCHANGE_PORT CPU SYMBOL
 *
 * Logs in (SoupBinTCP), sends an OUCH Account Query, then for each MoldUDP64 packet one Enter Order whose ClOrdID is
 * the packet's sequence number. Prints "ready" when it may be sent ticks; ends when the exchange does. */
#include "link.h"
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static uint8_t in[65536], answers[65536];
    uint8_t order[50];
    uint32_t id = 0;
    if (argc != 5 || strlen(argv[4]) > 8)
        return 2;
    if (pin(atoi(argv[3])))
        return 3;
    int feed = open_feed(atoi(argv[1]), 8 << 20);
    if (feed < 0)
        return 4;
    int exchange = log_in(atoi(argv[2]));
    if (exchange < 0)
        return 5;
    build_order(order, argv[4]);
    order[8] = 'B';
    memcpy(order + 9, "\0\0\0\1", 4);
    memcpy(order + 21, "\0\0\0\0\0\0\x27\x10", 8);
    puts("ready");
    fflush(stdout);
    for (uint32_t spin = 0;; spin++) {
        ssize_t n = recv(feed, in, sizeof in, MSG_DONTWAIT);
        if (n > 20) {
            uint64_t sequence;
            memcpy(&sequence, in + 10, 8);
            sequence = be64toh(sequence);
            uint32_t number = htobe32(++id);
            memcpy(order + 4, &number, 4);
            for (int i = 47; i > 33; i--) {
                order[i] = (uint8_t)('0' + sequence % 10);
                sequence /= 10;
            }
            if (send(exchange, order, sizeof order, MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof order)
                return 6;
        } else if ((spin & 1) == 0) {
            n = recv(exchange, answers, sizeof answers, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN))
                return 0;
        }
    }
}
