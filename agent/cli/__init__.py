"""The command `agent`."""

from agent.cli.main import main as main
