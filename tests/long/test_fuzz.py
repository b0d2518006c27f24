"""Every decoder under AddressSanitizer and UndefinedBehaviorSanitizer, on mutated and random input.

A fuzzer is tests/fuzz/_fuzz_NAME.pyx: DECODERS, and fuzz(decoder, seeds, count, rng_seed). Its inputs come
from seeds_NAME.py here: seeds() by decoder, and REACHED, the verdicts that a run must have met. The fuzzer of the
market data decoders (codecs) also has one for each feed format of quotes and trades, by the name of the format. The
fuzzer of the readers calls Python, which is given the compiled modules below it with the sanitizers, too; the one of
the Protobuf decoder has Python make its tables.
FUZZ_INPUTS is how many inputs each decoder gets (10 million).
"""

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.protocols import formats

ROOT = Path(__file__).parent.parent.parent
FUZZERS = sorted(path.stem.removeprefix("_fuzz_") for path in (ROOT / "tests" / "fuzz").glob("_fuzz_*.pyx"))
INPUTS = int(os.environ.get("FUZZ_INPUTS", "10000000"))

#: Compiled modules below the fuzzer of the readers.
_BELOW = (
    "agent.shm._ring",
    "agent.shm._segment",
    "agent.shm._series",
    "agent.journal._record",
    "agent.journal._rebuild",
)

_DRIVER = """
import importlib.machinery, importlib.util, json, sys

def load(name, path):
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    sys.modules[name] = module
    loader.exec_module(module)
    return module

name, path, decoder, seeds, count, root, below = sys.argv[1:]
sys.path.append(root)
for module, place in json.loads(below).items():
    load(module, place)
module = load(name, path)
with open(seeds) as file:
    texts = [bytes.fromhex(text) for text in json.load(file)]
counts = module.fuzz(decoder, texts, int(count), 1)
print(json.dumps([[verdict, n] for verdict, n in counts.items()]))
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="the sanitizers are gcc's, and there is no gcc"),
]


def _libraries() -> str:
    """The sanitizers' run time for LD_PRELOAD: Python itself is not built with them."""
    names = ("libasan.so", "libubsan.so")
    return " ".join(
        subprocess.run(["gcc", f"-print-file-name={n}"], check=True, capture_output=True, text=True).stdout.strip()
        for n in names
    )


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The fuzzers, built: NAME to the extension's path. And the modules of _BELOW, by theirs."""
    directory = tmp_path_factory.mktemp("fuzz")
    built = {}
    sources = {name: ROOT / "tests" / "fuzz" / f"_fuzz_{name}.pyx" for name in FUZZERS}
    sources |= {name: ROOT / f"{name.replace('.', '/')}.pyx" for name in _BELOW}
    for name, source in sources.items():
        code, built[name] = directory / f"{source.stem}.c", directory / f"{source.stem}.so"
        cython = [sys.executable, "-m", "cython", "-3", "-I", str(ROOT), "-o", str(code), str(source)]
        compiler = ["gcc", "-shared", "-fPIC", "-O1", "-g", "-fno-omit-frame-pointer", "-Wno-unused-function"]
        compiler += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        if name in _BELOW:
            compiler += ["-fno-sanitize=alignment"]  # a ring is in memory of Python's, not at a multiple of 128
        compiler += [
            *(f"-I{ROOT / 'agent' / room / 'include'}" for room in ("shm", "strategy")),
            "-I",
            sysconfig.get_path("include"),
        ]
        for command in (cython, [*compiler, str(code), "-o", str(built[name])]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
            assert done.returncode == 0, done.stderr
    yield built


def _fuzz(
    build: dict[str, Path], name: str, decoder: str, seeds: list[bytes], count: int, tmp_path: Path
) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "seeds.json"
    file.write_text(json.dumps([seed.hex() for seed in seeds]))
    environment = os.environ | {
        "LD_PRELOAD": _libraries(),
        # Python's own allocations at its end are no leaks of ours
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=98",
    }
    python = name in ("protobuf", "readers")
    below = {module: str(build[module]) for module in _BELOW if name == "readers"}
    words = [build[name].stem, str(build[name]), decoder, str(file), str(count), str(ROOT), json.dumps(below)]
    return subprocess.run(
        [sys.executable, *(["-P"] if python else ["-I", "-S"]), "-c", _DRIVER, *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60 + count / (2_000 if name == "readers" else 10_000),
    )


DECODERS = [
    (name, decoder) for name in FUZZERS for decoder in importlib.import_module(f"tests.long.seeds_{name}").REACHED
]


@pytest.mark.parametrize(("name", "decoder"), DECODERS)
def test_no_input_makes_a_decoder_read_beyond_it(
    name: str, decoder: str, build: dict[str, Path], tmp_path: Path
) -> None:
    corpus = importlib.import_module(f"tests.long.seeds_{name}")
    done = _fuzz(build, name, decoder, corpus.seeds()[decoder], INPUTS, tmp_path)
    assert done.returncode == 0, done.stderr
    counts = dict(json.loads(done.stdout))
    assert None not in counts, f"{counts[None]} inputs whose result contradicts itself"
    assert sum(counts.values()) == INPUTS
    assert corpus.REACHED[decoder] <= set(counts), counts


@pytest.mark.parametrize("name", FUZZERS)
def test_every_decoder_of_a_fuzzer_is_run(name: str) -> None:
    source = (ROOT / "tests" / "fuzz" / f"_fuzz_{name}.pyx").read_text()
    (line,) = [line for line in source.splitlines() if line.startswith("DECODERS = ")]
    expected = set(ast.literal_eval(line.removeprefix("DECODERS = ")))
    if name == "codecs":
        expected |= {form.name for form in formats.FORMATS if form.ticks}
    assert {decoder for n, decoder in DECODERS if n == name} == expected


def test_the_sanitizer_sees_one_byte_too_many(build: dict[str, Path], tmp_path: Path) -> None:
    done = _fuzz(build, "codecs", "overread", [b"abc"], 10, tmp_path)
    assert done.returncode == 99
    assert "heap-buffer-overflow" in done.stderr
