"""Measure what a CPU loses, and name the cause.

gaps      the compiled loop (Cython, no GIL)
causes    what a gap was: pure
"""
