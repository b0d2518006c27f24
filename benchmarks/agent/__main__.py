"""`python -m benchmarks.agent [NAME...]`: the agent beside references, in one interleaved run (`make bench`)."""

import argparse
import sys
from pathlib import Path

from agent.strategy.cache import use_cache


def _count(text: str) -> int:
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a whole number above 0")


def main() -> int:
    """Measure what the command line asks for. Returns 0, 1 where a benchmark was refused, 2 for a usage error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agent", description="The agent beside references.")
    parser.add_argument("name", nargs="*", help="default: all of them")
    parser.add_argument("--rounds", type=_count, default=7, metavar="N", help="quiet rounds that are needed")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write bench.json and plots here, with the machine")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    use_cache("")

    from benchmarks.agent import harness
    from benchmarks.agent.sample import BenchError

    try:
        return harness.run(options.name, options.rounds, options.format, options.out)
    except BenchError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
