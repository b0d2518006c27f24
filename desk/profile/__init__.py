"""Profiling: one table of hot spots out of what py-spy, cProfile, line_profiler, memray and perf measure."""
