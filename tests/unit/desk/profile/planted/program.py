"""The profiled program: `program.py MODULE HOT SECONDS` spends most of its time in one of a module's five functions."""

import importlib
import sys
import time

module, hot, seconds = sys.argv[1:]
planted = importlib.import_module(module).PLANTED
for function, size in planted.values():
    function(size)  # Numba compiles


def spend(function, size, span):
    end = time.thread_time() + span
    while time.thread_time() < end:
        function(size)


limit = time.process_time() + float(seconds)
while time.process_time() < limit:
    for name, (function, size) in planted.items():
        spend(function, size, 0.02 if name == hot else 0.001)
