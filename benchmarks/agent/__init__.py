"""Benchmarks of the agent beside C references built from this tree; `python -m benchmarks.agent` runs them."""
