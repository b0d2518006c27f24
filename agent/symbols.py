"""What an engine may trade."""

#: Symbols of one engine at most: a journal and a configuration hold no more.
MAX_SYMBOLS = 256
#: Characters of a symbol's name at most: printable ASCII, no space (SYMBOL of protocols/text.pxd).
MAX_NAME = 20
#: Of the name that the exchange has for a symbol: OUCH 5.0 and ITCH 5.0 have 8 characters.
MAX_EXCHANGE_NAME = 8
