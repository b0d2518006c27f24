"""Programs that do with other people's packages what the agent does; the benchmarks run them as subprocesses.

The two agents are started like reference/forwarder.c, FEED_PORT EXCHANGE_PORT CPU [SYMBOL], and behave to the exchange
simulator as it does: log in, ask with an Account Query for the feed to start, one Enter Order for each tick with the
number of the tick's packet as its ClOrdID, "ready" on standard output, the end when the exchange closes. A tick, to
them, is an ITCH message that enters or replaces an order; no other message gets an order.

The two replays are started with a file of quotes, and print what they did as JSON.
"""
