"""The `hosttune` command: one file for each subcommand."""

from hosttune.cli.main import main as main
