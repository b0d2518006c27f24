"""`python -m benchmarks.desk.profile`: what py-spy at 100 samples a second costs the program that `desk profile` runs.

In each round the same program (JSON, dictionaries, NumPy) runs alone, under `desk profile` with native frames, which is
the default, and without, by turns. The program measures itself. Prints JSON: the ratios of its CPU time and of its wall
time to the run alone; medians of the rounds, and their range. Bar: at most 1.06 of each. The runs are short and many: a
machine that others share changes its speed by more than that from one second to the next.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hosttune.host import load

BAR = 1.06
PROGRAM = """
import json, sys, time
import numpy as np
prices = np.linspace(1.0, 2.0, 64)
text = json.dumps({"symbol": "BTCUSDT", "bid": 1.0, "ask": 2.0, "levels": [[1.0, 2.0]] * 10})
def handle(counts, i):
    event = json.loads(text)
    counts[i % 97] = counts.get(i % 97, 0.0) + float(np.dot(prices, prices)) + event["bid"]
wall, cpu = time.perf_counter(), time.process_time()
counts = {}
for i in range(int(sys.argv[2])):
    handle(counts, i)
spent = [time.perf_counter() - wall, time.process_time() - cpu]
open(sys.argv[1], "w").write(json.dumps(spent))
"""
WAYS = {"alone": None, "native": "--native", "nonblocking": "--no-native"}


def run_once(way: str | None, program: Path, events: int) -> list[float]:
    """Returns wall and CPU seconds of the program's own work."""
    spent = program.with_name("spent")
    words = [sys.executable, str(program), str(spent), str(events)]
    if way:
        words = [
            sys.executable,
            "-P",
            "-m",
            "desk",
            "profile",
            "--with",
            "py-spy",
            way,
            "--format",
            "json",
            "--",
            *words,
        ]
    subprocess.run(words, check=True, capture_output=True, timeout=300)
    found: list[float] = json.loads(spent.read_text())
    return found


def main() -> int:
    """Measure, print, and return whether the bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.desk.profile")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--events", type=int, default=100_000)
    arguments = parser.parse_args()
    ratios: dict[str, list[list[float]]] = {"native": [], "nonblocking": []}
    busy = []
    with tempfile.TemporaryDirectory() as place:
        program = Path(place, "program.py")
        program.write_text(PROGRAM)
        for _ in range(arguments.rounds):
            before = load.moment()
            spent = {name: run_once(way, program, arguments.events) for name, way in WAYS.items()}
            busy.append(load.foreign(before, load.moment()))
            for name, found in ratios.items():
                found.append([one / alone for one, alone in zip(spent[name], spent["alone"], strict=True)])
    result = {
        name: {
            unit: {"median": statistics.median(column), "low": min(column), "high": max(column)}
            for unit, column in zip(("wall", "cpu"), zip(*found, strict=True), strict=True)
        }
        for name, found in ratios.items()
    }
    missed = [f"{name}, {unit}" for name, units in result.items() for unit in units if units[unit]["median"] > BAR]
    print(json.dumps({"machine": load.describe(), "rounds": arguments.rounds, "bar": BAR, "missed": missed,
                      "others_used": busy, "ratios": result}, indent=2))  # fmt: skip
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
