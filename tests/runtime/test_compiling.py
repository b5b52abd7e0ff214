"""The store of compiled kernels: kernels are kept, and nothing that is wrong with a kept one can be seen but in the time."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tensorprog import cache_folder, modules
from tensorprog.modules import load_module
from tensorprog.runtime import compiling

SOURCE = '''
from tensorprog.runtime.compiling import njit, vectorize

@njit(cache=True, fastmath={"contract", "nsz"})
def double(x):
    return 2.0 * x

@vectorize(["float64(float64)"], cache=True)
def square(x):
    return x * x

@njit("float64(float64)", cache=True)
def four_times(x):
    return double(double(x))
'''


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Imports the module above as a new process does."""
    monkeypatch.setattr(compiling.config, "CACHE_DIR", "")

    def fresh(text=SOURCE):
        path = tmp_path / "kernels.py"
        path.write_text(text)
        compiling._folder.cache_clear()
        compiling._file_digest.cache_clear()
        spec = importlib.util.spec_from_file_location("kernels", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return fresh


def right(module):
    return module.double(3.0) == 6.0 and module.square(3.0) == 9.0 and module.four_times(3.0) == 12.0


def kept(tmp_path):
    return sorted((tmp_path / "__pycache__").glob("*.nbc"))


def test_kernels_are_kept(load, tmp_path):
    assert right(load())
    files = kept(tmp_path)
    assert len(files) == 3
    module = load()
    assert right(module)
    assert sum(module.double.stats.cache_hits.values()) == sum(module.four_times.stats.cache_hits.values()) == 1
    assert kept(tmp_path) == files


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:100]),
    lambda path: path.write_bytes(os.urandom(500)),
    lambda path: path.write_bytes(path.read_bytes()[:-40] + bytes(40)),
    lambda path: cache_folder.write_trusted(path, b"no pickle"),
    lambda path: path.chmod(0o666),
], ids=["empty", "truncated", "random", "last bytes", "checksum alone is right", "others may write"])
def test_a_damaged_kernel_is_compiled_again(load, tmp_path, damage):
    assert right(load())
    files = kept(tmp_path)
    for path in files:
        damage(path)
    assert right(load())
    assert kept(tmp_path) == files
    module = load()
    assert right(module)
    assert sum(module.double.stats.cache_hits.values()) == 1


def test_a_changed_source_is_compiled_again(load):
    assert load().double(3.0) == 6.0
    assert load(SOURCE.replace("2.0 * x", "5.0 * x")).four_times(3.0) == 75.0


def test_another_version_compiles_again(load, monkeypatch):
    assert right(load())
    monkeypatch.setattr(compiling, "_versions", lambda: ("another",))
    module = load()
    assert right(module)
    assert not module.double.stats.cache_hits


def test_without_a_place_nothing_is_kept(load, tmp_path, monkeypatch):
    (tmp_path / "__pycache__").write_text("not a folder")
    monkeypatch.setattr(compiling, "cache_folder", lambda: None)
    assert right(load())


def test_a_read_only_package_has_its_kernels_in_the_cache_folder(load, tmp_path, monkeypatch):
    (tmp_path / "__pycache__").write_text("not a folder")
    monkeypatch.setattr(compiling, "cache_folder", lambda: tmp_path / "own")
    assert right(load())
    assert len(list((tmp_path / "own" / "kernels").rglob("*.nbc"))) == 3


def test_a_full_disk_is_no_error(load, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_folder.tempfile, "mkstemp", full)
    assert right(load())
    assert not kept(tmp_path)


def test_a_module_is_its_text_whatever_its_file_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(modules, "cache_folder", lambda: tmp_path)
    text = "VALUE = 'the text of the module'\n"
    module = load_module(text)
    path = tmp_path / "modules" / f"{module.__name__}.py"
    assert path.read_text() == text
    for rest in ("raise SystemExit('planted')\n", ""):
        path.write_text(rest)
        monkeypatch.delitem(sys.modules, module.__name__)
        assert load_module(text).VALUE == "the text of the module"
        assert path.read_text() == text


PROGRAM = "width n\nvector v : [n] ~ normal(0, 1)\noutput moment(v**4) as q\noutput moment(exp(tanh(v))) as r\n"


def test_damaged_files_in_every_place_do_not_change_results(tmp_path):
    """Two runs as processes of their own, with every file of the cache damaged between them."""
    (tmp_path / "p.tp").write_text(PROGRAM)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    command = [sys.executable, "-m", "tensorprog", "run", "p.tp", "--json", "--samples", "64", "--method", "particles"]

    def run():
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    first = run()
    assert first.returncode == 0, first.stderr
    files = [path for folder in ("cache", "numba") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert any(path.suffix == ".nbc" for path in files)
    assert any(path.suffix == ".table" for path in files)
    for number, path in enumerate(files):
        path.write_bytes([b"", path.read_bytes()[:-9], os.urandom(300)][number % 3])
    second = run()
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, first.stderr)


def test_nothing_is_compiled_past_the_store():
    package = compiling.PACKAGE
    texts = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py") if path.name != "compiling.py"}
    past = [path.name for path, text in texts.items() if re.search(r"from numba import .*\b(njit|jit|vectorize)\b", text)]
    assert len(texts) > 100
    assert not past
