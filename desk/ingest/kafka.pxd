"""librdkafka as a lane needs it: found in the library that confluent_kafka has loaded, and a plugin of it.

Source: rdkafka.h of version 2.16. Of one extension alone: functions and client are static.
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

    struct kafka_functions {
        ssize_t (*consume)(void *queue, int timeout_ms, kafka_message **found, size_t count);
        void (*destroy)(kafka_message *);
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
        "rd_kafka_consume_batch_queue", "rd_kafka_message_destroy", "rd_kafka_queue_get_partition",
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

    static void *kafka_take_made(void)
    {
        void *client = kafka_made;
        kafka_made = NULL;
        return client;
    }
    """
    ctypedef struct kafka_message:
        int err
        const uint8_t *payload
        size_t len
        int64_t offset
    struct kafka_functions:
        Py_ssize_t (*consume)(void *, int, kafka_message **, size_t) noexcept nogil
        void (*destroy)(kafka_message *) noexcept nogil
        void *(*find_queue)(void *, const char *, int32_t) noexcept nogil
        void (*forward)(void *, void *) noexcept nogil
        void (*close_queue)(void *) noexcept nogil
        void (*wake)(void *, int, const void *, size_t) noexcept nogil
        const char *(*explain)(int) noexcept nogil
    kafka_functions kafka
    const char *kafka_load(const char *) nogil
    void *kafka_take_made() nogil
