"""`agent run`: run an engine until SIGTERM."""

import argparse
import gc
import os
from pathlib import Path

from agent.cli.options import parse_shard
from agent.errors import AgentError
from hosttune.output import escape, print_message
from hosttune.report import formats


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", type=Path, help="agent.toml")
    command.add_argument("--once", action="store_true", help="end when the exchange ends its session")
    command.add_argument(
        "--shard", type=parse_shard, default=(0, 1), metavar="I/N", help="trade symbols I, I+N, ... only"
    )
    command.add_argument("--hold", action="store_true", help="when ready, wait for SIGUSR1 before anything is sent")
    formats.add_argument(command, help="of the summary at the end")


def run(arguments: argparse.Namespace) -> int:
    """Run the engine, then print its last counters. Returns OK, FAILED or CONNECTION_LOST. Raises AgentError."""
    gc.disable()  # hardly anything that a start makes is garbage, and looking for it takes time
    from agent import config
    from agent.engine import run as engine

    shard = engine.Shard(*arguments.shard)
    settings = config.load(arguments.config, shard.number)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        segment, why, code = engine.run(settings, once=arguments.once, shard=shard, hold=arguments.hold)
    except AgentError as error:
        from agent import config_problems  # late: only for what is wrong

        raise AgentError(str(config_problems.place(str(error), arguments.config))) from None
    if code:
        print_message(f"agent: {escape(why)}")
    from agent.cli.output import print_document
    from agent.monitor.stats import Statistics

    print_document(Statistics(segment), arguments.format)
    return code
