/* The message desk.v1.Tick to records, by hand: a switch over the tags. What is refused is what desk.codec refuses, but
 * that a symbol has to be ASCII, and that groups are refused. */
#include <stdint.h>
#include <string.h>

struct tick {
    uint64_t seq, ts;
    char symbol[8];
    double bid, ask;
    uint64_t bid_size, ask_size;
};

static inline const uint8_t *read_varint(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
    uint64_t word = 0;
    for (int shift = 0; shift < 70 && p < end; shift += 7) {
        uint8_t byte = *p++;
        word |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = word;
            return p;
        }
    }
    return NULL;
}

static inline const uint8_t *read_word(const uint8_t *p, const uint8_t *end, void *to)
{
    if (end - p < 8)
        return NULL;
    memcpy(to, p, 8);
    return p + 8;
}

static inline const uint8_t *read_symbol(const uint8_t *p, const uint8_t *end, char *to)
{
    uint64_t size;
    p = read_varint(p, end, &size);
    if (!p || size > (uint64_t)(end - p) || size > 8)
        return NULL;
    for (uint64_t i = 0; i < size; i++)
        if (p[i] == 0 || p[i] > 0x7F)
            return NULL;
    memset(to, 0, 8);
    memcpy(to, p, size);
    return p + size;
}

static const uint8_t *skip(const uint8_t *p, const uint8_t *end, int wire)
{
    uint64_t size = 0;
    if (wire == 0)
        return read_varint(p, end, &size);
    if (wire == 2 && !(p = read_varint(p, end, &size)))
        return NULL;
    if (wire == 1 || wire == 5)
        size = wire == 1 ? 8 : 4;
    else if (wire != 2)
        return NULL;
    return size > (uint64_t)(end - p) ? NULL : p + size;
}

static inline int decode(const uint8_t *p, uint64_t size, struct tick *to)
{
    const uint8_t *end = p + size;
    uint64_t tag, value;
    memset(to, 0, sizeof *to);
    while (p < end) {
        if (!(p = read_varint(p, end, &tag)) || tag >> 3 == 0 || tag > UINT32_MAX)
            return -1;
        switch (tag) {
        case 1 << 3: p = read_varint(p, end, &to->seq); break;
        case 2 << 3 | 1: p = read_word(p, end, &to->ts); break;
        case 3 << 3 | 2: p = read_symbol(p, end, to->symbol); break;
        case 4 << 3 | 1: p = read_word(p, end, &to->bid); break;
        case 5 << 3 | 1: p = read_word(p, end, &to->ask); break;
        case 6 << 3: if ((p = read_varint(p, end, &value))) to->bid_size = (uint32_t)value; break;
        case 7 << 3: if ((p = read_varint(p, end, &value))) to->ask_size = (uint32_t)value; break;
        default: p = skip(p, end, tag & 7);
        }
        if (!p)
            return -1;
    }
    return 0;
}

int64_t decode_many(const uint8_t *const *messages, const uint64_t *sizes, int64_t count, struct tick *to)
{
    int64_t done = 0;
    for (int64_t i = 0; i < count; i++)
        done += !decode(messages[i], sizes[i], to + done);
    return done;
}
