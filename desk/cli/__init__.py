"""The command `desk`."""

from hosttune.errors import quiet_interrupts

with quiet_interrupts():
    from desk.cli.main import main as main
