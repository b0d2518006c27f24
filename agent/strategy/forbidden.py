"""What the code of a compiled strategy may not do: raise, print, allocate, call Python, or write where it may not.

The verdict is on LLVM's text of the machine code, optimised: what the optimiser has proved away is not there, and what
Numba brought in unasked is. Whatever is called and is not known to be harmless is refused. The place of it is found by
compiling the function once more, with line numbers. What comes out of the cache has passed before.

Sources: LLVM's language reference, "Functions" and "Metadata"; Numba's developer manual, "Customizing the Compiler"
and "Notes on Numba's exceptions" (an exception is a pickle: its class, its arguments, and where it is raised).
"""

import os
import pickle
import re
from collections.abc import Iterator
from typing import Any

from agent.strategy.indices import Problem, list_calls
from agent.strategy.indices import find_problems as find_wrong_writes

_ALLOWED = "what cannot raise, print, allocate or call Python"

#: Of the C library, of Numba and of compilers: they compute from their arguments alone.
_MATHEMATICS = (
    "a?(?:cos|sin|tan)h? atan2 cbrt ceil copysign erfc? exp2? expm1 fabs floor fma fmod frexp hypot ldexp lgamma log "
    "log10 log1p log2 modf nearbyint nextafter pow powi remainder rint round sincos sqrt t?gamma trunc fixed_fmod cpow "
    "fptoui sdiv srem udiv urem"
)
_HARMLESS = re.compile(
    r"llvm\.(?!trap|debugtrap|call|eh\.|coro).*|mem(?:cpy|set|move|cmp)|bcmp|strlen|__svml_\w+"
    r"|__(?:(?:u?div|u?mod|mul|udivmod|ashl|ashr|lshr)ti[34]|powi[sd]f2|(?:mul|div)[sd]c3|(?:fix|float|extend|trunc)\w+)"
    rf"|(?:numba_|npy_)?(?:{'|'.join(_MATHEMATICS.split())})f?"
    # Reference counts of arrays that nobody allocated; whoever allocates one is seen to.
    r"|NRT_(?:incref|decref|MemInfo_call_dtor)"
)
_SYMBOL = re.compile(r'@("[^"]*"|[-\w.$]+)')
_DEFINED = re.compile(r'define\b[^@]*@("[^"]*"|[-\w.$]+)\(')
_DECLARED = re.compile(r'declare\b[^@]*@("[^"]*"|[-\w.$]+)\(')
#: A call of what is in a register, or at an address that is a number.
_INDIRECT = re.compile(r'\b(?:call|invoke)\b.*(?:%(?:"[^"]*"|[-\w.$]+)\(|\binttoptr\b[^@%]*\)\()')
_PICKLE = re.compile(r"\.const\.pickle(?:buf|data)\.([0-9a-f]{40})")
_PICKLED = re.compile(r'^@"?\.const\.pickledata\.([0-9a-f]{40})"? = .* c"((?:[^"\\]|\\[0-9A-F]{2})*)"', re.MULTILINE)
_LOCATION = re.compile(r"^(!\d+) = .*!DILocation\(line: (\d+)", re.MULTILINE)
_ADDRESS = "a function by its address"

#: What a line does, by what it calls, the first that fits: the others come along with it.
_WORDS = (
    (re.compile(r"numba_parallel_for|do_scheduling_.*|get_num_threads|.*_parallel_chunksize"), "starts threads"),
    (re.compile(r"PySys_FormatStdout|printf|puts|putchar|PyObject_Print"), "prints"),
    (re.compile(r"PyObject_Call.*"), "calls Python"),
)
_LATER_WORDS = (
    (re.compile(r"NRT_.*|numba_(?:list|dict|set)_.*|numba_attempt_nocopy_reshape|MemoryError"), "allocates memory"),
    (re.compile(r"_?Py.*|numba_(?:gil_\w+|unpickle)"), "calls Python"),
    (re.compile(r"numba_(?:rnd_.*|get_\w+_random_state)"), "draws random numbers, for which it calls Python"),
)


class ForbiddenError(Exception):
    """Raised within Numba's compiler, so that the code is not kept. problems: at least one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("forbidden")
        self.problems = problems


def make_compiler(function: Any, orders: str, engines: str) -> Any:
    """Returns the class of a Numba compiler for the caller of a dispatcher, which raises ForbiddenError for what the
    caller or the dispatcher's function, or what that calls, may not do.

    orders: the name of the function's argument that has as many places as an order buffer, engines: of the one that is
    the engine's, "" for none.
    """
    from numba.core.compiler import CompilerBase, DefaultPassBuilder
    from numba.core.compiler_machinery import AnalysisPass, register_pass
    from numba.core.typed_passes import NoPythonBackend

    @register_pass(mutates_CFG=False, analysis_only=True)
    class RefuseForbidden(AnalysisPass):  # type: ignore[misc]
        _name = "refuse_forbidden"

        def __init__(self) -> None:  # abstract in Numba's
            super().__init__()

        def run_pass(self, state: Any) -> bool:
            described = state.cr.fndesc
            # The text is that of all functions together, optimised, once somebody has asked for an address.
            state.library.get_pointer_to_function(described.llvm_cfunc_wrapper_name)
            if problems := find_problems(
                state.library.get_llvm_str(), described.llvm_func_name, function, orders, engines
            ):
                raise ForbiddenError(problems)
            return False

    class Compiler(CompilerBase):  # type: ignore[misc]
        def define_pipelines(self) -> list[Any]:
            passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
            passes.add_pass_after(RefuseForbidden, NoPythonBackend)
            passes.finalize()
            return [passes]

    return Compiler


def find_problems(text: str, start: str, function: Any, orders: str, engines: str) -> list[Problem]:
    """Returns what code may not do, by file and line.

    text: of LLVM, all that the code calls included; start: the name there of the function that is called; function: the
    dispatcher, with one compiled overload, whose function it calls; orders, engines: as of make_compiler().
    """
    module = _Module(text)
    found = module.find_offences(start)
    ((arguments, compiled),) = function.overloads.items()
    problems = list(find_wrong_writes(function, compiled, orders, engines))
    if found:
        places = _place_exceptions(found, module)
        placed = set().union(*places.values())
        for place, offences in _locate(function, arguments, found - placed, set()).items():
            places.setdefault(place, set()).update(offences)
        if not places:
            code = function.py_func.__code__
            places[(code.co_filename, code.co_firstlineno, code.co_name)] = found
        problems += [Problem(*place, _describe(offences, module), _ALLOWED) for place, offences in places.items()]
    return sorted(problems)


class _Module:
    """LLVM's text: what each function that is defined there refers to."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.declared = {name.strip('"') for name in _DECLARED.findall(text)}
        self.bodies: dict[str, list[str]] = {}
        body: list[str] = []
        for line in text.splitlines():
            if defined := _DEFINED.match(line):
                body = self.bodies[defined[1].strip('"')] = []
            elif line == "}":
                body = []
            elif line[:1] == " ":
                body.append(line)
        self._pickled = dict(_PICKLED.findall(text))
        self._found: dict[str, set[str]] = {}

    def find_offences(self, start: str) -> set[str]:
        """Returns the names of what a function, and those that it calls, may not call, and the digests of the
        exceptions that they may raise."""
        if start not in self._found:
            found: set[str] = set()
            seen, rest = set(), [start]
            while rest:
                name = rest.pop()
                if name not in seen:
                    seen.add(name)
                    for line in self.bodies[name]:
                        found |= self._find_own(line)
                        rest += [symbol for symbol in _find_symbols(line) if symbol in self.bodies]
            self._found[start] = found
        return self._found[start]

    def find_lines(self, start: str) -> dict[int, set[str]]:
        """Returns the same by the line of the source, for a function that was compiled with line numbers."""
        lines = dict(_LOCATION.findall(self.text))
        found: dict[int, set[str]] = {}
        for line in self.bodies[start]:
            offences = self._find_own(line).union(
                *(self.find_offences(symbol) for symbol in _find_symbols(line) if symbol in self.bodies)
            )
            if offences:
                found.setdefault(int(lines.get(line.partition("!dbg ")[2].partition(",")[0], 0)), set()).update(
                    offences
                )
        return found

    def read_exception(self, digest: str) -> tuple[Any, ...] | None:
        """Returns the class of an exception, its arguments, and its place (function, file, line), None for an unknown
        place; None for other data."""
        raw = re.sub(
            rb"\\([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), self._pickled.get(digest, "N.").encode("latin-1")
        )
        try:
            value = pickle.loads(raw)
        except Exception:  # the user's class may not be one that can be found again
            return (Exception, (), None)
        is_one = isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], type)
        return value if is_one and issubclass(value[0], BaseException) else None

    def _find_own(self, line: str) -> set[str]:
        found = {digest for digest in _PICKLE.findall(line) if self.read_exception(digest)}
        found |= {s for s in _find_symbols(line) if s in self.declared and not _HARMLESS.fullmatch(s)}
        if _INDIRECT.search(line):
            found.add(_ADDRESS)
        return found


def _find_symbols(line: str) -> Iterator[str]:
    return (symbol.strip('"') for symbol in _SYMBOL.findall(line))


_Place = tuple[str, int, str]


def _place_exceptions(found: set[str], module: _Module) -> dict[_Place, set[str]]:
    """Returns those exceptions by their places that say themselves where in the user's source they are raised."""
    places: dict[_Place, set[str]] = {}
    for digest in found:
        exception = module.read_exception(digest)
        if exception and exception[2] and _is_users(exception[2][1]):
            name, file, line = exception[2]
            places.setdefault((file, line, name), set()).add(digest)
    return places


def _is_users(file: str) -> bool:
    import numba

    return os.path.isfile(file) and not file.startswith(os.path.dirname(numba.__file__) + os.sep)


def _locate(function: Any, arguments: Any, wanted: set[str], seen: set[Any]) -> dict[_Place, set[str]]:
    """Returns the lines of a dispatcher's function, and of those that it calls, that bring about what is wanted."""
    code = function.py_func.__code__
    if (code, arguments) in seen or not wanted:
        return {}
    seen.add((code, arguments))
    compiled, lines = _find_lines(function, arguments, wanted)
    places: dict[_Place, set[str]] = {}
    for called, its, expression in list_calls(compiled):
        for place, offences in _locate(called, its, wanted, seen).items():
            places[place] = offences
            lines.get(expression.loc.line, set()).difference_update(offences)
    return places | {(code.co_filename, line, code.co_name): found for line, found in lines.items() if found}


def _find_lines(function: Any, arguments: Any, wanted: set[str]) -> tuple[Any, dict[int, set[str]]]:
    """Returns a copy of a dispatcher's function, compiled with line numbers, and its lines that bring about what is
    wanted."""
    import warnings

    import numba

    found: dict[int, set[str]] = {}
    compiled = None
    # The optimiser takes line numbers away; without it there is more than there was to be found.
    for more in ({}, {"_dbg_optnone": True}):
        options = {"error_model": "numpy", **function.targetoptions, "debug": True, **more}
        if not (rest := wanted.difference(*found.values())):
            break
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                copy = numba.jit(**options)(function.py_func)
                copy.compile(arguments)
        except Exception:  # whatever Numba's passes run into: the place is told less precisely
            continue
        (compiled,) = copy.overloads.values()
        lines = _Module(compiled.library.get_llvm_str()).find_lines(compiled.fndesc.llvm_func_name)
        for line, offences in lines.items():
            if line and offences & rest:
                found.setdefault(line, set()).update(offences & rest)
    return compiled, found


def _describe(offences: set[str], module: _Module) -> str:
    """Returns in words what a line does."""
    exceptions = [e for e in map(module.read_exception, sorted(offences)) if e]
    names = offences | {"MemoryError" for e in exceptions if e[0] is MemoryError}
    raised = [e for e in exceptions if e[0] is not MemoryError]
    own = [e for e in raised if e[2] and _is_users(e[2][1])]
    words = _find_words(_WORDS, names) or _describe_exceptions(own) or _find_words(_LATER_WORDS, names)
    return f"code that {words or _describe_exceptions(raised) or f'calls {min(names)}'}"


def _find_words(table: Any, names: set[str]) -> str:
    return next((words for pattern, words in table if any(map(pattern.fullmatch, names))), "")


def _describe_exceptions(exceptions: list[Any]) -> str:
    if not exceptions:
        return ""
    kind, arguments, _ = exceptions[0]
    says = f" ({arguments[0]:.80})" if arguments and isinstance(arguments[0], str) else ""
    return f"can raise {kind.__name__}{says}"
