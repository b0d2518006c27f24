"""The order books of all symbols in one block of memory."""
