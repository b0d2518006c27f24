"""`desk profile`: runs the program, or attaches to one, under each profiler, and makes one table of what they measured.

Each profiler has a run of its own, since one would measure the other; a process that runs already is sampled by one
after the other, and by those only that attach.
"""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from desk.errors import DeskError
from desk.profile import graphs, inner, table, tools
from desk.profile.names import PYTHON
from desk.profile.numba_map import map_path
from desk.profile.program import HOOK, Child, Command, Result, split_command
from desk.profile.result import Pauses, Profile, Profiler, Round
from desk.profile.stacks import Function, Stacks, parse_map, parse_speedscope, read_functions
from hosttune import files
from hosttune.host import load
from hosttune.output import escape, print_message

#: The profilers, in the order of their runs: the first one that has a result says the table's shares.
NAMES = ("py-spy", "perf", "cprofile", "calls", "line_profiler", "memray")
#: Those that look at a process that runs already.
ATTACHING = ("py-spy", "perf")
#: Those that tell shares of time.
_SHARING = ("py-spy", "perf", "cprofile")
#: Functions whose calls are timed, and the share of time, their callees' included, from which on they are.
_MOST_TIMED, _LEAST_SHARE = 50, 0.002
_MOST_MAP = 16 << 20


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. rounds: of the profiler that says the shares. seconds: of each round of a process that runs
    already. graphs: flame graphs, too."""

    profilers: Sequence[str] = NAMES
    rate: int = 100
    native: bool = True
    rounds: int = 1
    seconds: float = 10.0
    graphs: bool = False


class Outcome(NamedTuple):
    """The profile, the program's exit code, and the contents of files by their names."""

    profile: Profile
    code: int
    graphs: dict[str, bytes]


class _Run(NamedTuple):
    """One run: the program's exit code; rows of the profiler, or why there are none; a flame graph."""

    code: int | None
    rows: list[table.Row]
    why: str
    round: Round
    result: Result | None = None
    graph: bytes = b""
    lines: Sequence[table.Line] = ()


class _Record:
    """What the runs have said so far."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.runs: dict[str, list[_Run]] = {name: [] for name in NAMES if name in wish.profilers}
        self.absent: dict[str, str] = {}
        self.graphs: dict[str, bytes] = {}

    def add(self, name: str, form: str, run: _Run) -> None:
        if form == graphs.SPEEDSCOPE:
            self.runs[name].append(run)
        if run.graph:
            self.graphs[graphs.FILES[form]] = run.graph

    def list_good(self, name: str) -> list[_Run]:
        return [run for run in self.runs.get(name, []) if not run.why]

    def list_spots(self) -> tuple[str, list[table.HotSpot]]:
        """Returns the profiler whose shares the table has, "" for none, and the table."""
        main = next((name for name in _SHARING if self.list_good(name)), "")
        spots = table.share_out([run.rows for run in self.list_good(main)], main) if main else []
        for name in self.runs:
            if name != main and (good := self.list_good(name)):
                spots = table.merge(spots, good[0].rows, name)
        return main, spots

    def list_timed(self) -> list[tuple[str, str]]:
        """Returns file and name of the Python functions whose calls are worth a median."""
        _, spots = self.list_spots()
        hot = [spot for spot in spots if spot.component == PYTHON
               and max(spot.share or 0.0, spot.total_share or 0.0) >= _LEAST_SHARE]  # fmt: skip
        return [(spot.file, spot.function) for spot in hot[:_MOST_TIMED]]


def profile_command(words: Sequence[str], wish: Wish) -> Outcome:
    """Returns the profile of a command. Its standard streams are this process's, and it gets this process's signals.
    After a run that fails, or is asked to end, there is no other one. Raises DeskError."""
    command = split_command(words)
    record = _Record(wish)
    plan = _plan_runs(record, command.python)
    code, ended = 0, False
    for number, (name, form) in enumerate(plan, 1):
        timed = record.list_timed() if name == "calls" else []
        if ended:
            record.absent.setdefault(name, "not run: the run before ended with an error, or was asked to end")
        elif name == "calls" and not timed:
            record.absent[name] = "no Python function is a hot spot, and calls of compiled ones cannot be timed"
        else:
            if len(plan) > 1:
                note = " (flame graph)" if form == graphs.SVG else ""
                print_message(f"desk: run {number} of {len(plan)}: {name}{note}")
            run, asked = _run_once(command, name, wish, form, timed)
            code = run.code or 0
            ended = asked or code != 0
            record.add(name, form, run)
    return Outcome(_make_profile(" ".join(words), record), code, record.graphs)


def _plan_runs(record: _Record, python: bool) -> list[tuple[str, str]]:
    """Returns profiler and form of each run, and notes in the record which have none."""
    wish = record.wish
    plan: list[tuple[str, str]] = []
    for name in record.runs:
        if not python and name != "perf":
            record.absent[name] = "the program is not Python"
            continue
        if name in ATTACHING:
            try:
                tools.find_tool(name)
            except tools.ToolError as error:
                record.absent[name] = str(error)
                continue
        main = name in _SHARING and not any(done in _SHARING for done, _ in plan)
        plan += [(name, graphs.SPEEDSCOPE)] * (wish.rounds if main else 1)
        if name == "py-spy" and wish.graphs:
            plan.append((name, graphs.SVG))
    return plan


def _run_once(
    command: Command, name: str, wish: Wish, form: str, timed: Sequence[tuple[str, str]]
) -> tuple[_Run, bool]:
    """Returns one run of the program under one profiler, and whether it was asked to end."""
    with tempfile.TemporaryDirectory(prefix="desk-profile-") as place, contextlib.ExitStack() as stack:
        directory, path = Path(place), Path(place, "samples")
        if timed:
            inner.write_functions(directory, timed)
        before = load.moment()
        within = ("" if command.python else "exec") if name in ATTACHING else name
        child = Child(command, within, directory)
        stack.callback(child.close)
        why, attached = "", None
        with child.forward_signals():
            if name in ATTACHING:
                child.wait_at_gate()
                try:
                    attached = _attach(name, child.process.pid, wish, form, path, None)
                except tools.ToolError as error:
                    why = str(error)
            child.open_gate()
            code = child.wait(attached.interrupt if attached else lambda: None)
            if attached:
                why = attached.finish()
        after = load.moment()
        child.check_started()
        result = child.read_result()
        one = Round(wall_s=result.wall_s if result else after.at - before.at, cpu_s=result.cpu_s if result else None,
                    samples=0, others=load.foreign(before, after), exit=code)  # fmt: skip
        run = _Run(code, [], why, one, result)
        if not why and name in ATTACHING:
            run = _read_attached(name, path, form, read_functions(result.numba) if result else [], run)
        elif not why:
            rows, lines, why = inner.read_rows(name, directory, result)
            run = run._replace(rows=rows, lines=lines, why=why)
        return run, child.asked_to_end


def _attach(name: str, pid: int, wish: Wish, form: str, path: Path, seconds: float | None) -> tools.Attached:
    if name == "py-spy":
        return tools.attach_py_spy(pid, wish.rate, wish.native, form, path, seconds)
    return tools.attach_perf(pid, wish.rate, path)


def _read_attached(name: str, path: Path, form: str, functions: list[Function], run: _Run) -> _Run:
    """Returns the run with what py-spy or perf has written."""
    try:
        if name == "perf":
            rows = tools.read_perf(path)
            run.round.samples = int(sum(row.seconds for row in rows))
            return run._replace(rows=rows, why="" if rows else "perf saw no sample in which the program used the CPU")
        data = files.read_file(path, tools.MOST_BYTES)
        stacks = Stacks({}, 0) if form == graphs.SVG else parse_speedscope(data, functions, str(HOOK.parent))
    except OSError as error:
        return run._replace(why=f"{name}'s result: {error.strerror}")
    except DeskError as error:
        return run._replace(why=f"{name}: {error}")
    run.round.samples = stacks.samples
    why = ""
    if form == graphs.SPEEDSCOPE and not stacks.seconds:
        why = "py-spy saw no sample in which the program used the CPU"
    return run._replace(rows=table.collect_rows(stacks), why=why, graph=graphs.clean(data, form, functions))


def profile_process(pid: int, wish: Wish) -> Outcome:
    """Returns the profile of a process that runs. Raises DeskError for one that is not there."""
    try:
        name = Path(f"/proc/{pid}/comm").read_bytes().decode("utf-8", "replace").strip()
    except OSError:
        raise DeskError(f"--pid: found no process {pid}") from None
    record = _Record(wish)
    record.absent = {each: "works from within, and attaches to no process" for each in record.runs
                     if each not in ATTACHING}  # fmt: skip
    functions, why_no_map = read_map(pid)
    attaching = [each for each in record.runs if each in ATTACHING]
    plan = [(each, graphs.SPEEDSCOPE) for each in attaching for _ in range(wish.rounds if each == attaching[0] else 1)]
    if wish.graphs and "py-spy" in attaching:
        plan.append(("py-spy", graphs.SVG))
    asked = False
    for each, form in plan:
        if asked:
            record.absent.setdefault(each, "not run: `desk profile` was asked to end")
            continue
        run, asked = _sample_process(pid, each, wish, form, functions)
        record.add(each, form, run)
    made = _make_profile(f"process {pid} ({escape(name)})", record)
    made.pauses_why = "only the process itself knows them, and it was not started by `desk profile -- COMMAND`"
    if why_no_map:
        made.notes.append(why_no_map)
    return Outcome(made, 0, record.graphs)


def _sample_process(pid: int, name: str, wish: Wish, form: str, functions: list[Function]) -> tuple[_Run, bool]:
    """Returns what one profiler saw of a process, and whether this process was asked to end meanwhile: then what was
    seen until then."""
    with tempfile.TemporaryDirectory(prefix="desk-profile-") as place:
        path = Path(place) / "samples"
        before, cpu = load.moment(), load.read_cpu_time(pid)
        why, asked = "", False
        try:
            attached = _attach(name, pid, wish, form, path, wish.seconds)
        except tools.ToolError as error:
            why = str(error)
        else:
            with tools.stop_by_signal(attached) as stopped:
                if name == "perf":  # it does not end by itself
                    attached.wait(wish.seconds)
                    attached.interrupt()
                else:
                    attached.wait(wish.seconds + tools.WRITE)
                why = attached.finish()
            asked = stopped.is_set()
        after, now = load.moment(), load.read_cpu_time(pid)
        used = now - cpu if now is not None and cpu is not None else None
        one = Round(wall_s=after.at - before.at, cpu_s=used, samples=0,
                    others=load.foreign(before, after, used or 0.0), exit=None)  # fmt: skip
        run = _Run(None, [], why, one)
        return (run if why else _read_attached(name, path, form, functions, run)), asked


def read_map(pid: int) -> tuple[list[Function], str]:
    """Returns the functions of a process's perf map, and why there are none. A map that is not the process's user's, or
    root's, or that a link stands for, is not believed."""
    path = map_path(pid)
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
        data = files.read_file(path, _MOST_MAP, owners={0, owner})
    except FileNotFoundError:
        return [], (
            f"functions of Numba have no names: there is no {path}; a process that is started by "
            "`python -m desk.profile.hook PROGRAM` writes it"
        )
    except OSError as error:
        return [], f"functions of Numba have no names: {path}: {error.strerror}"
    return parse_map(data.decode("utf-8", "replace")), ""


def _make_profile(of: str, record: _Record) -> Profile:
    main, spots = record.list_spots()
    profilers, notes = [], []
    for name, runs in record.runs.items():
        why = record.absent.get(name) or next((run.why for run in runs if run.why), "")
        profilers.append(Profiler(name=name, ran=bool(record.list_good(name)), why=why))
    if main and main != "py-spy":
        notes.append(f"shares are {main}'s")
    # The first run under the main profiler has the pauses: the others slow the program down.
    measured = record.list_good(main) or next((runs for runs in record.runs.values() if runs), [])
    result = next((run.result for run in measured if run.result), None)
    pauses = msgspec.convert(result.gc, Pauses) if result else None
    if result and result.numba_problem:
        notes.append(f"functions of Numba have no names: {result.numba_problem}")
    return Profile(
        of=of, machine=load.describe(), rate=record.wish.rate,
        native=record.wish.native and main == "py-spy", rounds=[run.round for run in measured],
        profilers=profilers, pauses=pauses,
        pauses_why="" if pauses else "the program ended without its exit handlers, or is not Python",
        spots=spots[: table.MOST_ROWS], lines=[line for run in record.list_good("line_profiler") for line in run.lines],
        main=main, notes=notes,
    )  # fmt: skip
