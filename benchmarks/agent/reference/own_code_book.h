/* An order book by order, for own_code.c: open orders in a hash table by reference number, the levels of a side in a
 * sorted array with the best at its end. Each operation is checked: an order that is not there or is there twice, more
 * shares than it has, no room. Then the result is false, and the symbol is not to be traded. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { SLOTS_BITS = 21, LEVELS = 2048 };

struct resting { uint64_t reference; uint32_t shares, price, side, unused; };   /* reference 0: the slot is free */
struct level { uint64_t shares; uint32_t price, orders; };
struct side { uint32_t count; struct level levels[LEVELS]; };
struct book { struct side sides[2]; uint64_t used; struct resting slots[1 << SLOTS_BITS]; };   /* sides: bids, asks */

/* The exchange counts references up: a new order, and one that does not live long, is where memory was used just now. */
static inline uint64_t home(uint64_t reference) { return reference & ((1 << SLOTS_BITS) - 1); }

/* The slot of an order, or the free one where it belongs. */
static inline struct resting *find(struct book *b, uint64_t reference)
{
    uint64_t i = home(reference);
    while (b->slots[i].reference && b->slots[i].reference != reference)
        i = (i + 1) & ((1 << SLOTS_BITS) - 1);
    return &b->slots[i];
}

/* How many levels of a side are not worse than this price; the last of them may be the price itself. */
static inline uint32_t place(const struct side *s, uint32_t price, uint32_t side)
{
    uint32_t i = s->count;
    while (i && (side ? s->levels[i - 1].price < price : s->levels[i - 1].price > price))
        i--;
    return i;
}

static inline bool book_add(struct book *b, uint64_t reference, uint32_t side, uint32_t shares, uint32_t price)
{
    struct resting *o = find(b, reference);
    struct side *s = &b->sides[side];
    uint32_t i = place(s, price, side);
    if (!reference || o->reference || !shares || !price || b->used == 1 << (SLOTS_BITS - 1))
        return false;
    if (i && s->levels[i - 1].price == price) {
        s->levels[i - 1].shares += shares;
        s->levels[i - 1].orders++;
    } else {
        if (s->count == LEVELS)
            return false;
        if (i < s->count)
            memmove(&s->levels[i + 1], &s->levels[i], (s->count - i) * sizeof *s->levels);
        s->levels[i] = (struct level){ shares, price, 1 };
        s->count++;
    }
    *o = (struct resting){ reference, shares, price, side, 0 };
    b->used++;
    return true;
}

/* Take an order out, and move back what probing had put behind it. */
static inline void free_slot(struct book *b, struct resting *o)
{
    const uint64_t mask = (1 << SLOTS_BITS) - 1;
    uint64_t hole = (uint64_t)(o - b->slots);
    for (uint64_t i = (hole + 1) & mask; b->slots[i].reference; i = (i + 1) & mask)
        if (((i - home(b->slots[i].reference)) & mask) >= ((i - hole) & mask)) {
            b->slots[hole] = b->slots[i];
            hole = i;
        }
    b->slots[hole].reference = 0;
    b->used--;
}

/* Take shares off an order, and with `all` what it has. Its side and price are in *was. */
static inline bool book_take(struct book *b, uint64_t reference, uint32_t shares, bool all, struct resting *was)
{
    struct resting *o = find(b, reference);
    if (!reference || !o->reference || (!all && shares > o->shares))
        return false;
    *was = *o;
    if (all)
        shares = o->shares;
    struct side *s = &b->sides[o->side];
    uint32_t i = place(s, o->price, o->side) - 1;
    bool whole = shares == o->shares;
    s->levels[i].shares -= shares;
    s->levels[i].orders -= whole;
    if (!s->levels[i].orders) {
        s->count--;
        if (i < s->count)
            memmove(&s->levels[i], &s->levels[i + 1], (s->count - i) * sizeof *s->levels);
    }
    if (whole)
        free_slot(b, o);
    else
        o->shares -= shares;
    return true;
}
