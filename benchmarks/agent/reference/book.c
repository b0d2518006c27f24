/* Order books the plain way: orders in an array by reference number, the price levels of a side in an array sorted so that
 * the best is last, searched from there. Nothing is checked. See book.h. */
#include "book.h"
#include <string.h>

#define LEVELS 4096

struct order { uint32_t price, shares, symbol, side; };
struct level { uint32_t price, orders; uint64_t shares; };
struct side { int count; struct level levels[LEVELS]; };

static struct order *orders;
static struct side *sides;

/* The level of a price, or where it belongs; bids ascend, offers descend. */
static inline int place(const struct side *s, uint32_t price, int bid)
{
    int i = s->count;
    while (i > 0 && (bid ? s->levels[i - 1].price > price : s->levels[i - 1].price < price))
        i--;
    return i > 0 && s->levels[i - 1].price == price ? i - 1 : i;
}

static inline void add(uint64_t reference, uint32_t symbol, int bid, uint32_t shares, uint32_t price)
{
    struct side *s = &sides[2 * symbol + !bid];
    int i = place(s, price, bid);
    if (i == s->count || s->levels[i].price != price) {
        memmove(&s->levels[i + 1], &s->levels[i], (size_t)(s->count - i) * sizeof *s->levels);
        s->levels[i] = (struct level){ price, 0, 0 };
        s->count++;
    }
    s->levels[i].orders++;
    s->levels[i].shares += shares;
    orders[reference] = (struct order){ price, shares, symbol, (uint32_t)bid };
}

static inline void take(struct order *o, uint32_t shares)
{
    struct side *s = &sides[2 * o->symbol + !o->side];
    int i = place(s, o->price, (int)o->side);
    s->levels[i].shares -= shares;
    o->shares -= shares;
    if (o->shares == 0 && --s->levels[i].orders == 0) {
        s->count--;
        memmove(&s->levels[i], &s->levels[i + 1], (size_t)(s->count - i) * sizeof *s->levels);
    }
}

int main(int argc, char **argv)
{
    int64_t best = INT64_MAX;
    if (prepare(argc, argv))
        return 2;
    orders = malloc((size_t)(last_reference + 1) * sizeof *orders);
    sides = malloc((size_t)symbols * 2 * sizeof *sides);
    if (!orders || !sides)
        return 3;
    for (int64_t pass = 0; pass < passes; pass++) {
        memset(orders, 0, (size_t)(last_reference + 1) * sizeof *orders);
        memset(sides, 0, (size_t)symbols * 2 * sizeof *sides);
        int64_t begun = now();
        for (const struct operation *o = operations, *end = o + count; o < end; o++) {
            struct order *at = &orders[o->reference];
            switch (o->kind) {
            case 'A': add(o->reference, o->symbol, o->side == 'B', o->shares, o->price); break;
            case 'D': take(at, at->shares); break;
            case 'U':
                take(at, at->shares);
                add(o->replacement, at->symbol, (int)at->side, o->shares, o->price);
                break;
            default: take(at, o->shares);
            }
        }
        int64_t took = now() - begun;
        best = took < best ? took : best;
    }
    printf("%ld\n", (long)best);
    for (int64_t i = 0; i < symbols; i++) {
        for (int k = 0; k < 2; k++) {
            const struct side *s = &sides[2 * i + k];
            const struct level *top = &s->levels[s->count - 1];
            printf("%u %lu ", s->count ? top->price : 0, s->count ? (unsigned long)top->shares : 0);
        }
        puts("");
    }
    return 0;
}
