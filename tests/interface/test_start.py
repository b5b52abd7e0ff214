"""The process around the commands: outputs that cannot be written, Ctrl-C at any moment, names and files that are no text."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from tensorprog import start

PROGRAM = "width n\nvector v : [n] ~ normal(0, 1)\noutput moment(v*v) as q\n"
NEEDS_FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")


def tpc(arguments, folder, before="", **streams):
    """A run of tpc as a process, after a few lines of Python."""
    code = f"import sys\nsys.argv[1:] = {arguments!r}\n{before}\nfrom tensorprog.start import main\nmain()"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run([sys.executable, "-c", code], cwd=folder, **streams)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "p.tp").write_text(PROGRAM)
    return tmp_path


@NEEDS_FULL
@pytest.mark.parametrize("arguments", [["check", "p.tp"], ["explain"], ["--help"], ["check", "--json", "none.tp"]])
def test_a_full_disk_is_told(folder, arguments):
    with open("/dev/full", "w") as full:
        run = tpc(arguments, folder, stdout=full)
        assert (run.returncode, run.stderr.decode().split(":")[1]) == (2, " error[TP707]")
        assert len(run.stderr.decode().splitlines()) == 2
        assert tpc(arguments, folder, stderr=full).returncode == (2 if "none.tp" in arguments else 0)


@NEEDS_FULL
def test_a_device_is_written_to_and_stays(folder):
    run = tpc(["derive", "p.tp", "-o", "/dev/full"], folder)
    assert (run.returncode, b"TP707" in run.stderr) == (2, True)
    assert tpc(["derive", "p.tp", "-o", "/dev/null"], folder).returncode == 0
    assert not os.path.isfile("/dev/full")
    assert not os.path.isfile("/dev/null")


def test_a_closed_pipe_is_no_error(folder):
    read, write = os.pipe()
    os.close(read)
    run = tpc(["explain"], folder, stdout=write)
    os.close(write)
    assert (run.returncode, run.stderr) == (0, b"")


def test_closed_streams_are_no_error(folder):
    code = "import os, sys\nos.close(1)\nos.close(2)\nos.execv(sys.executable, [sys.executable, '-m', 'tensorprog', 'check', 'p.tp'])"
    assert subprocess.run([sys.executable, "-c", code], cwd=folder).returncode == 0


PRESS = """
import builtins, signal
def pressed(name, *rest, plain=builtins.__import__):
    if name.startswith(MODULE):
        builtins.__import__ = plain
        HOW
    return plain(name, *rest)
builtins.__import__ = pressed
"""
RAISED = "signal.raise_signal(signal.SIGINT)"
TURNED = "try:\n            signal.raise_signal(signal.SIGINT)\n        except KeyboardInterrupt:\n            raise ImportError('x')"
LOST = ("import time\n        class Lost:\n            def __del__(self): signal.raise_signal(signal.SIGINT)\n"
        "        Lost()\n        time.sleep(20)")


@pytest.mark.parametrize("module", ["tensorprog.cli", "tensorprog.api"])
@pytest.mark.parametrize("how", [RAISED, TURNED, LOST], ids=["raised", "turned into another error", "lost in a destructor"])
def test_an_interruption_during_imports_is_one_line(folder, module, how):
    run = tpc(["check", "p.tp"], folder, before=PRESS.replace("MODULE", repr(module)).replace("HOW", how))
    assert (run.returncode, run.stderr.decode(), run.stdout) == (130, "tpc: interrupted\n", b"")


def test_an_ignored_interruption_stays_ignored(folder):
    before = f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{PRESS}".replace("MODULE", "'tensorprog.api'")
    assert tpc(["check", "p.tp"], folder, before=before.replace("HOW", RAISED)).returncode == 0


def test_the_end_of_a_file_is_not_an_interruption(folder):
    before = "import tensorprog.api\ndef ends(*args):\n    raise EOFError\ntensorprog.api.compile_source = ends\n"
    run = tpc(["check", "p.tp"], folder, before=before)
    assert run.returncode == 70
    assert b"internal error" in run.stderr


@pytest.mark.parametrize("arguments", [["check"], ["derive"], ["fmt", "--check"], ["compile"]])
def test_a_file_name_that_is_no_utf8(folder, arguments):
    name = b"caf\xe9.tp"
    (folder / os.fsdecode(name)).write_text(PROGRAM)
    run = tpc([*arguments, os.fsdecode(name)], folder)
    assert (run.returncode, b"Traceback" in run.stderr, b"internal" in run.stderr) == (0, False, False)
    missing = tpc(["check", os.fsdecode(b"th\xe9.tp")], folder)
    assert (missing.returncode, missing.stderr.split(b"\n")[0]) == (
        2, b"tpc: error[TP701]: there is no file 'th\\xe9.tp'")


def test_a_crash_with_such_a_name_has_its_report(folder):
    name = os.fsdecode(b"caf\xe9.tp")
    (folder / name).write_bytes(b"width n # caf\xe9\n")
    before = f"import os\nos.environ['XDG_CACHE_HOME'] = {str(folder)!r}\nimport tensorprog.files\ntensorprog.files.decode_program = None\n"
    run = tpc(["check", name], folder, before=before)
    assert run.returncode == 70
    [report] = (folder / "tensorprog" / "crashes").iterdir()
    assert "caf" in report.read_text()


def test_a_full_stream_raises_once():
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    stream = start._Stream(Full(), quiet=False)
    with pytest.raises(start.LostOutput):
        stream.write(b"a")
    assert stream.write(b"bc") == 2
    assert start._Stream(Full(), quiet=True).write(b"abc") == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
