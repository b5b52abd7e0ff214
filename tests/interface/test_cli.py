"""The command line and the Python interface: what is printed where, and with which exit code.

`fake_limit` stands in for the limit evaluator where the test is about the command line alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from places import ROOT

import tensorprog
from tensorprog.api import Interrupted
from tensorprog.cli import main
from tensorprog.diagnostics import ProgramError
from tensorprog.diagnostics.catalog import CATALOG
from tensorprog.runtime.replicates import coverage_factor

MODEL = """\
width n
size P, d
param eta = 0.2
param T : int = 3
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)

for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * tanh(U @ X[a]))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    v -= eta * n * grad(loss[t], v)
    U -= eta * n * grad(loss[t], U)

output f, loss
"""

GROWING = """\
width n
size P
param eta = 0.5
param seed = 1.0
param T : int = 5
vector v : [n] ~ normal(0, 1)
s = moment(v*v)
for t in range(T):
    s = exp(s)
    f[t] = s
output f
"""

BROKEN = "width n\nvector v : [n] ~ normal(0, 1)\nx = moment(w)\noutput x\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Every test runs in a folder of its own, with a program, its data, and a cache folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("model.tp").write_text(MODEL)
    Path("broken.tp").write_text(BROKEN)
    rng = np.random.default_rng(0)
    np.savez("data.npz", X=rng.normal(size=(4, 3)), y=rng.normal(size=4))


def tpc(*arguments, **options):
    return CliRunner().invoke(main, [str(a) for a in arguments], **options)


def process(*arguments, **options):
    """`tpc` as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "tensorprog", *arguments], capture_output=True, text=True,
                          env=environment, timeout=120, **options)


@pytest.fixture
def fake_limit(monkeypatch):
    """A limit evaluator that gives all ones, or what a test puts into `values`."""
    fake = types.SimpleNamespace(values={"f": np.ones((3, 4)), "loss": np.ones(3)}, calls=[])

    def run(env, **options):
        fake.calls.append((env, options))
        if options.get("progress"):
            options["progress"](1, 1)
        if isinstance(fake.values, BaseException):
            raise fake.values
        return fake.values, {name: np.zeros(np.shape(v)) for name, v in fake.values.items()}

    module = types.SimpleNamespace(run=run)
    for evaluator in ("span", "covariance", "particles"):
        monkeypatch.setattr(f"tensorprog.evaluators.{evaluator}.load_module", lambda text: module)
    return fake


# --- help, versions, start-up --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [None, *main.commands])
def test_help_has_an_example(command):
    result = tpc(*([command] if command else []), "--help")
    assert result.exit_code == 0
    assert "Example:\n    tpc " in result.stdout


def test_version():
    assert tpc("--version").stdout == f"tpc, version {tensorprog.__version__}\n"


@pytest.mark.parametrize("code", [
    "import tensorprog", "import tensorprog.cli",
    "from tensorprog.cli import main; main(['check', 'model.tp'])",
    "from tensorprog.cli import main; main(['explain', 'TP601'])",
])
def test_starting_is_light(code):
    heavy = "{'numpy', 'sympy', 'numba', 'scipy'}"
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nsys.exit(repr({heavy} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stderr.strip() == "set()"


def test_the_package_exports_lazily():
    assert tensorprog.ProgramError is ProgramError
    assert tensorprog.compile(MODEL).program.outputs[0].name == "f"
    assert "compile" in dir(tensorprog)
    with pytest.raises(AttributeError):
        tensorprog.nothing


# --- usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "words"), [
    (["chek"], "Did you mean 'tpc check'?"),
    (["model.tp"], "Did you mean 'tpc run model.tp'?"),
    (["frobnicate"], "See 'tpc --help'"),
    (["run", "model.tp", "--sampels", "3"], "'--samples'"),
    (["run"], "PROGRAM.tp"),
    (["run", "model.tp", "--samples", "0"], "--samples"),
    (["run", "model.tp", "--set", "eta"], "name=value"),
    (["run", "model.tp", "--T", "3"], "'--set T=...'"),
    (["simulate", "model.tp", "--width", "8", "--eta=3"], "'--set eta=...'"),
    (["simulate", "model.tp", "data.npz"], "--width"),
    (["simulate", "model.tp", "data.npz", "--width", "64,x"], "not a positive whole number"),
    (["simulate", "model.tp", "data.npz", "--width", "0"], "not a positive whole number"),
    (["run", "model.tp", "data.npz", "--set", "et=1"], "did you mean 'eta'?"),
    (["run", "model.tp", "data.npz", "--set", "eta=1", "--set", "eta=2"], "TP703"),
    (["run", "model.tp", "data.npz", "--set", "eta=fast"], "TP628"),
    (["run", "model.tp", "data.npz", "--method", "particle"], "did you mean 'particles'?"),
    (["run", "model.tp", "dat.npz"], "TP610"),
    (["run", "modle.tp"], "did you mean 'model.tp'?"),
    (["run", "nowhere/modle.tp"], "TP701"),
    (["run", "model.tp"], "TP620"),
    (["compile", "model.tp", "--emit", "kernels"], "did you mean 'kernel'?"),
    (["compile", "model.tp", "--set", "et=1", "--emit", "kernel"], "did you mean 'eta'?"),
    (["explain", "TP60"], "did you mean"),
    (["explain", "nonsense"], "lists the codes"),
])
def test_mistakes_exit_with_2_and_no_traceback(arguments, words):
    result = tpc(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


# --- check, explain, fmt -------------------------------------------------------------------------------------


def test_check():
    assert tpc("check", "model.tp").stdout == "model.tp: ok\n"
    result = tpc("check", "model.tp", "broken.tp", "nothing.tp")
    assert result.exit_code == 2
    assert result.stdout == "model.tp: ok\n"
    assert re.search(r"^broken.tp:3:12: error\[TP\d+\]", result.stderr, re.M)
    assert "TP701" in result.stderr


def test_check_reads_stdin():
    result = tpc("check", "-", input=BROKEN)
    assert result.exit_code == 2
    assert "<stdin>:3:12" in result.stderr


def test_json_diagnostics():
    result = tpc("check", "broken.tp", "--json")
    (error,) = json.loads(result.stdout)["errors"]
    assert (result.exit_code, result.stderr) == (2, "")
    assert (error["file"], error["line"], error["column"]) == ("broken.tp", 3, 12)
    assert {"code", "message", "help"} <= set(error)
    for arguments in (["run", "model.tp"], ["run", "model.tp", "--nonsense"], ["simulate", "modle.tp", "--width", "3"]):
        result = tpc(*arguments, "--json")
        assert result.exit_code == 2
        assert json.loads(result.stdout)["errors"][0]["code"].startswith("TP")


def test_a_file_that_is_not_text():
    Path("binary.tp").write_bytes(b"\xff\xfe\x00")
    result = tpc("check", "binary.tp")
    assert result.exit_code == 2
    assert "not UTF-8" in result.stderr


def test_explain():
    for name in ("TP601", "tp601", "601"):
        result = tpc("explain", name)
        assert result.exit_code == 0
        assert result.stdout.startswith("TP601: index out of range\n")
    assert "TP602  read before it is assigned" in tpc("explain").stdout


def test_the_catalog_is_complete():
    """Every code that the files of these stages report is explained, and in order."""
    folder = ROOT / "tensorprog"
    used = {code for file in folder.glob("*.py") for code in re.findall(r'"(TP[67]\d\d)"', file.read_text())}
    assert used <= set(CATALOG)
    assert list(CATALOG) == sorted(CATALOG)
    for name, entry in CATALOG.items():
        assert re.fullmatch(r"TP\d{3}", name)
        assert all((entry.title, entry.explanation, entry.bad, entry.good))


UGLY = "width n\nvector v:[n]~normal(0,1)\noutput moment( v*v )as s\n"


def test_fmt():
    Path("ugly.tp").write_text(UGLY)
    assert tpc("fmt", "--check", "ugly.tp").exit_code == 1
    result = tpc("fmt", "--diff", "ugly.tp")
    assert result.exit_code == 0
    assert "+vector v : [n] ~ normal(0, 1)" in result.stdout
    assert Path("ugly.tp").read_text() == UGLY
    piped = tpc("fmt", "-", input=UGLY)
    assert tpc("fmt", "ugly.tp").exit_code == 0
    assert Path("ugly.tp").read_text() == piped.stdout != UGLY
    assert tpc("fmt", "--check", "ugly.tp").exit_code == 0
    assert os.listdir().count("ugly.tp") == 1


def test_fmt_leaves_broken_programs_alone():
    Path("syntax.tp").write_text("width (\n")
    result = tpc("fmt", "syntax.tp")
    assert result.exit_code == 2
    assert Path("syntax.tp").read_text() == "width (\n"


# --- compile -------------------------------------------------------------------------------------------------


def test_compile_writes_a_module():
    assert tpc("compile", "model.tp").stdout == "wrote model_limit.py\n"
    assert "'T': 3" in Path("model_limit.py").read_text()
    assert tpc("compile", "model.tp", "-o", "x.py").exit_code == 0
    assert Path("x.py").read_text() == Path("model_limit.py").read_text()
    assert tpc("compile", "model.tp", "-o", "nowhere/x.py").exit_code == 2


# --- run -----------------------------------------------------------------------------------------------------


def test_run(fake_limit):
    result = tpc("run", "model.tp", "--data", "data.npz", "--set", "eta=0.1", "--seed", 7, "-o", "out.npz")
    assert result.exit_code == 0
    assert result.stdout.startswith("f [3, 4]\n")
    env, options = fake_limit.calls[0]
    assert (env["eta"], env["P"], env["X"].shape) == (0.1, 4, (4, 3))
    assert (options["seed"], options["samples"], options["replicates"]) == (7, 4096, 8)
    with np.load("out.npz") as saved:
        assert saved["loss"].tolist() == [1, 1, 1]
        assert str(saved["loss.method"]) == "particles"


def test_run_json(fake_limit):
    shown = json.loads(tpc("run", "model.tp", "data.npz", "--json").stdout)
    assert shown["results"]["loss"] == {"value": [1, 1, 1], "error": [0, 0, 0], "method": "particles"}
    assert shown["settings"]["eta"] == 0.2


def test_a_run_that_diverges(fake_limit):
    fake_limit.values["loss"][1:] = np.nan
    result = tpc("run", "model.tp", "data.npz", "-o", "out.npz")
    assert result.exit_code == 1
    assert "warning[TP640]: the output 'loss' is infinite or beyond 1e12 from loss[1] on" in result.stderr
    assert "loss [3]" in result.stdout
    assert Path("out.npz").exists()
    assert json.loads(tpc("run", "model.tp", "data.npz", "--json").stdout)["diverged"] == {"loss": 1}


def test_a_bug_in_tpc(fake_limit):
    fake_limit.values = RuntimeError("the kernel is on fire")
    result = tpc("run", "model.tp", "data.npz")
    assert result.exit_code == 70
    assert "This is a bug in tpc" in result.stderr
    assert "Traceback" not in result.stderr
    (report,) = Path("cache").rglob("crash-*.txt")
    text = report.read_text()
    assert "Traceback" in text
    assert "the kernel is on fire" in text
    assert MODEL in text


def test_no_memory(fake_limit):
    fake_limit.values = MemoryError()
    result = tpc("run", "model.tp", "data.npz")
    assert result.exit_code == 2
    assert "TP709" in result.stderr


def test_interrupted_run(fake_limit):
    fake_limit.values = KeyboardInterrupt()
    Path("out.npz").write_text("old")
    result = tpc("run", "model.tp", "data.npz", "-o", "out.npz")
    assert result.exit_code == 130
    assert Path("out.npz").read_text() == "old"


def test_a_parameter_may_have_the_name_of_an_option(fake_limit):
    Path("growing.tp").write_text(GROWING.replace("size P\n", ""))
    fake_limit.values = {"f": np.zeros(5)}
    assert tpc("run", "growing.tp", "--set", "seed=3").exit_code == 0
    assert fake_limit.calls[0][0]["seed"] == 3.0


# --- simulate ------------------------------------------------------------------------------------------------


def test_simulate():
    result = tpc("simulate", "model.tp", "data.npz", "--width", "16,32", "--width", 64, "--seeds", 3, "-o", "out.npz")
    assert result.exit_code == 0, result.stderr
    assert [line for line in result.stdout.split("\n") if "width" in line] == ["width 16:", "width 32:", "width 64:"]
    for width in (16, 32, 64):
        with np.load(f"out_{width}.npz") as saved:
            assert saved["f"].shape == (3, 4)
            assert saved["f.samples"].shape == (3, 3, 4)
    again = tpc("simulate", "model.tp", "data.npz", "--width", "16", "--seeds", 3, "--json")
    assert json.loads(again.stdout)["widths"][0]["settings"]["width"] == 16


def test_simulation_that_diverges():
    Path("growing.tp").write_text(GROWING.replace("size P\n", ""))
    result = tpc("simulate", "growing.tp", "--width", 8)
    assert result.exit_code == 1
    assert re.search(r"warning\[TP640\]: the output 'f' is infinite or beyond 1e12 from f\[\d\] on", result.stderr)


def test_what_is_never_assigned_is_not_divergence():
    program = tensorprog.compile(GROWING.replace("size P\n", "").replace("range(T)", "range(1, 3)"))
    result = program.simulate(width=8, seeds=2)
    assert np.isnan(result["f"][0])
    assert result.diverged == {}


def test_ctrl_c_keeps_the_seeds_that_were_finished(monkeypatch):
    program = tensorprog.compile(MODEL)
    data = dict(np.load("data.npz"))

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        program.simulate(data, width=8, seeds=4, progress=stop)
    whole = program.simulate(data, width=8, seeds=2)
    assert caught.value.result.settings["seeds"] == 2
    assert np.array_equal(caught.value.result["f"], whole["f"])

    original = tensorprog.CompiledProgram.simulate_with
    monkeypatch.setattr(tensorprog.CompiledProgram, "simulate_with",
                        lambda self, *args, **options: original(self, *args, **{**options, "progress": stop}))
    result = tpc("simulate", "model.tp", "data.npz", "--width", "8,16", "--seeds", "4", "-o", "out.npz")
    assert result.exit_code == 130
    assert "interrupted at width 8, after 2 of 4 networks" in result.stderr
    assert os.path.exists("out_8.npz")
    assert not os.path.exists("out_16.npz")


def test_an_index_out_of_range_is_found_before_the_run():
    Path("wrong.tp").write_text(MODEL.replace("y[a])**2", "y[a + t])**2"))
    result = tpc("simulate", "wrong.tp", "data.npz", "--width", 10**9)
    assert result.exit_code == 2
    assert "error[TP601]: index 4 is out of range for the input 'y', whose indices are 0 to 3 (t = 1, a = 3)" in \
        result.stderr


# --- the Python interface ------------------------------------------------------------------------------------


def test_compiling_from_paths_and_text():
    for given in ("model.tp", Path("model.tp"), MODEL):
        assert [o.name for o in tensorprog.compile(given).program.outputs] == ["f", "loss"]
    with pytest.raises(ProgramError, match="TP701"):
        tensorprog.compile("modle.tp")
    with pytest.raises(ProgramError, match="did you mean 'model.tp'?"):
        tensorprog.compile("model")
    with pytest.raises(ProgramError, match="names of program files end in .tp"):
        tensorprog.compile("data.npz")
    with pytest.raises(ProgramError, match="did you mean 'eta'"):
        tensorprog.compile(MODEL, {"et": 3})


def test_settings_fixed_when_compiling(fake_limit):
    program = tensorprog.compile(MODEL, {"T": 3})
    data = dict(np.load("data.npz"))
    assert program.run(data, T=3, eta=1).settings["T"] == 3
    with pytest.raises(ProgramError, match="TP632"):
        program.run(data, T=4)


def test_simulation_statistics():
    program = tensorprog.compile(MODEL)
    data = dict(np.load("data.npz"))
    result = program.simulate(data, width=16, seeds=5, seed=1)
    drawn = result.samples["f"]
    assert drawn.shape == (5, 3, 4)
    assert np.allclose(result["f"], drawn.mean(axis=0))
    assert np.allclose(result.error["f"], coverage_factor(5) * drawn.std(axis=0, ddof=1) / np.sqrt(5))
    assert result.method["f"] == "finite"
    assert np.array_equal(program.simulate(data, width=16, seeds=3, seed=1).samples["f"], drawn[:3])
    assert not np.array_equal(program.simulate(data, width=16, seeds=5, seed=2)["f"], result["f"])


@pytest.mark.parametrize("options", [{"width": 0}, {"width": 2.5}, {"width": 8, "seeds": 0}, {"width": True}])
def test_counts_are_positive(options):
    with pytest.raises(ProgramError, match="TP708"):
        tensorprog.compile(MODEL).simulate({}, **options)


@pytest.mark.parametrize("options", [
    {"threads": -1}, {"seed": -1}, {"seed": 0.5}, {"tolerance": float("nan")}, {"tolerance": -1e-3},
    {"tolerance": "small"}, {"every": float("inf")}, {"samples": 0}])
def test_options_of_a_run_make_sense(options):
    with pytest.raises(ProgramError, match=f"TP708.*'{next(iter(options))}' must be"):
        tensorprog.compile(MODEL).run({}, **options)


@pytest.mark.parametrize("call", [lambda p: p.run({}, sample=100), lambda p: p.simulate({}, width=8, seedz=9),
                                  lambda p: p.verify({}, sample=100)])
def test_an_option_that_is_misspelt(call):
    with pytest.raises(ProgramError, match="did you mean the option `(samples|seeds?)=...`"):
        call(tensorprog.compile(MODEL))


def test_arrays_that_are_not_used_are_a_warning(fake_limit):
    result = tensorprog.compile(MODEL).run(dict(np.load("data.npz")) | {"names": np.arange(3)})
    assert [(w.code, w.severity) for w in result.warnings] == [("TP621", "warning")]
    np.savez("more.npz", **dict(np.load("data.npz")), extra=np.zeros(2))
    done = tpc("simulate", "model.tp", "more.npz", "--width", "8", "--seeds", "2")
    assert done.exit_code == 0 and "'extra': this array is not used" in done.stderr


# --- processes -----------------------------------------------------------------------------------------------


def test_module_entry_point():
    done = process("check", "broken.tp")
    assert done.returncode == 2
    assert done.stderr.startswith("broken.tp:3:12: error[")


def test_a_closed_pipe_is_silent():
    command = f"{sys.executable} -m tensorprog explain | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stderr == ""
    assert done.stdout == "0\n"


def test_ctrl_c_in_a_process():
    command = [sys.executable, "-m", "tensorprog", "simulate", "model.tp", "data.npz", "--width", "500", "--seeds",
               "100000", "-o", "out.npz"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        time.sleep(12)
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "interrupted" in stderr
    assert "f [3, 4]" in stdout
    assert Path("out.npz").exists()


# --- the real limit ------------------------------------------------------------------------------------------

def test_the_limit_for_real():
    result = tpc("run", "model.tp", "data.npz", "--samples", 256, "--replicates", 4, "--json")
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)["results"]
    assert np.shape(shown["f"]["value"]) == (3, 4)
    assert np.allclose(shown["f"]["value"][0], 0, atol=0.05)
    wide = tensorprog.compile(MODEL).simulate(dict(np.load("data.npz")), width=4096, seeds=4)
    assert np.allclose(shown["loss"]["value"], wide["loss"], atol=0.05)


def test_every_stage_for_real():
    for stage in ("ast", "program", "limit", "plan", "kernel"):
        result = tpc("compile", "model.tp", "--emit", stage)
        assert result.exit_code == 0, (stage, result.stderr)
        assert len(result.stdout) > 100


def test_the_written_module_for_real():
    assert tpc("compile", "model.tp").exit_code == 0
    data = dict(np.load("data.npz"))
    spec = importlib.util.spec_from_file_location("model_limit", "model_limit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values, errors = module.run(data, samples=256, replicates=2, seed=5)
    result = tensorprog.compile(MODEL).run(data, samples=256, replicates=2, seed=5)
    for name in ("f", "loss"):
        assert np.array_equal(values[name], result[name])
        assert np.array_equal(errors[name], result.error[name])
