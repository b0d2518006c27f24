/* What the agents in C share: their CPU, the clock, and the connection to the exchange (SoupBinTCP, OUCH 5.0). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* CLOCK_MONOTONIC, ns. */
static inline int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline int pin(int cpu)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    return sched_setaffinity(0, sizeof cpus, &cpus);
}

static inline struct sockaddr_in local(int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

/* A UDP socket bound to the port, with a receive buffer of so many bytes; -1: it cannot be bound. */
static inline int open_feed(int port, int size)
{
    int feed = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in at = local(port);
    if (setsockopt(feed, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        setsockopt(feed, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    return bind(feed, (struct sockaddr *)&at, sizeof at) ? -1 : feed;
}

/* Connect, and send a Login Request and an OUCH Account Query. Returns the socket; -1: the exchange took neither. */
static inline int log_in(int port)
{
    int exchange = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in to = local(port);
    uint8_t login[49];
    while (connect(exchange, (struct sockaddr *)&to, sizeof to)) {
        close(exchange);
        usleep(10000);
        exchange = socket(AF_INET, SOCK_STREAM, 0);
    }
    setsockopt(exchange, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    memset(login, ' ', sizeof login);
    memcpy(login, "\0\57L", 3);
    memcpy(login + 3, "trader", 6);
    memcpy(login + 9, "secret", 6);
    login[48] = '1';
    if (send(exchange, login, sizeof login, 0) != sizeof login || send(exchange, "\0\2UQ", 4, 0) != 4)
        return -1;
    return exchange;
}

/* The 50 bytes of an Enter Order in its packet, but for what changes from one order to the next. */
static inline void build_order(uint8_t *order, const char *symbol)
{
    memset(order, ' ', 50);
    memcpy(order, "\0\60UO", 4);
    memcpy(order + 13, symbol, strlen(symbol));
    memcpy(order + 29, "0YPNN", 5);
    order[48] = order[49] = 0;
}
