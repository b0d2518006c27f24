/* The floor of receiving datagrams: recvmmsg(32), and the datagrams are counted, not looked at.
 *
 *     receiver PORT CPU BUFFER FILE
 *
 * BUFFER: bytes of the receive buffer (SO_RCVBUFFORCE). FILE: 8 bytes, mapped; holds the count. Spins. Prints "ready"
 * and the buffer's size as the kernel has it; runs until it is killed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { BATCH = 32, DATAGRAM = 2048 };

int main(int argc, char **argv)
{
    static uint8_t buffers[BATCH][DATAGRAM];
    static struct mmsghdr headers[BATCH];
    static struct iovec vectors[BATCH];
    cpu_set_t cpus;
    if (argc != 5)
        return 2;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[2]), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus))
        return 3;
    int feed = socket(AF_INET, SOCK_DGRAM, 0), size = atoi(argv[3]), file = open(argv[4], O_RDWR);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])) };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (setsockopt(feed, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        setsockopt(feed, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    socklen_t room = sizeof size;
    if (getsockopt(feed, SOL_SOCKET, SO_RCVBUF, &size, &room) || bind(feed, (struct sockaddr *)&at, sizeof at))
        return 4;
    volatile uint64_t *count = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (count == MAP_FAILED)
        return 5;
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){ buffers[i], DATAGRAM };
        headers[i].msg_hdr.msg_iov = &vectors[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
    printf("ready %d\n", size);
    fflush(stdout);
    for (;;) {
        int n = recvmmsg(feed, headers, BATCH, MSG_DONTWAIT, NULL);
        if (n > 0)
            *count += (uint64_t)n;
    }
}
