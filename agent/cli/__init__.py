"""The command `agent`."""

from hosttune.errors import quiet_interrupts

with quiet_interrupts():
    from agent.cli.main import main as main
