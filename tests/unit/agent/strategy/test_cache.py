"""Code that somebody else could have written is not run: the cache of compiled strategies, and shared objects."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent import strategy
from agent.strategy.cache import default_cache_dir, use_cache
from agent.strategy.definition import StrategyError
from agent.strategy.find import list_files
from agent.strategy.loader import _KIND

from ..shm import hostile


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    found = tmp_path / "way" / "cache"
    found.mkdir(parents=True, mode=0o755)
    (found / "glue_1234").mkdir()
    (found / "glue_1234" / "ema_cross.nbi").write_bytes(b"")
    return found


def test_it_is_made_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert default_cache_dir() == str(tmp_path / "home" / "trading_agent")
    before = os.umask(0)
    try:
        assert use_cache("") == tmp_path / "home" / "trading_agent"
    finally:
        os.umask(before)
    assert (tmp_path / "home" / "trading_agent").stat().st_mode & 0o7777 == 0o700
    assert os.environ["NUMBA_CACHE_DIR"] == default_cache_dir()


ATTACKS: list[hostile.Attack] = [hostile.open_directory, hostile.group_directory, hostile.sticky_directory]
ATTACKS += [hostile.open_way]
ATTACKS += [hostile.strangers_directory, hostile.strangers_way] if os.geteuid() == 0 else []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_one_that_others_can_write_to_is_refused(cache: Path, attack: hostile.Attack) -> None:
    attack(cache / "any")
    begun = time.monotonic()
    with pytest.raises(StrategyError, match=rf"^engine\.cache_dir: {cache.parent}(/cache)?: found .*, allowed: "):
        use_cache(str(cache))
    assert time.monotonic() - begun < 1.0 and os.environ["NUMBA_CACHE_DIR"] == ""


@pytest.mark.parametrize("attack", hostile.attacks(), ids=lambda attack: attack.__name__)
def test_one_with_a_file_that_others_could_have_written_is_refused(cache: Path, attack: hostile.Attack) -> None:
    hostile.do(attack, cache / "glue_1234" / "ema_cross.nbi")
    if attack is hostile.folder:
        use_cache(str(cache))
        return
    begun = time.monotonic()
    with pytest.raises(StrategyError, match=r"^engine\.cache_dir: /.*: found .*, allowed: ") as caught:
        use_cache(str(cache))
    assert time.monotonic() - begun < 1.0 and "\n" not in str(caught.value)
    assert re.search(hostile.REFUSED, str(caught.value)) and os.environ["NUMBA_CACHE_DIR"] == ""


def test_what_others_cannot_reach_may_have_any_mode(cache: Path) -> None:
    """As Numba makes it where the umask is 002."""
    (cache / "glue_1234").chmod(0o775)
    with pytest.raises(StrategyError, match=r"glue_1234: found mode 0775, allowed: no more than 0755$"):
        use_cache(str(cache))
    cache.chmod(0o700)
    assert use_cache(str(cache)) == cache


def test_a_link_to_a_cache_is_followed_where_only_its_owner_could_have_made_it(cache: Path) -> None:
    link = cache.parent / "link"
    link.symlink_to("cache")
    assert use_cache(str(link)) == link
    if os.geteuid() == 0:
        os.chown(link, hostile.STRANGER, hostile.STRANGER, follow_symlinks=False)
        with pytest.raises(StrategyError, match=rf"^engine\.cache_dir: {link}: found a file of user 12345, allowed: "):
            use_cache(str(link))


def test_no_other_place_is_looked_in_for_code(tmp_path: Path) -> None:
    """Where Numba cannot write to its directory it takes code from the user's own cache, or from beside the source."""
    pytest.importorskip("numba")
    code = """
import sys
from agent.strategy.cache import use_cache
use_cache(sys.argv[1])
from numba.core import caching, config
assert config.CACHE_DIR == sys.argv[1], config.CACHE_DIR
if hasattr(config, "CACHE_LOCATOR_CLASSES"):
    config.CACHE_DIR = "/proc/none"  # cannot be written
    try:
        caching.FunctionCache(use_cache)
    except RuntimeError as error:
        assert "no locator" in str(error)
    else:
        raise AssertionError("another place was taken")
"""
    done = subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path / "cache")], capture_output=True, text=True,
                          timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A shared object with a strategy, in a directory of its own."""
    found = tmp_path / "way" / "desk" / "own.so"
    found.parent.mkdir(parents=True, mode=0o755)
    (source,) = [f for f in list_files(_KIND) if f.name.startswith("every_tick_cython.") and f.suffix == ".so"]
    shutil.copy(source, found)
    found.chmod(0o755)
    return found


@pytest.mark.parametrize("attack", hostile.attacks(), ids=lambda attack: attack.__name__)
def test_a_shared_object_that_others_could_have_written_is_not_loaded(
    library: Path, attack: hostile.Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: object) -> None:
        raise AssertionError("it was loaded")

    hostile.do(attack, library)
    followed = attack is hostile.link
    if not followed:
        monkeypatch.setattr("agent.strategy.find.load_library", load)
    begun = time.monotonic()
    with pytest.raises(StrategyError, match=r"^strategy\.name: ") as caught:
        strategy.load(str(library))
    assert time.monotonic() - begun < 1.0
    # A link of this user's own leads to the file, which has no table here.
    wanted = "has no symbol agent_strategy" if followed else hostile.REFUSED
    assert re.search(wanted, str(caught.value)), caught.value


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_strangers_link_to_a_shared_object_is_not_followed(library: Path) -> None:
    link = library.with_name("link.so")
    link.symlink_to(library)
    os.chown(link, hostile.STRANGER, hostile.STRANGER, follow_symlinks=False)
    with pytest.raises(StrategyError, match=rf"{link}: found a file of user 12345, allowed: one of user 0$"):
        strategy.load(str(link))
