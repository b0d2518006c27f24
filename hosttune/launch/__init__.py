"""Start a program as a trading process has to run, or refuse with the cause and the fix.

plan      what was asked for: plain data
account   the user that the program runs as
program   what execve will make of the command
facts     what this host and this process allow: read, and where only a trial tells, tried (trial)
preflight the report of a check that was made before, where none is made here
checks    plan and facts → findings, and the decision: pure
run_directory, identity   where leases and records are, and which process they name
lease     one process per CPU
record    what was promised, for `hosttune attest`
session   a launcher that stays between the terminal and a program of another user
confine   what must not go down to the program (environment, _kernel)
process   the promises kept: limits, affinity, policy, user, exec
"""

#: Leases and launch records, unless `--run-dir` says otherwise.
RUN_DIRECTORY = "/run/hosttune"

#: Keeps the CPUs out of deep idle states for as long as it is held open (`Documentation/power/pm_qos_interface.rst`).
DMA_LATENCY = "/dev/cpu_dma_latency"
