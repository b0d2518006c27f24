"""Fuzzers of the decoders. They are built with sanitizers by tests/long/test_fuzz.py and are in no wheel."""
