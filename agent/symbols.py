"""What an engine may trade."""

#: Symbols of one engine at most: a journal and a configuration hold no more.
MAX_SYMBOLS = 256
