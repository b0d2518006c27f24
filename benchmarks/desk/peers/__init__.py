"""Programs that do with other people's packages what the desk does; the benchmarks run them as subprocesses."""
