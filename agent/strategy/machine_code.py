"""The machine code of Numba strategies between runs: made whole when Numba has compiled it, kept in the cache
directory, and loaded by llvmlite alone. Numba's own cache needs Numba to read it, whose import takes most of a start.

Numba calls a strategy's function from a wrapper, which looks at how the function ended, and would print what it raised.
Here the two are optimised once more, as one: of a function that cannot raise, nothing but its own code is left. Code
that still refers to anything outside, as to Python, is not kept.

Sources: llvmlite's user guide, "Execution engine" and "Optimization passes"; elf(5).
"""

import contextlib
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from hosttune import files

#: Bytes of a file at most.
_MOST = 1 << 24
_DIGEST = 32
#: elf(5): e_shoff, and e_shentsize and e_shnum, of the file's header; Elf64_Shdr; Elf64_Sym.
_SECTIONS_AT, _SECTION_COUNT = struct.Struct("<40xQ"), struct.Struct("<58xHH")
_SECTION, _SYMBOL = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ")
_SYMBOL_TABLE, _UNDEFINED = 2, 0


class Code(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """The functions of a strategy."""

    made_by: str  # versions, and the CPU that it is for
    state_size: int  # bytes
    functions: dict[str, tuple[str, bytes]]  # by the field of struct agent_strategy: symbol, ELF object


class Callable(msgspec.Struct, frozen=True):
    """Code in memory: addresses by function, and what owns the memory."""

    addresses: dict[str, int]
    owner: object


def find_undefined(elf: bytes) -> list[str]:
    """Returns the symbols of an ELF object, little-endian of 64 bits, that it refers to and does not have."""
    (at,), (size, count) = _SECTIONS_AT.unpack_from(elf), _SECTION_COUNT.unpack_from(elf)
    sections = [_SECTION.unpack_from(elf, at + i * size) for i in range(count)]
    found = []
    for _, kind, _, _, offset, length, link, *_ in sections:
        if kind == _SYMBOL_TABLE:
            names = sections[link][4]
            for name, _, _, section, _, _ in _SYMBOL.iter_unpack(elf[offset : offset + length]):
                if section == _UNDEFINED and name:
                    begin = names + name
                    found.append(elf[begin : elf.index(b"\0", begin)].decode())
    return found


def make_whole(functions: Mapping[str, Any], state_size: int) -> tuple[Code, Callable] | None:
    """Returns the code of functions that Numba has compiled just now (numba.cfunc), and the same ready to be called;
    None for code that cannot be kept.

    Nothing of Numba's that is not there, or is another than it was, is an error: then nothing is kept.
    """
    try:
        made = {name: (function.native_name, _compile_alone(function)) for name, function in functions.items()}
        if not all(map(_is_of_c_library, _list_undefined(made))):
            return None
        code = Code(_describe_maker(), state_size, made)
        return code, _bring_to_memory(code)
    except Exception:
        return None


def _list_undefined(functions: Mapping[str, tuple[str, bytes]]) -> list[str]:
    return [symbol for _, elf in functions.values() for symbol in find_undefined(elf)]


def _is_of_c_library(symbol: str) -> bool:
    """Returns whether a symbol is one of the C library, such as exp: every process has it. Raises OSError."""
    import ctypes

    return hasattr(ctypes.CDLL("libm.so.6"), symbol)


def _compile_alone(function: Any) -> bytes:
    """Returns the ELF object of a compiled function with all that it calls, optimised as one. Raises LookupError or
    NameError for one that comes out of Numba's cache: it has no LLVM code."""
    from llvmlite import binding as llvm

    library = function._library
    module = llvm.parse_bitcode(library._final_module.as_bitcode())
    if module.get_function(function.native_name).is_declaration:
        raise LookupError(function.native_name)
    for other in module.functions:
        if not other.is_declaration and other.name != function.native_name:
            other.linkage = "internal"
    machine = library.codegen._tm
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    # Numba's tables of a function's globals, which nothing refers to any more.
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    sweep = llvm.create_new_module_pass_manager()
    sweep.add_global_dead_code_eliminate_pass()
    sweep.run(module, builder)
    return bytes(machine.emit_object(module))


def save(path: Path, code: Code) -> None:
    """Write code to a file. A directory that cannot be written to is no error: the code is made anew each time."""
    import hashlib

    data = msgspec.msgpack.encode(code)
    with contextlib.suppress(OSError):
        files.replace_file(path, hashlib.sha256(data).digest() + data, 0o644)


def load(path: Path) -> tuple[Callable, int] | None:
    """Returns the code in a file, ready to be called, and the bytes of the strategy's state; None where there is none
    that was made by what is here, for this CPU."""
    import hashlib

    try:
        with path.open("rb") as file:
            content = file.read(_MOST)
        data = content[_DIGEST:]
        if hashlib.sha256(data).digest() != content[:_DIGEST]:
            return None
        code = msgspec.msgpack.decode(data, type=Code)
        if code.made_by != _describe_maker():
            return None
        return _bring_to_memory(code), code.state_size
    except Exception:  # of the file, or of an llvmlite that is another one: Numba compiles it anew
        return None


def _bring_to_memory(code: Code) -> Callable:
    """Returns code, ready to be called. Raises LookupError for what it refers to and this process does not have."""
    from llvmlite import binding as llvm

    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), jit=True, codemodel="jitdefault"
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    for symbol in _list_undefined(code.functions):
        if not llvm.address_of_symbol(symbol):  # LLVM itself would end the process
            raise LookupError(symbol)
    for _, elf in code.functions.values():
        engine.add_object_file(llvm.ObjectFileRef.from_data(elf))
    engine.finalize_object()
    addresses = {name: engine.get_function_address(symbol) for name, (symbol, _) in code.functions.items()}
    if not all(addresses.values()):
        raise LookupError("a function that is not in its own code")
    return Callable(addresses, engine)


def _describe_maker() -> str:
    """Returns what the code depends on beside the strategy: Python, Numba, LLVM and the CPU."""
    import importlib.util

    import llvmlite
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    numba = importlib.util.find_spec("numba")
    version = Path(numba.origin).with_name("_version.py").read_bytes() if numba and numba.origin else b""
    return repr((
        sys.version, version, llvmlite.__version__, llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    ))  # fmt: skip
