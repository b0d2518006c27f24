/* EMA cross in C behind the strategy ABI: what strategies/ema_cross.py does, for one symbol. And `drive`: calls of any
 * strategy's on_event over an array of events, which is timed. */
#include "agent_strategy.h"
#include <time.h>

struct state { double alpha_fast, alpha_slow, fast, slow; int64_t warm_up, size, seen, above; };

static int32_t init(void *memory, const struct agent_params *params)
{
    struct state *s = memory;
    s->alpha_fast = 2.0 / (params->fast + 1.0);
    s->alpha_slow = 2.0 / (params->slow + 1.0);
    s->warm_up = (int64_t)params->slow;
    s->size = params->size;
    return 0;
}

static int32_t on_event(void *memory, const struct agent_event *e, struct agent_order *out)
{
    struct state *s = memory;
    if (!(e->kind & AGENT_BOOK) || e->bid == 0 || e->ask == 0)
        return 0;
    double mid = (double)(e->bid + e->ask) * (0.5 * 1e-8);
    if (s->seen == 0)
        s->fast = s->slow = mid;
    s->fast += s->alpha_fast * (mid - s->fast);
    s->slow += s->alpha_slow * (mid - s->slow);
    s->seen++;
    int64_t before = s->above, above = s->fast > s->slow ? 1 : s->fast < s->slow ? -1 : before;
    s->above = above;
    if (above == before || before == 0 || s->seen <= s->warm_up)
        return 0;
    out[0] = (struct agent_order){ .symbol = e->symbol, .size = s->size, .side = above > 0 ? AGENT_BUY : AGENT_SELL,
                                   .price = (double)(above > 0 ? e->ask : e->bid) * 1e-8 };
    return 1;
}

struct agent_strategy agent_strategy = { .abi = AGENT_ABI, .size = sizeof(struct agent_strategy),
                                         .state_size = sizeof(struct state), .init = init, .on_event = on_event };

__attribute__((constructor)) static void hash(void) { agent_strategy.layout = agent_layout_hash(); }
