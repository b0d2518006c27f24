"""Fuzzers of the decoders, and a stress of the ring. tests/long/test_fuzz.py and test_ring_tsan.py build them with
sanitizers; they are in no wheel."""
