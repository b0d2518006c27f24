"""`python -m benchmarks.desk.export --segment FILE`: the time and the CPU of a scrape of four engines.

Four copies of an engine's segment lie in a directory of their own; `desk export` serves them. Each round measures
scrapes by HTTP, interleaved with the floor: reading the same four files, and nothing else. Prints JSON: milliseconds,
medians over the rounds, and the ratio's range.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.agent.sample import BenchError
from desk.export.serve import serve
from desk.settings.export import Export
from hosttune.host.load import read_cpu_time

ROUNDS, SCRAPES, ENGINES = 7, 30, 4


def _serve(directory: Path, writer: int) -> None:
    os.environ["XDG_RUNTIME_DIR"] = str(directory)
    os.environ.pop("RUNTIME_DIRECTORY", None)

    def say(line: str) -> None:
        os.write(writer, line.encode())

    serve(Export(port=0, reuse_ms=0), say)
    os._exit(0)


def _cpu(pid: int) -> float:
    """Returns the CPU seconds of the exporter. Raises BenchError where it has ended."""
    if (found := read_cpu_time(pid)) is None:
        raise BenchError("export: the exporter has ended")
    return found


def measure(segments: list[Path], url: str, pid: int) -> dict[str, float]:
    """Returns the medians of one round, ms: of a scrape, of its CPU time in the exporter, and of the floor."""
    times, floor, cpu = [], [], _cpu(pid)
    for _ in range(SCRAPES):
        begin = time.perf_counter()
        with urllib.request.urlopen(url, timeout=10) as answer:
            page = answer.read()
        times.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        for path in segments:
            path.read_bytes()
        floor.append(time.perf_counter() - begin)
    if page.count(b"\nagent_up{") != ENGINES:
        raise SystemExit(f"the exporter does not read the segments:\n{page.decode()[-1500:]}")
    return {
        "scrape": statistics.median(times) * 1e3,
        "worst": max(times) * 1e3,
        "cpu": (_cpu(pid) - cpu) / SCRAPES * 1e3,
        "floor": statistics.median(floor) * 1e3,
        "bytes": len(page),
    }


def main() -> int:
    """Measure and print. Returns 0 where a scrape takes at most 50 ms, else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--segment", type=Path, required=True, help="of an engine, which is copied four times")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="desk-bench-") as folder:
        directory = Path(folder) / "trading_agent"
        directory.mkdir(mode=0o700)
        data = arguments.segment.read_bytes()
        segments = [directory / f"e{number}.segment" for number in range(ENGINES)]
        for path in segments:
            path.write_bytes(data)
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            _serve(Path(folder), writer)
        try:
            url = os.read(reader, 200).decode().split()[1]
            measure(segments, url, pid)  # warms up
            rounds = [measure(segments, url, pid) for _ in range(arguments.rounds)]
        finally:
            os.kill(pid, 15)
            os.waitpid(pid, 0)
    found = {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}
    ratios = [one["scrape"] / one["floor"] for one in rounds]
    whole = {"bench": "export", "engines": ENGINES, "rounds": arguments.rounds, "unit": "ms", **found,
             "ratio_range": [round(min(ratios), 1), round(max(ratios), 1)], "bar": 50,
             "met": found["scrape"] <= 50}  # fmt: skip
    sys.stdout.write(json.dumps(whole, indent=2) + "\n")
    return 0 if whole["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
