// The order book of https://github.com/charles-cooper/itch-order-book, driven with operations. See book.h. Its order ids
// index an array, which is given its size beforehand, as its own main() does.
#include <cassert>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <type_traits>
enum class qty_t : uint32_t {};
#include "order_book.h"

#include "book.h"

static sprice_t price(uint32_t value, bool bid) { return sprice_t(bid ? int32_t(value) : -int32_t(value)); }

static void empty()
{
    for (size_t i = 0; i < order_book::MAX_BOOKS; i++) {
        order_book::s_books[i].m_bids.clear();
        order_book::s_books[i].m_offers.clear();
    }
    order_book::s_levels.m_allocated.clear();
    order_book::s_levels.m_free.clear();
}

int main(int argc, char **argv)
{
    int64_t best = INT64_MAX;
    if (prepare(argc, argv) || symbols > int64_t(order_book::MAX_BOOKS))
        return 2;
    order_book::oid_map.reserve(order_id_t(last_reference));
    for (int64_t pass = 0; pass < passes; pass++) {
        empty();
        int64_t begun = now();
        for (const operation *o = operations, *end = o + count; o < end; o++) {
            order_id_t id{uint32_t(o->reference)};
            switch (o->kind) {
            case 'A':
                order_book::add_order(id, book_id_t(o->symbol), price(o->price, o->side == 'B'), qty_t(o->shares));
                break;
            case 'D': order_book::delete_order(id); break;
            case 'U':
                order_book::replace_order(id, order_id_t(o->replacement), qty_t(o->shares), price(o->price, true));
                break;
            case 'E': order_book::execute_order(id, qty_t(o->shares)); break;
            default: order_book::cancel_order(id, qty_t(o->shares));
            }
        }
        int64_t took = now() - begun;
        best = took < best ? took : best;
    }
    printf("%ld\n", long(best));
    for (int64_t i = 0; i < symbols; i++) {
        for (auto *side : {&order_book::s_books[i].m_bids, &order_book::s_books[i].m_offers}) {
            if (side->empty())
                printf("0 0 ");
            else
                printf("%d %u ", std::abs(int32_t(side->back().m_price)),
                       uint32_t(order_book::s_levels[side->back().m_ptr].m_qty));
        }
        puts("");
    }
    return 0;
}
