"""A ring has one writer, and what a worker makes of a record does not come back to it."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import config
from desk.settings.ring_path import name_ring

#: Ways to write /r/NAME.
SPELLINGS = ["/r/{}", "//r/{}", "/r//{}", "/r/./{}", "/r/x/../{}", "/r/{}/", "/./r/{}/."]
PARTS = st.lists(st.sampled_from(["r", "x", ".", "..", ""]), max_size=6)


def write_worker(name: str, read: str, written: str = "") -> str:
    output = f"output = '{written}'\n" if written else ""
    return f"[worker.{name}]\nmodule = 'geo_cython'\ninput = '{read}'\n{output}"


def find(text: str) -> list[tuple[str, str]]:
    """Returns the key and the words of each problem."""
    found = [(one.key, one.words) for one in config.list_problems(text, "desk.toml")]
    if found:
        with pytest.raises(config.ConfigError):
            config.parse(text, "desk.toml")
    else:
        config.parse(text, "desk.toml")
    return found


@pytest.mark.parametrize(("one", "other"), list(itertools.product(SPELLINGS, repeat=2)))
def test_a_worker_does_not_read_what_it_writes(one: str, other: str) -> None:
    ((key, words),) = find(write_worker("geo", one.format("a"), other.format("a")))
    assert key == "worker.geo.output"
    assert (
        words == f"worker.geo.output: found {other.format('a')}, which is input too, allowed: another ring than input's"
    )
    assert not find(write_worker("geo", one.format("a"), other.format("b")))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_ring_has_one_writer(spelling: str) -> None:
    topic = f"[[ingest.topics]]\nname = 't'\npartitions = [0, 1]\nring = '{spelling.format('t{partition}')}'\n"
    workers = write_worker("a", "/r/in", "/r/out") + write_worker("b", "/r/in", spelling.format("out"))
    ((key, words),) = find(topic + workers)
    assert key == "worker.b.output" and "worker.a.output" in words and spelling.format("out") in words
    ((key, words),) = find(topic + write_worker("a", "/r/in", "/r/t1"))
    assert key == "worker.a.output" and "ingest.topics[0].ring" in words
    other = "[[ingest.topics]]\nname = 'u'\nring = '/r/t1'\n"
    ((_, words),) = find(topic + other)
    assert "found one ring for two partitions" in words


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = "".join(write_worker(name, "/in", "/out") for name in "abc")
    text += write_worker("d", "/d", "/e") + write_worker("e", "/e", "/d")
    assert [key for key, _ in find(text)] == ["worker.b.output", "worker.c.output", "worker.d.input"]


@pytest.mark.parametrize("length", range(2, 7))
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_workers_are_no_circle(length: int, spelling: str) -> None:
    chain = [write_worker(f"w{n}", spelling.format(n), f"/r/{n + 1}") for n in range(length - 1)]
    before = write_worker("before", "/r/start", f"/r/{length}x") + write_worker("behind", "/r/0", "/r/end")
    last = write_worker("last", f"/r/{length - 1}", "/r/0")
    ((key, words),) = find(before + "".join(chain) + last)
    assert key == "worker.w0.input"
    assert " -> ".join(["w0", *(f"w{n}" for n in range(1, length - 1)), "last", "w0"]) in words
    assert not find(before + "".join(chain))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=7))
def test_any_workers_are_taken_or_refused_as_their_graph_says(ends: list[tuple[int, int]]) -> None:
    text = "".join(write_worker(f"w{at}", f"/{a}", f"/{b}") for at, (a, b) in enumerate(ends))
    reached = {end: {b for a, b in ends if a == end} for end in range(6)}
    for _ in range(6):
        reached = {end: found.union(*(reached[each] for each in found)) for end, found in reached.items()}
    writers = [b for _, b in ends]
    bad = any(end in found for end, found in reached.items()) or len(set(writers)) < len(writers)
    assert bool(find(text)) == bad


@given(PARTS, PARTS)
def test_a_name_is_of_one_place(one: list[str], other: list[str]) -> None:
    def walk(parts: list[str]) -> list[str]:
        place: list[str] = []
        for part in parts:
            if part == "..":
                place = place[:-1]
            elif part not in ("", "."):
                place.append(part)
        return place

    assert (name_ring("/" + "/".join(one)) == name_ring("/" + "/".join(other))) == (walk(one) == walk(other))


@pytest.mark.parametrize("given_too", [["host"], ["port"], ["host", "port"]])
def test_redis_is_at_one_place(given_too: list[str]) -> None:
    values = {"host": '"127.0.0.1"', "port": "6379"}  # the defaults too
    text = '[redis]\nsocket = "/s"\n' + "".join(f"{key} = {values[key]}\n" for key in given_too)
    assert find(text) == [
        ("redis.socket", f"redis.socket: found with {' and '.join(given_too)}, allowed: socket, or host and port")
    ]


def test_where_redis_is() -> None:
    from desk.settings.redis import Redis

    assert Redis().place == "127.0.0.1:6379" and Redis(host="a").place == "a:6379"
    assert Redis(port=7).place == "127.0.0.1:7" and Redis(socket="/s").place == "/s"
    assert msgspec.convert({}, Redis) == Redis() and hash(Redis()) == hash(Redis(port=6379))
    for text in ('host = ""', "port = 0"):
        assert len(find(f'[redis]\nsocket = "/s"\n{text}\n')) == 1
