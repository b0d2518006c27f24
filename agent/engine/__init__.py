"""The engine of `agent run`: one loop from a datagram to an order, and what surrounds it.

run             starts an engine and ends it: configuration, sockets, segment, journal, strategy, then the loop
feed_sockets    the sockets of the feed's lines and of the request server
shared_memory   the segment of this engine, made anew
journal_writer  the process that writes the journal to disk: started, emptied, ended
systemd         readiness told to systemd
_engine         the loop and its memory, for Python; arguments: their checks
state           what the parts of the loop share; setup: its first state
loop            datagrams, timers, housekeeping, giving way
receive         datagrams out of a socket
market          a message to an event: itch_feed (order books) or quotes; symbols: whose it is
decide          an event to the strategy, and its orders to the gate
gate            an order against the limits
orders          an order that passed to bytes; open_orders: those at the exchange; outbox: bytes to the socket
session         the SoupBinTCP session; answers: what the exchange said of orders
journal         records for the journal's ring
measure         stamps between the stages
"""
