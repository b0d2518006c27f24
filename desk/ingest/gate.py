"""The engine of a partition: its kill switch is on while another host may have the partition, and while it catches up.

What is changed is changed as by `agent kill` and `agent resume`: in the engine's segment, confirmed by its loop, and
journaled.
"""

from agent.monitor import control
from agent.shm.segment import SegmentError
from hosttune.output import escape, print_message

#: Seconds that a loop has to confirm.
_ANSWER = 1.0


class Gate:
    """engine: its name or the path of its segment, "": there is none. problem: why it could not be told; "": nothing.

    Only what was closed here is opened here: an engine that an operator, or a limit, has killed stays so.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self.ours = False
        self.problem = ""

    def close(self) -> None:
        """Switch the kill switch on: no order any more, and the open ones are cancelled."""
        if self._engine and not self.ours:
            self.ours = self._decide(1)

    def open(self) -> bool:
        """Switch it off again. Returns False where the engine has not confirmed: to be tried again."""
        if self.ours:
            self.ours = not self._decide(0)
        return not self.ours

    def _decide(self, kill: int) -> bool:
        """Returns whether the engine's switch was the other way before, and its loop has confirmed."""
        try:
            outcomes = control.decide(control.find_engines(self._engine), lambda _: {"kill": kill}, seconds=_ANSWER)
        except SegmentError as error:
            self._name(str(error))
            return False
        self._name("; ".join(f"{outcome.path}: {outcome.why}" for outcome in outcomes if outcome.why))
        if self.problem:
            return False
        before = [outcome.before for outcome in outcomes]
        return all(segment is not None and segment.limits["kill"] != kill for segment in before)

    def _name(self, problem: str) -> None:
        if problem and problem != self.problem:
            print_message(escape(f"desk: ingest: engine {self._engine}: {problem}"))
        self.problem = problem
