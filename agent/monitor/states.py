"""The states of the market and of a symbol, as the segment has them, in words. What no feed has told has none."""

from collections.abc import Mapping

#: By the number of agent_event.market (strategy/include/agent_strategy.h).
MARKETS = {1: "unknown", 2: "closed", 3: "pre-market", 4: "open", 5: "post-market", 6: "ended by the circuit breaker"}
#: By the number of agent_event.state.
SYMBOLS = {1: "unknown", 2: "trading", 3: "quoting", 4: "paused", 5: "halted", 6: "halted here"}


def describe_market(counters: Mapping[str, int]) -> str:
    """Returns the state of the market, with the level of the circuit breaker that was breached; "" where no feed has
    told it. counters: of a segment."""
    words = MARKETS.get(counters["market"], "")
    level = counters["market_breached"]
    return f"{words}, level {level} of the circuit breaker breached" if words and level else words
