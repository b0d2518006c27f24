"""Benchmarks of the agent beside C references built from this tree; `agent bench` runs them."""
