"""The geospatial workers: the same bits out of three languages, and what is no place is counted and has no result."""

import math
import random
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.analysis.kernels.plain import compute_distance
from desk import worker

from . import places

no_rust = pytest.mark.skipif("geo_rust" not in worker.built_in(), reason="needs rustc 1.77 or newer (tools/setup dev)")
LANGUAGES = ("geo", "geo_cython", pytest.param("geo_rust", marks=no_rust))
_loaded: dict[str, worker.Loaded] = {}


def prepare(name: str, parameters: tuple[float, ...]) -> worker.Prepared:
    """A worker with a fresh state; loaded (and compiled) once."""
    if name not in _loaded:
        _loaded[name] = worker.load(name)
    return worker.prepare(_loaded[name], parameters)


def work(prepared: worker.Prepared, records: bytes) -> bytes | int:
    return prepared.loaded.table.call_work(prepared.state, records, len(records) // places.RECORD.size)


def test_all_three_are_here() -> None:
    wanted = ["geo", "geo_cython"] + ["geo_rust"] * (shutil.which("rustc") is not None)
    assert worker.built_in() == wanted


_hostile = st.sampled_from(
    [0.0, -0.0, 90.0, -90.0, 180.0, -180.0, math.nextafter(90, 91), math.nextafter(-180, -181), math.nan, math.inf,
     -math.inf, 1e308, 5e-324, 89.999999999, 179.999999999, -179.999999999]
)  # fmt: skip
_latitudes = st.one_of(_hostile, st.floats(-90, 90), st.floats())
_longitudes = st.one_of(_hostile, st.floats(-180, 180), st.floats())
_word, _stamp = st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize("name", LANGUAGES)
@settings(max_examples=150, deadline=None)
@given(
    events=st.lists(st.tuples(_word, _word, _latitudes, _longitudes, _stamp), max_size=30),
    place=st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    radius=st.floats(0, 21_000),
)
def test_the_results_are_those_of_plain_python_bit_for_bit(
    name: str, events: list[places.Event], place: tuple[float, float], radius: float
) -> None:
    prepared = prepare(name, (*place, radius))
    assert work(prepared, places.pack(events)) == places.give_results(events, place)
    every = [places.compute(latitude, longitude, place) for _, _, latitude, longitude, _ in events]
    distances = [distance for distance in every if distance is not None]
    assert prepared.read_numbers() == {
        "events": len(distances),
        "refused": len(events) - len(distances),
        "within_radius": sum(distance <= radius for distance in distances),
        "mean_km": sum(distances) / len(distances) if distances else 0.0,
        "max_km": max(distances, default=0.0),
    }


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_distances_are_those_of_the_agents_kernel(name: str) -> None:
    chance = random.Random(5)
    events = [(n, n, chance.uniform(-90, 90), chance.uniform(-180, 180), n) for n in range(1000)]
    results = work(prepare(name, (51.5, -0.12, 100)), places.pack(events))
    assert isinstance(results, bytes)
    for event, result in zip(events, places.RESULT.iter_unpack(results), strict=True):
        assert result[3] == pytest.approx(compute_distance(51.5, -0.12, event[2], event[3]), rel=1e-12)


@settings(max_examples=500, deadline=None)
@given(_latitudes, _longitudes, st.tuples(st.floats(-90, 90), st.floats(-180, 180)))
def test_the_distance_is_that_of_the_mathematical_library(
    latitude: float, longitude: float, place: tuple[float, float]
) -> None:
    found = places.compute(latitude, longitude, place)
    if found is None:
        return
    a, b = math.radians(latitude), math.radians(place[0])
    north, east = math.sin((a - b) / 2), math.sin(math.radians(longitude - place[1]) / 2)
    h = min(1.0, north * north + math.cos(a) * math.cos(b) * east * east)
    # Where the places are opposite, a bit of h is a centimetre; near a pole the library's cosine has lost some.
    assert found == pytest.approx(places.DIAMETER * math.asin(math.sqrt(h)), rel=1e-12, abs=1e-3 if h > 0.99 else 1e-9)


@pytest.mark.parametrize("name", LANGUAGES)
@pytest.mark.parametrize(
    "parameters",
    [(), (1.0, 2.0), (1.0, 2.0, 3.0, 4.0), (91.0, 0.0, 1.0), (0.0, -181.0, 1.0), (0.0, 0.0, -1.0),
     (math.nan, 0.0, 1.0), (0.0, math.inf, 1.0), (0.0, 0.0, math.nan)],
)  # fmt: skip
def test_a_reference_that_is_none_is_refused(name: str, parameters: tuple[float, ...]) -> None:
    with pytest.raises(worker.WorkerError, match=r"^worker .*geo\w*: init returned -\d: these parameters"):
        prepare(name, parameters)
