"""The states of the market and of a symbol, as the segment has them, in words. What no feed has told has none."""

#: By the number of agent_event.market (strategy/include/agent_strategy.h).
MARKETS = {1: "unknown", 2: "closed", 3: "pre-market", 4: "open", 5: "post-market", 6: "ended by the circuit breaker"}
#: By the number of agent_event.state.
SYMBOLS = {1: "unknown", 2: "trading", 3: "quoting", 4: "paused", 5: "halted", 6: "halted here"}
