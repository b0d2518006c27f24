"""Measure what a CPU loses, and name the cause.

gaps      the compiled loop (Cython, no GIL)
detect    the loop run on a CPU, its gaps judged
causes    what a gap was: pure
show      a measurement for people
"""
