"""Where things are kept: in a folder of the user's own, and nothing counts that somebody else may have written."""

import os
import stat

import pytest

from tensorprog import cache_folder as folders

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
STRANGER = 65534


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """A cache and a folder of temporary files of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    for function in (folders._private, folders._fresh_folder):
        function.cache_clear()
    yield tmp_path
    for function in (folders._private, folders._fresh_folder):
        function.cache_clear()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_stored_is_recalled_and_private(places):
    folders.store("plans/a", b"text")
    assert folders.recall("plans/a") == b"text"
    assert folders.recall("plans/b") is None
    path = places / "cache" / "tensorprog" / "plans" / "a"
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert mode(path.parent.parent) == 0o700


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:-1]),
    lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
    lambda path: path.write_bytes(os.urandom(200)),
    lambda path: path.chmod(0o622),
    lambda path: (path.rename(path.with_name("c")), path.symlink_to("c")),
    lambda path: (path.unlink(), os.mkfifo(path)),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: (folders.store("b", b"other"), os.replace(path.with_name("b"), path)),
], ids=["empty", "truncated", "changed", "random", "others write", "link", "pipe", "folder", "another's content"])
def test_what_is_damaged_does_not_count(places, damage):
    folders.store("a", b"text")
    path = folders.cache_folder() / "a"
    damage(path)
    assert folders.recall("a") is None
    if not path.is_dir():
        folders.store("a", b"again")
        assert folders.recall("a") == b"again"


def test_a_folder_that_others_could_write_to_is_closed(places):
    (places / "cache" / "tensorprog").mkdir(parents=True)
    (places / "cache" / "tensorprog").chmod(0o777)
    assert folders.cache_folder() == places / "cache" / "tensorprog"
    assert mode(places / "cache" / "tensorprog") == 0o700


@pytest.mark.parametrize("taken", [lambda path: path.write_text(""), lambda path: path.symlink_to("elsewhere"),
                                   lambda path: (path.with_name("own").mkdir(), path.symlink_to("own"))],
                         ids=["file", "dangling link", "link"])
def test_without_a_cache_folder_the_users_own_temporary_one_is_taken_and_else_a_new_one(places, taken):
    (places / "cache").write_text("not a folder")
    own = places / "tmp" / f"tensorprog-{os.geteuid()}"
    assert folders.cache_folder() == own
    assert mode(own) == 0o700
    folders._private.cache_clear()
    own.rmdir()
    taken(own)
    fresh = folders.cache_folder()
    assert fresh.parent == places / "tmp"
    assert fresh != own
    assert mode(fresh) == 0o700
    assert folders.lasting_folder() is None
    folders._remove(fresh, os.getpid())
    assert not fresh.exists()


@ROOT_ONLY
def test_a_strangers_folder_and_a_strangers_file_do_not_count(places):
    folders.store("a", b"text")
    os.chown(places / "cache" / "tensorprog" / "a", STRANGER, STRANGER)
    assert folders.recall("a") is None
    folders._private.cache_clear()
    os.chown(places / "cache" / "tensorprog", STRANGER, STRANGER)
    assert folders.cache_folder() == places / "tmp" / f"tensorprog-{os.geteuid()}"
    folders._private.cache_clear()
    os.chown(places / "tmp" / f"tensorprog-{os.geteuid()}", STRANGER, STRANGER)
    assert folders.cache_folder().name.startswith("tensorprog-")
    assert folders.cache_folder().stat().st_uid == os.geteuid()


def test_without_any_folder_nothing_is_kept_and_nothing_fails(places, monkeypatch):
    (places / "cache").write_text("not a folder")
    monkeypatch.setattr(folders.tempfile, "tempdir", str(places / "cache" / "below a file"))
    assert folders.cache_folder() is None
    folders.store("a", b"text")
    assert folders.recall("a") is None


def test_a_full_disk_is_no_error_and_leaves_no_rest(places, monkeypatch):
    folders.store("a", b"old")

    def full(handle, mode):
        os.close(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.os, "fdopen", full)
    folders.store("a", b"new")
    monkeypatch.undo()
    assert [path.name for path in (places / "cache" / "tensorprog").iterdir()] == ["a"]


def test_the_size_and_clearing(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from tensorprog.cli import main

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders._private.cache_clear()
    monkeypatch.setenv("TENSORPROG_CACHE_MB", "0.5")
    folders.store("programs/a", b"x" * 300_000)
    shown = CliRunner().invoke(main, ["cache"])
    assert "1 files, 0.3 MB of at most 0.5 MB" in shown.stdout
    folders.store("programs/b", b"x" * 300_000)
    folders.evict(folders.cache_folder(), folders.most_bytes())
    assert len(folders.stored_files(folders.cache_folder())) == 1
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "tensorprog" / "link").symlink_to(tmp_path / "mine")
    cleared = CliRunner().invoke(main, ["cache", "--clear"])
    assert cleared.exit_code == 0 and "removed 0.3 MB" in cleared.stdout
    assert list((tmp_path / "tensorprog").iterdir()) == []
    assert (tmp_path / "mine").read_text() == "mine"
    assert folders.recall("programs/a") is None
    folders.store("programs/a", b"again")
    assert folders.recall("programs/a") == b"again"


@pytest.mark.parametrize(("value", "found"), [
    ("", 300_000_000), ("many", 300_000_000), ("nan", 300_000_000), ("-1", 0), ("2000", 2 * 10**9)])
def test_the_limit_of_the_size(monkeypatch, value, found):
    monkeypatch.setenv("TENSORPROG_CACHE_MB", value)
    assert folders.most_bytes() == found
