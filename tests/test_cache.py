"""What loading keeps: entries are whole or not there, are made once, and never stand in the way of loading."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from demur import _cache, _home
from demur.cli import main

KEY = {"bundle": "a", "onnxruntime": "1"}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing is kept on Windows")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of entries, not there yet."""
    monkeypatch.setenv("DEMUR_CACHE", str(tmp_path / "caches" / "demur"))
    return tmp_path / "caches" / "demur"


class Maker:
    """Makes entries, and counts them."""

    def __init__(self, gained: bool = True, fails: bool = False) -> None:
        self.made, self.gained, self.fails = 0, gained, fails

    def __call__(self, folder: Path) -> bool:
        self.made += 1
        (folder / _cache.GRAPH).write_bytes(b"graph")
        (folder / _cache.WEIGHTS).write_bytes(b"weights")
        if self.fails:
            raise OSError("no space left on device")
        return self.gained


def ask(make: Maker, key: dict[str, str] = KEY, room: int = 0) -> Path | None:
    return _cache.graph(key, room, make)


def test_an_entry_is_made_once_and_read_ever_after(home: Path) -> None:
    make = Maker()
    first = ask(make)
    assert first is not None
    assert first.read_bytes() == b"graph"
    assert ask(make) == first
    assert make.made == 1


def test_another_key_is_another_entry(home: Path) -> None:
    make = Maker()
    assert ask(make) != ask(make, KEY | {"onnxruntime": "2"})
    assert make.made == 2


def test_an_entry_without_gain_holds_no_files_and_is_not_made_again(home: Path) -> None:
    make = Maker(gained=False)
    assert [ask(make), ask(make)] == [None, None]
    assert make.made == 1
    assert [path.name for path in home.glob("*/*")] == ["entry.json"]


def _flip(entry: Path) -> None:
    (entry / _cache.WEIGHTS).write_bytes(b"weighty")


def _shorten(entry: Path) -> None:
    data, times = entry / _cache.WEIGHTS, (entry / _cache.WEIGHTS).stat()
    data.write_bytes(b"weigh")
    os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))


def _change(entry: Path) -> None:
    times = (entry / _cache.GRAPH).stat()
    (entry / _cache.GRAPH).write_bytes(b"grape")
    os.utime(entry / _cache.GRAPH, ns=(times.st_atime_ns, times.st_mtime_ns))


def _lose(entry: Path) -> None:
    (entry / _cache.WEIGHTS).unlink()


def _empty(entry: Path) -> None:
    _lose(entry)
    (entry / _cache.GRAPH).unlink()


def _record(text: str) -> Callable[[Path], None]:
    def damage(entry: Path) -> None:
        (entry / "entry.json").write_text(text)

    return damage


DAMAGES = [_flip, _shorten, _change, _lose, _empty, *map(_record, ("", "[]", "{}", '"files"', '{"files": {"a": 1}}'))]


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_entry_that_is_not_as_it_was_written_is_made_anew(home: Path, damage: Callable[[Path], None]) -> None:
    make = Maker()
    path = ask(make)
    assert path is not None
    damage(path.parent)
    assert ask(make) == path
    assert make.made == 2
    assert (path.read_bytes(), (path.parent / _cache.WEIGHTS).read_bytes()) == (b"graph", b"weights")


def test_an_entry_outlives_an_archive_that_keeps_whole_seconds(home: Path) -> None:
    make = Maker()
    path = ask(make)
    assert path is not None
    data = path.parent / _cache.WEIGHTS
    os.utime(data, (0, int(data.stat().st_mtime)))
    ask(make)
    assert make.made == 1


def test_what_fails_half_way_leaves_nothing_and_is_tried_again(home: Path) -> None:
    make = Maker(fails=True)
    assert [ask(make), ask(make)] == [None, None]
    assert make.made == 2
    assert not [path for path in home.iterdir() if path.is_dir()]


def test_what_a_killed_process_left_is_removed(home: Path) -> None:
    path = ask(Maker())
    assert path is not None
    shutil.rmtree(path.parent)
    left = home / f".{path.parent.name}-left"
    left.mkdir()
    ask(Maker())
    assert not left.exists()


def test_nothing_is_made_on_a_disk_without_room(home: Path) -> None:
    make = Maker()
    assert ask(make, room=2**62) is None
    assert make.made == 0


def test_a_folder_that_cannot_be_made_is_no_error(home: Path) -> None:
    home.parent.parent.mkdir(exist_ok=True)
    home.parent.write_text("a file")
    assert ask(Maker()) is None


def test_nothing_is_kept_where_that_is_turned_off(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMUR_CACHE", "off")
    make = Maker()
    assert ask(make) is None
    assert make.made == 0
    assert not Path("off").exists()


def test_those_who_come_at_once_share_what_the_first_makes(home: Path) -> None:
    make, found = Maker(), []
    begun = threading.Barrier(4)

    def slowly(folder: Path) -> bool:
        time.sleep(0.3)
        return make(folder)

    def come() -> None:
        begun.wait()
        found.append(_cache.graph(KEY, 0, slowly))

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make.made == 1
    assert len(found) == 4
    assert len(set(found)) == 1
    assert found[0] is not None


def test_who_has_waited_too_long_makes_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cache, "_WAIT_S", 0.1)
    other = Maker()

    def meanwhile(folder: Path) -> bool:
        assert ask(other) is None
        return Maker()(folder)

    assert _cache.graph(KEY, 0, meanwhile) is not None
    assert other.made == 0


def test_entries_that_nobody_loads_go_when_another_is_made(home: Path) -> None:
    old, used = ask(Maker()), ask(Maker(), {"bundle": "used"})
    assert old is not None
    assert used is not None
    for path in (old, used):
        long_ago = time.time() - 40 * 24 * 3600
        os.utime(path.parent / "entry.json", (long_ago, long_ago))
    assert ask(Maker(fails=True), {"bundle": "used"}) == used
    ask(Maker(), {"bundle": "new"})
    assert (old.exists(), used.exists()) == (False, True)


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", ".cache/demur"), ("darwin", "Library/Caches/demur"), ("win32", "AppData/Local/demur/cache")],
)
def test_entries_lie_where_the_platform_keeps_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, expected: str
) -> None:
    for name in ("DEMUR_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    assert _home.cache() == tmp_path / expected


def test_the_platforms_variable_moves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEMUR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert _home.cache() == Path("/caches/demur")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert _home.cache() != Path("relative/demur")


def test_doctor_says_where_they_are_and_how_to_have_none(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(Maker())
    main(["doctor"])
    assert f"{home} (1 bundles made ready, 0 MB; DEMUR_CACHE=off keeps none)" in capsys.readouterr().out
    monkeypatch.setenv("DEMUR_CACHE", "off")
    main(["doctor"])
    assert "none, bundles are made ready at each loading" in capsys.readouterr().out
