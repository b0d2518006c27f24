"""A command of the agent, and what it took."""

import resource
import subprocess
import sys
from collections.abc import Sequence

#: What any input of at most 10 MB may take: seconds of a CPU, and bytes.
SECONDS, BYTES = 2.0, 256 << 20


def run_measured(words: Sequence[str]) -> tuple[subprocess.CompletedProcess[str], float, int]:
    """Runs `agent` with these words: how it ended, seconds of its CPU, the most bytes that it had.

    What takes longer than a second and a half is run again, up to three times, and the quickest counts: what others do
    to a CPU is not what a command takes.
    """
    runs = []
    while not runs or (runs[-1][1] > 1.5 and len(runs) < 3):
        runs.append(_run(words))
    return min(runs, key=lambda run: run[1])


def _run(words: Sequence[str]) -> tuple[subprocess.CompletedProcess[str], float, int]:
    # Not ru_maxrss: of a process that was forked it is at least what its parent had.
    code = "import sys; from agent.cli import main; code = main(sys.argv[1:]); " \
           "(peak,) = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')]; " \
           "print(peak, file=sys.stderr); sys.exit(code)"  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-P", "-c", code, *words], capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    *errors, peak = done.stderr.splitlines()
    done.stderr = "\n".join(errors)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, int(peak) * 1024
