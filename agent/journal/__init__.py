"""The journal: what an engine told the exchange and was told, in a file that survives a kill."""
