"""Start a program as a trading process has to run, or refuse with the cause and the fix.

plan      what was asked for: plain data
program   what execve will make of the command
facts     what this host and this process allow: all reading
checks    plan and facts → findings, and the decision: pure
lease     one process per CPU
record    what was promised, for `hosttune attest`
process   the promises kept: limits, affinity, policy, user, exec
"""
