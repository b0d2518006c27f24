"""librdkafka as a lane needs it: found in the library that confluent_kafka has loaded, and a plugin of it.

Source: rdkafka.h of version 2.16 (its event interface for records and errors). Of one extension alone: functions and
client are static.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t


cdef extern from *:
    """
    #include <dlfcn.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <sys/types.h>

    /* Of rdkafka.h: rd_kafka_message_t, which is part of its ABI, and the functions that are used. */
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
    } kafka_message;

    /* RD_KAFKA_EVENT_FETCH and RD_KAFKA_EVENT_ERROR. */
    enum { KAFKA_FETCH = 0x2, KAFKA_ERROR = 0x8 };

    struct kafka_functions {
        void *(*poll)(void *queue, int timeout_ms);
        int (*type)(const void *event);
        const kafka_message *(*message)(void *event);
        int (*error)(void *event);
        void (*destroy)(void *event);
        void *(*find_queue)(void *client, const char *topic, int32_t partition);
        void (*forward)(void *from, void *to);
        void (*close_queue)(void *queue);
        void (*wake)(void *queue, int descriptor, const void *payload, size_t size);
        const char *(*explain)(int error);
        int (*call_on_new)(void *conf, const char *name, int (*)(void *, const void *, void *, char *, size_t), void *);
    };
    static struct kafka_functions kafka;
    static void *kafka_made;                    /* the client that was made last */

    static int kafka_keep(void *client, const void *conf, void *opaque, char *text, size_t size)
    {
        (void)conf; (void)opaque; (void)text; (void)size;
        kafka_made = client;
        return 0;
    }

    /* What librdkafka calls of a plugin. Returns rd_kafka_resp_err_t. */
    __attribute__((visibility("default"))) int conf_init(void *conf, void **opaque, char *text, size_t size)
    {
        (void)opaque; (void)text; (void)size;
        return kafka.call_on_new ? kafka.call_on_new(conf, "desk", kafka_keep, NULL) : -1;
    }

    static const char *kafka_names[] = {
        "rd_kafka_queue_poll", "rd_kafka_event_type", "rd_kafka_event_message_next", "rd_kafka_event_error",
        "rd_kafka_event_destroy", "rd_kafka_queue_get_partition",
        "rd_kafka_queue_forward", "rd_kafka_queue_destroy", "rd_kafka_queue_io_event_enable", "rd_kafka_err2str",
        "rd_kafka_conf_interceptor_add_on_new",
    };

    /* Find the functions in the library of this path, which is loaded. Returns what is missing; NULL: nothing. */
    static const char *kafka_load(const char *path)
    {
        void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD), **to = (void **)&kafka;
        if (!library)
            return path;
        for (size_t i = 0; i < sizeof(kafka_names) / sizeof(*kafka_names); i++)
            if (!(to[i] = dlsym(library, kafka_names[i])))
                return kafka_names[i];
        return NULL;
    }

    /* A record, and the event that it lives as long as. */
    struct kafka_record { const kafka_message *message; void *event; };

    /* Take up to so many records that are there, and the last error among them. As events: librdkafka's other functions
     * call back for an error of a partition, and confluent_kafka's callbacks abort outside of its own calls. */
    static size_t kafka_take(void *queue, struct kafka_record *found, size_t count, int *error)
    {
        size_t n = 0;
        void *event;
        while (n < count && (event = kafka.poll(queue, 0))) {
            int type = kafka.type(event);
            found[n].event = event;
            found[n].message = type == KAFKA_FETCH ? kafka.message(event) : NULL;
            if (found[n].message) {
                n++;
                continue;
            }
            if (type == KAFKA_ERROR)
                *error = kafka.error(event);
            kafka.destroy(event);
        }
        return n;
    }

    static void *kafka_take_made(void)
    {
        void *client = kafka_made;
        kafka_made = NULL;
        return client;
    }
    """
    ctypedef struct kafka_message:
        const uint8_t *payload
        size_t len
        int64_t offset
    struct kafka_record:
        const kafka_message *message
        void *event
    struct kafka_functions:
        void (*destroy)(void *) noexcept nogil
        void *(*find_queue)(void *, const char *, int32_t) noexcept nogil
        void (*forward)(void *, void *) noexcept nogil
        void (*close_queue)(void *) noexcept nogil
        void (*wake)(void *, int, const void *, size_t) noexcept nogil
        const char *(*explain)(int) noexcept nogil
    kafka_functions kafka
    const char *kafka_load(const char *) nogil
    size_t kafka_take(void *, kafka_record *, size_t, int *) noexcept nogil
    void *kafka_take_made() nogil
