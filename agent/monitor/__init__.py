"""Reading a running engine: statistics, a screen that refreshes, Prometheus."""
