"""The tables of desk.toml, one module each: their keys, and what values they may have. Nothing here opens anything."""
