"""The `hosttune` command: one file for each subcommand."""

from hosttune.errors import quiet_interrupts

with quiet_interrupts():
    from hosttune.cli.main import main as main
