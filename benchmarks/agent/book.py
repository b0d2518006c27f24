"""Updating order books, all symbols of a trading day: add, execute, cancel, delete, replace, decoded beforehand, so
that the books alone are timed.

Ours (book.pxd) finds orders in a hash table and checks each operation: a stale book, a reference twice, more shares
than there are, the end of its memory. The references check nothing, and index an array by the order's reference number,
which works as long as numbers are few: the order book of charles-cooper/itch-order-book, and plain C with sorted
levels. Each side passes over the day PASSES times in the same memory, from empty books, and its fastest pass counts.
Best bid and offer of all symbols have to agree in the end.
"""

import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.exchange import generator
from benchmarks.agent import _bench, machine
from benchmarks.agent.sample import BenchError, Sample

MESSAGES = 400_000
SYMBOLS = 200
PASSES = 5
#: Room for orders and for levels of a side, as in an engine's [book].
ORDERS, LEVELS = 1 << 20, 2048
#: Reference number, its replacement, symbol, shares, price, kind, side (Operation of benchmarks/agent/_bench.pyx).
OPERATION = struct.Struct("<QQIIIccH")
PEER = "itch-order-book"

Tops = list[tuple[int, int, int, int]]


def left_out() -> dict[str, str]:
    """The peer, where its source is not here."""
    why = machine.no_compiler(".cpp") or machine.no_checkout(PEER, f"charles-cooper/{PEER}")
    return {PEER: why} if why else {}


def operations(messages: Sequence[bytes]) -> tuple[bytes, int, int]:
    """ITCH messages about orders as operations: (their bytes, how many symbols, the last reference number)."""
    symbols: dict[bytes, int] = {}
    out, last = [], 0
    number = int.from_bytes
    for m in messages:
        kind = m[:1]
        if kind not in b"AFECXDU":
            continue
        reference = number(m[11:19])
        replacement = shares = price = 0
        symbol, side = symbols.setdefault(m[1:3], len(symbols)), b"\0"
        if kind in b"AF":
            side, shares, price, kind = m[19:20], number(m[20:24]), number(m[32:36]), b"A"
        elif kind in b"ECX":
            shares, kind = number(m[19:23]), b"X" if kind == b"X" else b"E"
        elif kind == b"U":
            replacement, shares, price = number(m[19:27]), number(m[27:31]), number(m[31:35])
        last = max(last, reference, replacement)
        out.append(OPERATION.pack(reference, replacement, symbol, shares, price, kind, side, 0))
    return b"".join(out), len(symbols), last


def _driver(program: Path, arguments: Sequence[object]) -> tuple[int, Tops]:
    """Nanoseconds of the fastest pass, and best bid and offer with their shares by symbol."""
    run = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=120)
    if run.returncode:
        raise BenchError(f"{program.name} ended with {run.returncode}: {run.stderr.strip()}")
    took, *rows = run.stdout.splitlines()
    tops = [tuple(int(n) for n in row.split()) for row in rows]
    return int(took), [(a, b, c, d) for a, b, c, d in tops]


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: the C one, ours, the peer."""
    references = {"C, unchecked": machine.build("book", directory)}
    if PEER not in left_out():
        references[PEER] = machine.build("book_peer", directory, "-I", str(machine.checkout(PEER)), suffix=".cpp")
    data, symbols, last = operations(generator.session(1, MESSAGES, SYMBOLS))
    path = directory / "operations"
    path.write_bytes(data)
    count = len(data) // OPERATION.size
    everywhere = os.sched_getaffinity(0)
    _, cpu = machine.two_cpus()
    os.sched_setaffinity(0, {cpu})
    try:
        while True:
            ours, refused, tops = _bench.book_updates(data, symbols, ORDERS, LEVELS, PASSES)
            if refused:
                raise BenchError(f"book: ours refused {refused} operations")
            samples = []
            for name, program in references.items():
                floor, found = _driver(program, (path, symbols, last, PASSES, cpu))
                if found != tops:
                    wrong = sum(a != b for a, b in zip(found, tops, strict=True))
                    raise BenchError(f"book: best bid or offer of {wrong} symbols differ from {name}")
                samples.append(
                    Sample(metric=f"update, {symbols} symbols", unit="ns", ours=ours / count, reference=floor / count,
                           reference_name=name, bar=1.05 if name == PEER else None)
                )  # fmt: skip
            yield samples
    finally:
        os.sched_setaffinity(0, everywhere)
