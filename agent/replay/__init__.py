"""A recording through the engine's own path, as fast as memory gives it."""
