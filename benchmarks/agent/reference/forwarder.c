/* The floor of tick to order: receives a datagram and sends an order, and nothing else. Spins on both sockets.
 *
 *     forwarder FEED_PORT EXCHANGE_PORT CPU SYMBOL
 *
 * Logs in (SoupBinTCP), sends an OUCH Account Query, then for each MoldUDP64 packet one Enter Order whose ClOrdID is
 * the packet's sequence number. Prints "ready" when it may be sent ticks; ends when the exchange does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in local(int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

int main(int argc, char **argv)
{
    static uint8_t in[65536], answers[65536];
    uint8_t login[49], order[50];
    uint32_t id = 0;
    int one = 1, size = 8 << 20;
    cpu_set_t cpus;
    if (argc != 5 || strlen(argv[4]) > 8)
        return 2;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[3]), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus))
        return 3;
    int feed = socket(AF_INET, SOCK_DGRAM, 0), exchange = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = local(atoi(argv[1])), to = local(atoi(argv[2]));
    setsockopt(feed, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(feed, (struct sockaddr *)&at, sizeof at))
        return 4;
    while (connect(exchange, (struct sockaddr *)&to, sizeof to)) {
        close(exchange);
        usleep(10000);
        exchange = socket(AF_INET, SOCK_STREAM, 0);
    }
    setsockopt(exchange, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    memset(login, ' ', sizeof login);
    login[0] = 0;
    login[1] = 47;
    login[2] = 'L';
    memcpy(login + 3, "trader", 6);
    memcpy(login + 9, "secret", 6);
    login[48] = '1';
    if (send(exchange, login, sizeof login, 0) != sizeof login || send(exchange, "\0\2UQ", 4, 0) != 4)
        return 5;
    memset(order, ' ', sizeof order);
    memcpy(order, "\0\60UO", 4);
    order[8] = 'B';
    memcpy(order + 9, "\0\0\0\1", 4);
    memcpy(order + 13, argv[4], strlen(argv[4]));
    memcpy(order + 21, "\0\0\0\0\0\0\x27\x10", 8);
    memcpy(order + 29, "0YPNN", 5);
    order[48] = order[49] = 0;
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
