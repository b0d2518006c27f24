"""Benchmarks of the desk, each beside a floor."""
