"""The examples of `tpc explain` for data, commands and the Python interface: each is run, the bad one gives its code, and the good
one does not. (Those of the language are in `check/test_bad_programs.py`, those of PyTorch in `torch/test_catalog_examples.py`.)"""

from __future__ import annotations

import re
import shlex
import warnings
from configparser import ConfigParser
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from places import ROOT

import tensorprog
from tensorprog import ProgramError
from tensorprog.cli import main
from tensorprog.diagnostics.catalog import CATALOG

ENTRIES = {code: entry for code, entry in CATALOG.items() if re.fullmatch(r"TP[67]\d\d", code)}

ROTATED = """\
width n
vector x : [n] ~ normal(0, 1)
matrix O : [n, n] ~ orthogonal(1)
for t in range(3):
    y = O @ x
    O = O.T / 2
output moment(y*x) as q
"""

HEAD = """\
width n
size P, d
size K = 3
param eta = 0.1
param T : int = 3
param variance = 1.0
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, variance)
"""
TRAINED = HEAD + """
for t in range(T):
    for a in range(P):
        f[t, a] = moment(v * tanh(W @ tanh(U @ X[a])))
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
    W -= eta * grad(loss[t], W)
    v -= eta * n * grad(loss[t], v)
output f, loss
"""
MODEL = HEAD + """
for a in range(P):
    f[a] = moment(v * U @ X[a]) + eta * y[a] + K * T
output f
"""
ALONE = """\
width n
size K = 3
param eta = 0.1
param T : int = 3
param variance = 1.0
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, variance)
for t in range(T):
    f[t] = moment(v * tanh(W @ tanh(W @ v)))
    W -= eta * grad(f[t], W)
output f
"""
ONLY_X = HEAD.replace("input y : [P]\n", "") + "output moment(v * U @ X[P-1])**2 + eta + K + T as f\n"
ONLY_Y = HEAD.replace("input X : [P, d]\n", "").replace("matrix U : [n, d] ~ normal(0, 1/d)\n", "").replace("P, d", "P") \
    + "output y[0] * moment(v*v) as f\n"
KERNEL = """\
width n
size P, d
param L : int = 1
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1/n)
for a in range(P):
    f[a] = L * dot(v, tanh(U @ X[a]))
for a in range(P):
    for b in range(P):
        nngp[a, b] = cov(f[a], f[b])
output nngp
"""
DEEP = """\
width n
param L : int = 4
matrix W[L] : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
x = v
for l in range(L):
    {step}
output moment(x*x) as q
"""
HEAVY = "width n\nvector v : [n] ~ normal(0, 1)\nmatrix W : [n, n] ~ normal(0, 1/n)\noutput moment(exp(2*(W @ v))) as m\n"
KERNEL_REGIME = """\
width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    f[a] = dot(v, tanh(U @ X[a])) / sqrt(n)
output f
"""
ADAM = """\
width n
param eta = 0.1
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)
G = n * grad(moment(v * tanh(W @ v)), W)
W -= eta/n * G / sqrt(G**2 + 0.01)
output moment(v * tanh(W @ v)) as f
"""


@dataclass(frozen=True)
class Setting:
    """What an example stands in.

    Attributes:
        program: that of `model.tp` and of `program`; in the place of `{}`, the example.
        command: what is run after an example that is the content of `file`, or that writes it.
        before: Python that is run before the example.
    """

    program: str = MODEL
    command: str | None = None
    file: str | None = None
    before: str = ""


SETTINGS = {
    "TP601": Setting(HEAD + "{}\noutput f\n"),
    "TP602": Setting(HEAD + "input ids : [T] int\nx = W @ v\n{}\noutput moment(h[T]*h[T]) as q\n"),
    "TP603": Setting(HEAD + "{}\noutput f\n"),
    "TP611": Setting(ONLY_X, command="tpc run model.tp X=X.npy", file="X.npy"),
    "TP613": Setting(command="tpc run model.tp X=X.csv y=one.csv", file="X.csv"),
    "TP614": Setting(command="tpc run model.tp X=X.csv y=two.csv", file="X.csv"),
    "TP615": Setting(command="tpc run model.tp X=X.csv y=one.csv", file="X.csv"),
    "TP621": Setting(ONLY_X),
    "TP622": Setting(ONLY_Y),
    "TP624": Setting(ONLY_X, before="X[3, 2] = numpy.nan"),
    "TP625": Setting(ONLY_Y),
    "TP626": Setting("width n\nsize P\ninput ids : [P] int\nvector w[3] : [n] ~ normal(0, 1)\n"
                     "output moment(w[ids[0]] * w[ids[1]]) as q\n"),
    "TP627": Setting(MODEL.replace("param eta = 0.1", "param eta")),
    "TP629": Setting("width n\n{}\nvector w[K] : [n] ~ normal(0, 1)\noutput moment(w[0]*w[K-1]) as q\n"),
    "TP630": Setting("width n\nsize K = 3\nvector w[K] : [n] ~ normal(0, 1)\noutput moment(w[0]*w[0]) as q\n"),
    "TP632": Setting(KERNEL),
    "TP640": Setting("width n\nparam eta = 0.1\nparam T : int = 60\ninput X : [4, 3]\ninput y : [4]\nmatrix U : [n, 3] ~ normal(0, 1)\n"
                     "vector v : [n] ~ normal(0, 1)\nfor t in range(T):\n    f[t] = moment(v * U @ X[0]) - y[0]\n"
                     "    v -= eta * n * grad(f[t]**2 / 2, v)\noutput f\n"),
    "TP641": Setting("width n\nvector v : [n] ~ normal(0, 1)\n{}\n"),
    "TP642": Setting(KERNEL, before="X = X[:3]\nX[1:] = X[0] * (1 + 1e-9 * numpy.arange(2)[:, None])"),
    "TP643": Setting("width n\nvector v : [n] ~ normal(0, 1)\noutput moment(v*v*v*v) as m\n"),
    "TP644": Setting(DEEP, command="tpc run model.tp --limit L=2,4,8,16 --samples 256 --replicates 2"),
    "TP645": Setting("width n\nmatrix W : [n, n] ~ normal(0, 1/n)\nvector v : [n] ~ normal(0, 1)\nvector w : [n] ~ normal(0, 1)\n"
                     "f = exp(3*moment(abs(v*w)))\ng = moment(abs(v*w))\noutput f, g\n"),
    "TP718": Setting(KERNEL_REGIME),
    "TP720": Setting("width n\nparam eta = 0.1\nvector h : [n] ~ normal(0, 1)\n{}\noutput f\n",
                     command="tpc mup model.tp"),
    "TP721": Setting("width n\nsize d\nparam eta = 0.1\ninput x : [d]\nparam y = 1\nmatrix U : [n, d] ~ normal(0, 1/d)\n"
                     "vector v : [n] ~ normal(0, 1/n**2)\n{}\n", command="tpc mup model.tp"),
    "TP723": Setting("width n\nparam eta = 0.1\nvector u : [n] ~ normal(0, 1)\n{}\noutput moment(u*v) as f\n",
                     command="tpc mup model.tp --rewrite new.tp"),
    "TP730": Setting(TRAINED),
    "TP646": Setting(HEAD.replace("input y : [P]\n", "") + "for a in range(P):\n    f[a] = moment(tanh(W @ relu(U @ X[a]))**4)\noutput f\n",
                     before="numpy.savez('data.npz', X=numpy.random.default_rng(0).standard_normal((60, 20)))"),
    "TP724": Setting(ALONE),
    "TP732": Setting(HEAD + "{}\noutput f\n", command="tpc run model.tp data.npz --plot out.png"),
    "TP733": Setting(KERNEL.replace("param L : int = 1", "param L : int")),
}
SETTINGS |= dict.fromkeys(("TP612",), Setting(ONLY_X))
SETTINGS |= dict.fromkeys(("TP633", "TP702", "TP703", "TP706", "TP707"), Setting(ALONE))
SETTINGS |= dict.fromkeys(("TP708", "TP722", "TP734", "TP735"), Setting(TRAINED))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that examples name."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((4, 3)), rng.choice([-1.0, 1.0], 4)
    np.savez("data.npz", X=X, y=y)
    np.savez("other.npz", X=-X, y=y)
    np.savez("large.npz", X=rng.standard_normal((400, 3)), y=rng.standard_normal(400))
    np.save("y.npy", y)
    for name in ("X.npy", "features.npy", "train-features.npy"):
        np.save(name, X)
    for name, array in (("features.csv", X), ("features.txt", X), ("labels.csv", y), ("one.csv", y[:1]), ("two.csv", y[:2])):
        np.savetxt(name, array, delimiter=",")
    Path("adam.tp").write_text(ADAM)
    Path("trained.tp").write_text(ALONE)
    Path("rotated.tp").write_text(ROTATED)
    Path("kernel_regime.tp").write_text(KERNEL_REGIME)
    Path("deep.tp").write_text(DEEP.format(step="x += W[l] @ x / sqrt(L)"))
    return tmp_path


def codes_of(example: str, setting: Setting) -> str:
    """What a user sees of an example: output, and the codes of what was raised or warned of."""
    program = setting.program.replace("{}", example).replace("{step}", example)
    Path("model.tp").write_text(program)
    exec(setting.before, {"numpy": np, "X": np.zeros((4, 3))})
    if setting.command is not None:
        if setting.file is not None and setting.file.endswith(".csv"):
            Path(setting.file).write_text(example + "\n")
        elif setting.file is not None:
            by_python(example, setting, program)
        return by_command(setting.command)
    if example.startswith("tpc "):
        return "\n".join(by_command(line) for line in example.splitlines())
    if re.match(r"(program|numpy|LimitKernel)\b", example):
        return by_python(example, setting, program)
    return by_python("program.run(fitting)", setting, program)


def by_command(line: str) -> str:
    arguments = shlex.split(line, comments=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = CliRunner().invoke(main, arguments[1:])
        if result.exit_code == 2 and "error[" not in result.output:
            result = CliRunner().invoke(main, [*arguments[1:], "--json"])  # codes of command lines are shown there
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output + f"\nexit code {result.exit_code}"


def by_python(code: str, setting: Setting, text: str) -> str:
    data = dict(np.load("data.npz"))
    data["ids"] = np.array([1, 0, 2])
    X, y = np.tile(data["X"], (25, 1)), np.tile(data["y"], 25)
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = tensorprog.compile(text)
            fitting = {i.name: data[i.name] for i in program.program.inputs if i.name in data}
            names = {"program": program, "tensorprog": tensorprog, "numpy": np, "X": X, "y": y, "labels": y, "fitting": fitting,
                     "data": fitting, "rows": X,
                     "list_of_rows_of_different_length": np.array([[1.0], [1.0, 2.0]], dtype=object)}
            if "LimitKernel" in code:
                pytest.importorskip("sklearn")
                from tensorprog.sklearn import LimitKernel

                names["LimitKernel"] = LimitKernel
            exec(setting.before, names)
            *before, last = code.split("\n")
            exec("\n".join(before), names)
            is_value = not re.match(r"\w+ = ", last)
            result = eval(last.split("  #")[0], names) if is_value else exec(last, names)
            said += [f"[{w.code}]" for w in getattr(result, "warnings", ())]
        except ProgramError as error:
            said.append(str(error))
    return "\n".join(said)


#: What takes more than an example: an interrupted run, a machine without memory, a cluster, minutes of work; packages that
#: are not installed.
ELSEWHERE = {"TP714": "evaluators/test_resume_particles.py", "TP709": "interface/test_cli.py",
             "TP736": "extras/test_dask.py", "TP731": "interface/test_results.py"}


@pytest.mark.parametrize("code", [code for code in ENTRIES if code not in (*ELSEWHERE, "TP713")])
def test_examples_do_what_their_page_says(code, folder):
    entry, setting = ENTRIES[code], SETTINGS.get(code, Setting())
    bad = codes_of(entry.bad, setting)
    assert f"[{code}]" in bad or f'"code": "{code}"' in bad, bad
    good = codes_of(entry.good, setting)
    assert f"[{code}]" not in good and "error[" not in good, good


@pytest.mark.parametrize("code", ELSEWHERE)
def test_other_codes_are_tested_elsewhere(code):
    assert code in (ROOT / "tests" / ELSEWHERE[code]).read_text(encoding="utf-8")


def test_too_many_covariances(folder, monkeypatch):
    """The number that is too large is made small: millions take minutes."""
    from tensorprog.evaluators import covariance

    load = covariance.load_module

    def of_two(text):
        module = load(text)
        monkeypatch.setattr(module, "run", partial(module.run, limit=2))
        return module

    monkeypatch.setattr(covariance, "load_module", of_two)
    program = ONLY_X.replace("output", "h = W @ tanh(U @ X[0])\noutput moment(tanh(h)*tanh(W @ tanh(h))) as q\noutput")
    assert "[TP713]" in codes_of(ENTRIES["TP713"].bad.replace("large.npz", "X=X.npy"), Setting(program))


def test_extras_that_are_named_exist():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for code in ("TP731",):
        for name in re.findall(r"\[(.*)\]", ENTRIES[code].good)[0].split(","):
            assert name in setup["options.extras_require"], name
