"""`agent var`: value at risk of an engine's position, by simulation."""

import argparse

from agent.cli.options import add_engine, parse_count, parse_positive, parse_seed, parse_share
from agent.errors import OK
from hosttune.report import formats


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)
    command.add_argument(
        "--volatility", type=parse_positive, required=True, metavar="X", help="a year's, as a share: 0.35"
    )
    command.add_argument(
        "--correlation", type=parse_share, default=0.0, metavar="X", help="of any two symbols (default 0)"
    )
    command.add_argument("--days", type=parse_positive, default=1.0, metavar="N", help="trading days (default 1)")
    command.add_argument("--confidence", type=parse_share, default=0.99, metavar="P")
    command.add_argument("--paths", type=parse_count, default=100_000, metavar="N")
    command.add_argument("--seed", type=parse_seed, default=1)
    formats.add_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Value the position in the engine's segment and print the risk. Returns the exit code. Raises AgentError."""
    from agent.shm import segment as shm
    from agent.strategy.cache import use_cache

    segment = shm.read(shm.find(arguments.agent))
    use_cache("")
    from agent.analysis import value_at_risk
    from agent.cli.output import print_document

    risk = value_at_risk.simulate_risk(
        segment,
        volatility=arguments.volatility,
        correlation=arguments.correlation,
        days=arguments.days,
        confidence=arguments.confidence,
        paths=arguments.paths,
        seed=arguments.seed,
    )
    print_document(risk, arguments.format)
    return OK
