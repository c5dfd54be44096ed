"""Sources of films in chunks: fetched once while owners take turns, and never in the way of others."""

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dumacle_cli.transcode import sources
from dumacle_cli.transcode.child import Stopped
from dumacle_cli.transcode.sources import Sources

pytestmark = pytest.mark.unit
MORE_THAN_ANY_DISK = 10**18


@pytest.fixture
def fetched() -> list[str]:
    return []


@pytest.fixture
def use(tmp_path: Path, fetched: list[str]) -> Callable[..., None]:
    """Use the source of a name, which is kept or not."""
    held = Sources(tmp_path)

    def fetch(path: Path) -> object:
        fetched.append(path.name)
        path.write_text("bytes")
        return object()

    def call(name: str, *, size: int = 5, kept: bool = True) -> None:
        with held.held(name, size, fetch) as source:
            assert source.path.read_text() == "bytes"
            source.kept = kept

    return call


def test_films_of_two_owners_who_take_turns_are_fetched_once(use: Callable[..., None], fetched: list[str]) -> None:
    for name in ("one", "other", "one", "other", "one"):
        use(name)
    assert fetched == ["source-one", "source-other"]


def test_what_is_used_once_does_not_stay(use: Callable[..., None], tmp_path: Path) -> None:
    use("film", kept=False)
    assert list(tmp_path.iterdir()) == []
    use("film")
    use("film", kept=False)  # the film is put together
    assert list(tmp_path.iterdir()) == []


def test_the_longest_unused_gives_way_to_what_needs_room(
    use: Callable[..., None], tmp_path: Path, fetched: list[str]
) -> None:
    size = shutil.disk_usage(tmp_path).free * 2 // 5
    for name in ("one", "other", "one", "third"):
        use(name, size=size)
    assert {path.name for path in tmp_path.iterdir()} == {"source-one", "source-third"}
    use("one", size=size)
    assert fetched == ["source-one", "source-other", "source-third"]


def test_what_is_used_gives_way_to_nothing(tmp_path: Path) -> None:
    held = Sources(tmp_path)
    with (
        held.held("large", MORE_THAN_ANY_DISK, lambda path: path.write_text("bytes")) as large,
        held.held("small", 5, lambda path: path.write_text("bytes")),
    ):
        assert large.path.exists()


def test_two_who_need_the_same_at_once_fetch_it_once(tmp_path: Path, fetched: list[str]) -> None:
    held, both = Sources(tmp_path), threading.Barrier(2)

    def fetch(path: Path) -> object:
        fetched.append(path.name)
        path.write_text("bytes")
        return object()

    def use(_: int) -> bool:
        with held.held("film", 5, fetch) as source:
            both.wait(30)
            return source.path.exists()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(use, range(2))) == [True, True]
    assert fetched == ["source-film"]
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_uses_is_removed_after_a_while(
    use: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[str]
) -> None:
    removed = threading.Event()
    monkeypatch.setattr(Sources, "_remove", _telling(removed))
    monkeypatch.setattr(sources, "KEPT_SECONDS", 0.05)
    use("film")
    assert removed.wait(30)
    assert list(tmp_path.iterdir()) == []
    use("film", kept=False)
    assert len(fetched) == 2


def _telling(done: threading.Event) -> Callable[[Sources, str], None]:
    remove = Sources._remove

    def call(self: Sources, name: str) -> None:
        remove(self, name)
        done.set()

    return call


def test_what_is_not_fetched_whole_does_not_stay(tmp_path: Path) -> None:
    def fetch(path: Path) -> None:
        path.write_text("half")
        raise Stopped

    held = Sources(tmp_path)
    with pytest.raises(Stopped), held.held("film", 5, fetch):
        pass
    assert list(tmp_path.iterdir()) == []
