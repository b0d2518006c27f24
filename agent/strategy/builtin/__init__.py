"""The built-in strategies, one module each, with the object STRATEGY."""
