"""`desk sync`: limits from Redis to engines, and what engines hold to Redis. A dead Redis costs an engine nothing."""
