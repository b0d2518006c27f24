"""What every source is: opened before the loop, run as a task of it, and closed at the end."""

from desk.bus.bus import Bus
from hosttune.output import escape, print_message


class Source:
    """name: of the configuration. events: how many it has published. problem: what is wrong now, or why it
    has ended; "": nothing is. delay: seconds between two looks."""

    def __init__(self, name: str, delay: float) -> None:
        self.name, self.delay = name, delay
        self.events = 0
        self.problem = ""

    def tell(self, problem: str) -> None:
        """Set what is wrong now, "" for nothing, and name what is new."""
        if problem != self.problem:
            self.problem = problem
            if problem:
                print_message(f"desk: run: source {escape(self.name)}: {escape(problem)}")

    def open(self) -> None:
        """Open what is there. Raises AgentError or DeskError for what can never be read."""

    async def run(self, bus: Bus) -> None:
        """Publish events until there can be no more. Raises AgentError or DeskError."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what open() has opened."""
