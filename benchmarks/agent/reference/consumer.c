/* A consumer of one partition in C on librdkafka: each record is copied into memory like that of a ring, behind the header
 * of a MoldUDP64 packet. consumer SERVERS TOPIC FILE: FILE has the count of records, and counts of microseconds between the
 * time in a record's first 8 bytes and its arrival, for whoever maps it. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    int err;
    void *topic;
    int32_t partition;
    const uint8_t *payload;
    size_t len;
    void *key;
    size_t key_len;
    int64_t offset;
    void *own;
} message;

void *rd_kafka_conf_new(void);
int rd_kafka_conf_set(void *, const char *, const char *, char *, size_t);
void *rd_kafka_new(int, void *, char *, size_t);
void *rd_kafka_topic_partition_list_new(int);
struct partition { char *topic; int32_t partition; int64_t offset; } *
rd_kafka_topic_partition_list_add(void *, const char *, int32_t);
int rd_kafka_assign(void *, const void *);
void *rd_kafka_queue_get_partition(void *, const char *, int32_t);
void rd_kafka_queue_forward(void *, void *);
ssize_t rd_kafka_consume_batch_queue(void *, int, message **, size_t);
void rd_kafka_message_destroy(message *);
int rd_kafka_poll_set_consumer(void *);
message *rd_kafka_consumer_poll(void *, int);

enum { BUCKETS = 1 << 17, BATCH = 1000, CAPACITY = 1 << 24 };
struct shared { uint64_t count; uint64_t buckets[BUCKETS]; };

static uint64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    char text[512];
    static const char *const settings[][2] = {
        {"group.id", "floor"}, {"enable.auto.commit", "false"}, {"enable.auto.offset.store", "false"},
        {"queued.min.messages", "1000000"}, {"queued.max.messages.kbytes", "65536"}, {"fetch.queue.backoff.ms", "5"},
        {"fetch.wait.max.ms", "1"}, {"check.crcs", "true"}, {"socket.nagle.disable", "true"}, {"log_level", "0"},
    };
    void *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", argv[1], text, sizeof(text));
    for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof(text)))
            return fprintf(stderr, "%s\n", text), 1;
    void *client = rd_kafka_new(1, conf, text, sizeof(text));
    int file = open(argv[3], O_RDWR);
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    uint8_t *ring = calloc(1, CAPACITY);
    if (!client || shared == MAP_FAILED || !ring)
        return 1;
    rd_kafka_poll_set_consumer(client);
    void *queue = rd_kafka_queue_get_partition(client, argv[2], 0);
    rd_kafka_queue_forward(queue, NULL);
    void *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, argv[2], 0)->offset = 0;
    rd_kafka_assign(client, list);
    static message *found[BATCH];
    uint64_t at = 0;
    for (;;) {
        ssize_t n = rd_kafka_consume_batch_queue(queue, 20, found, 1);      /* for one; then what there is */
        if (n > 0)
            n += rd_kafka_consume_batch_queue(queue, 0, found + 1, BATCH - 1);
        uint64_t count = 0, arrived = now();
        for (ssize_t i = 0; i < n; i++) {
            message *m = found[i];
            if (!m->err && m->len >= 8 && m->len < 65000) {
                uint64_t need = (30 + m->len + 7) & ~7ull, number = __builtin_bswap64((uint64_t)m->offset + 1), sent;
                uint16_t length = __builtin_bswap16((uint16_t)m->len), one = __builtin_bswap16(1);
                if (need > CAPACITY - at)
                    at = 0;
                uint8_t *to = ring + at;
                memcpy(to, &need, 8);
                memcpy(to + 8, "SESSION001", 10);
                memcpy(to + 18, &number, 8);
                memcpy(to + 26, &one, 2);
                memcpy(to + 28, &length, 2);
                memcpy(to + 30, m->payload, m->len);
                at += need;
                memcpy(&sent, m->payload, 8);
                uint64_t took = arrived > sent ? (arrived - sent) / 1000 : 0;
                shared->buckets[took < BUCKETS ? took : BUCKETS - 1]++;
                count++;
            }
            rd_kafka_message_destroy(m);
        }
        if (count)
            __atomic_fetch_add(&shared->count, count, __ATOMIC_RELEASE);
        else
            rd_kafka_consumer_poll(client, 0);
    }
}
