/* Order messages of ITCH 5.0 out of MoldUDP64 blocks, decoded the way one would by hand: a switch over the type, every
 * field loaded once, swapped and summed up, so that none is optimised away. Types without an order in them, and the
 * trades off the book, are passed over, but for their number.
 *
 * data: packets of a 20-byte header and blocks, one behind the other. A block is a length of 2 bytes and a message; how
 * many there are is in the header's last 2 bytes. Returns the sum; *bad counts messages that are not well-formed; *ns
 * is what it took.
 *
 * decode_checked() holds each length against the type's, and the side and the printable flag against their letters.
 * decode_unchecked() believes all of them, and takes the lengths to find the next message only. */
#include <endian.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define LOAD(bits) \
    static inline uint64_t load##bits(const uint8_t *p) \
    { uint##bits##_t w; memcpy(&w, p, sizeof w); return be##bits##toh(w); }
LOAD(16) LOAD(32) LOAD(64)

/* Stock locate, tracking number, timestamp. */
static inline uint64_t head(const uint8_t *m)
{
    uint64_t w = load64(m + 3);
    return load16(m + 1) + (w >> 48) + (w & 0xffffffffffff);
}

/* As bits, because nobody can guess the side of the next order: compilers make two branches of two comparisons. */
static inline int side(uint8_t letter)
{
    unsigned i = letter - 'B';
    return i < 32 && (1u << ('S' - 'B') | 1u) >> i & 1;
}

static inline int flag(uint8_t letter) { return letter == 'Y' || letter == 'N'; }

static inline __attribute__((always_inline))
uint64_t decode(const uint8_t *data, int64_t packets, int check, uint64_t *bad, int64_t *ns)
{
    struct timespec a, b;
    uint64_t sum = 0, wrong = 0;
    clock_gettime(CLOCK_MONOTONIC, &a);
    while (packets--) {
        unsigned count = load16(data + 18);
        data += 20;
        while (count--) {
            unsigned size = load16(data);
            const uint8_t *m = data + 2;
            data = m + size;
            if (check && size == 0) {
                wrong++;
                continue;
            }
            switch (m[0]) {
            case 'A':
                if (check && (size != 36 || !side(m[19])))
                    goto no;
                sum += head(m) + load64(m + 11) + m[19] + load32(m + 20) + load32(m + 32);
                break;
            case 'F':
                if (check && (size != 40 || !side(m[19])))
                    goto no;
                sum += head(m) + load64(m + 11) + m[19] + load32(m + 20) + load32(m + 32);
                break;
            case 'E':
                if (check && size != 31)
                    goto no;
                sum += head(m) + load64(m + 11) + load32(m + 19) + load64(m + 23);
                break;
            case 'C':
                if (check && (size != 36 || !flag(m[31])))
                    goto no;
                sum += head(m) + load64(m + 11) + load32(m + 19) + load64(m + 23) + m[31] + load32(m + 32);
                break;
            case 'X':
                if (check && size != 23)
                    goto no;
                sum += head(m) + load64(m + 11) + load32(m + 19);
                break;
            case 'D':
                if (check && size != 19)
                    goto no;
                sum += head(m) + load64(m + 11);
                break;
            case 'U':
                if (check && size != 35)
                    goto no;
                sum += head(m) + load64(m + 11) + load64(m + 19) + load32(m + 27) + load32(m + 31);
                break;
            default:
                sum += 1;
                break;
            no:
                wrong++;
            }
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    *bad = wrong;
    *ns = (b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec;
    return sum;
}

uint64_t decode_checked(const uint8_t *data, int64_t packets, uint64_t *bad, int64_t *ns)
{
    return decode(data, packets, 1, bad, ns);
}

uint64_t decode_unchecked(const uint8_t *data, int64_t packets, uint64_t *bad, int64_t *ns)
{
    return decode(data, packets, 0, bad, ns);
}
