"""`desk export`: serve the metrics of all engines, of the desk and of the host's last check to Prometheus."""

import argparse
from pathlib import Path

from desk.errors import OK


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", type=Path, metavar="DESK.TOML", help="the configuration")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code. Raises DeskError, ConfigError."""
    import signal

    from agent.errors import INTERRUPTED
    from desk import config
    from desk.export.serve import serve
    from hosttune.output import escape, write_out

    ended = serve(config.load(arguments.config).export, lambda line: write_out(f"{escape(line)}\n"))
    return INTERRUPTED if ended == signal.SIGINT else OK
