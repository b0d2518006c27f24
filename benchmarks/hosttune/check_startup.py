"""Whole-process time of `hosttune check`, against PyPI's latency-audit and a Python that does nothing.

    python -m benchmarks.hosttune.check_startup [--wheel FILE] [--runs N]

Both tools are installed as a user would: from wheels, byte-compiled, each in its own environment under
.cache/benchmarks (an editable install of hosttune adds about 45 ms). The commands take turns, so that what
else the machine does falls on all alike. Exits 1 if a bar is missed:

- the full built-in profile is faster than `latency-audit --json`
- without a netlink fact it takes less than 13 times a bare `python -c pass`
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.environments import CACHE, ENVIRONMENT, make_environment, run

ROOT = Path(__file__).resolve().parents[2]
PEER = "latency-audit==0.1.4"
BARE_LIMIT = 13.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--wheel", type=Path, help="wheel of hosttune; default: build one from this tree")
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()

    ours = make_environment("hosttune", str(arguments.wheel or build()), fresh=True)
    peer = make_environment("latency-audit", PEER)
    profile = CACHE / "no_netlink.yml"
    profile.write_text(without_netlink(ours))
    commands: dict[str, list[Path | str]] = {
        "python -c pass": [ours / "python", "-c", "pass"],
        "hosttune check (all sections)": [ours / "hosttune", "check", "--profile", "trading"],
        "hosttune check (no netlink)": [ours / "hosttune", "check", "--profile", profile],
        "latency-audit --json": [peer / "latency-audit", "--json"],
    }
    times = measure(commands, arguments.runs)
    report(times, arguments.runs)
    bare, full, light, other = (statistics.median(times[name]) for name in commands)
    missed = []
    if full >= other:
        missed.append(f"the full profile takes {full * 1e3:.0f} ms, latency-audit {other * 1e3:.0f} ms")
    if light >= BARE_LIMIT * bare:
        missed.append(f"without netlink it takes {light / bare:.1f} bare pythons, allowed are {BARE_LIMIT:.0f}")
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def build() -> Path:
    """Build a wheel of this tree; returns its path."""
    target = CACHE / "wheel"
    for old in target.glob("*.whl"):
        old.unlink()
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, ROOT])
    return next(target.glob("*.whl"))


def without_netlink(ours: Path) -> str:
    """The built-in profile without the one value that netlink answers."""
    where = "import hosttune.profile as p; print(p.BUILT_IN)"
    directory = subprocess.run([ours / "python", "-c", where], env=ENVIRONMENT, capture_output=True, text=True)
    text = Path(directory.stdout.strip(), "trading.yml").read_text()
    assert "  qdisc: fq\n" in text
    return text.replace("  qdisc: fq\n", "")


def measure(commands: dict[str, list[Path | str]], runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each command, in turns, after one turn that does not count."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=60)
            elapsed = time.perf_counter() - start
            if done.returncode not in (0, 1, 3) or b"Traceback" in done.stderr:
                raise SystemExit(f"{name}: exit {done.returncode}: {done.stderr.decode(errors='replace')}")
            if turn:
                times[name].append(elapsed)
    return times


def report(times: dict[str, list[float]], runs: int) -> None:
    """Print the machine, and median, fastest run and ratio to the bare interpreter for each command."""
    model = next((line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())  # fmt: skip
    print(f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}")
    print(f"{runs} interleaved runs, load {os.getloadavg()[0]:.1f}\n")
    print(f"{'':32} {'median':>9} {'fastest':>9} {'x bare':>7}")
    bare = statistics.median(times["python -c pass"])
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"{name:32} {middle * 1e3:6.1f} ms {min(seconds) * 1e3:6.1f} ms {middle / bare:7.1f}")


if __name__ == "__main__":
    sys.exit(main())
