"""The command `desk`: which subcommand is asked for."""

import argparse
import sys

from agent.cli.main import build_program_parser, run_program

#: The subcommands and what each does, in the order of the help. Each is a module of this folder with
#: `add_arguments(command)`, and `run(arguments)`, which returns the exit code.
COMMANDS: dict[str, str] = {
    "ingest": "records of Kafka into rings, for engines and workers",
    "worker": "run a compiled function over the records of a ring",
    "sync": "limits from Redis to engines, and what engines hold to Redis",
    "check-config": "say all that is wrong with a configuration",
    "export": "serve the metrics of engines, desk and host to Prometheus",
    "rules": "write alerting and recording rules for Prometheus",
    "dashboards": "write dashboards for Grafana",
    "run": "run a Python module on the event bus, on paper",
    "status": "say whether engines, rings and the desk's processes are well",
    "profile": "where a program spends its time: one table of hot spots, and a flame graph",
    "report": "a trading loop in plain Python and the engine, measured here and now",
}


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand. Returns its exit code; argparse itself exits with 2 on wrong arguments."""
    code = run_program("desk", COMMANDS, build_parser, argv)
    if argv is None and "threading" in sys.modules:  # the interpreter ends, and would wait for threads of a module's
        from desk.stop import leave_threads

        leave_threads(code)
    return code


def build_parser(asked_for: str) -> argparse.ArgumentParser:
    """Returns the parser of `desk`, with the arguments of one subcommand, or of none for ""."""
    return build_program_parser("desk", "The control plane around the engines.", COMMANDS, asked_for)
