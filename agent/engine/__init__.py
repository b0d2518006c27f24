"""The engine of `agent run`: one loop from a datagram to an order, and what surrounds it."""
