"""What compiling found out is kept on disk: the second run starts from it, and whatever is wrong with it is made again."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tensorprog
from tensorprog.cache_folder import evict
from tensorprog.diagnostics import Source
from tensorprog.kept import Shelf

PROGRAM = """
width n
param c = 1.0
vector u : [n] ~ normal(0, 1)
vector w : [n] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1/n)
h = c * u
for t in range(3):
    h = W @ h
z = tanh(W @ sin(u) + u)
k = W @ w
output moment(h*u) as linear, moment(relu(u + c*W @ relu(u))**2) as exact, moment(tanh(z*w + sin(u*z*k)*w + k*z)) as sampled
"""

RUN = """
import json, sys, tensorprog
result = tensorprog.compile(sys.argv[1]).run({}, samples=256, replicates=2)
loaded = [m for m in ("sympy", "lark", "scipy.stats", "tensorprog.covariance.system") if m in sys.modules]
print(json.dumps([result.method, {k: float(result[k]) for k in result.method}, loaded]))
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TENSORPROG_NO_CACHE")
    return tmp_path / "tensorprog" / "programs"


def run():
    done = subprocess.run([sys.executable, "-c", RUN, PROGRAM], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_second_run_needs_no_compiler(cache):
    method, first, _ = run()
    assert method == {"linear": "span", "exact": "covariance", "sampled": "particles"}
    assert run() == [method, first, []]
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    assert run()[:2] == [method, first]
    assert run() == [method, first, []]


def test_a_shelf_depends_on_text_settings_and_name(cache):
    def path(text, name="a.tp", **settings):
        return Shelf(Source(name, text), settings)._path("plan")

    assert path("x") == path("x")
    different = [path("x"), path("y"), path("x", name="b.tp"), path("x", c=1), path("x", c=1.0), path("x", d=1)]
    assert len(set(different)) == len(different)


def test_a_shelf_depends_on_the_compiler(cache, monkeypatch):
    before = Shelf(Source("a.tp", "x"), {})._path("plan")
    monkeypatch.setattr("tensorprog.kept._package_digest", lambda: b"another version")
    assert Shelf(Source("a.tp", "x"), {})._path("plan") != before


def test_what_is_kept_is_what_was_found(cache):
    made = tensorprog.compile(PROGRAM)
    made.plan
    kept = tensorprog.compile(PROGRAM)
    assert kept.kept is not None
    for stage in ("ast", "program", "limit", "plan", "text"):
        assert kept.emit(stage) == made.emit(stage)
    assert list(kept.compiled.covered.system.equations) == list(made.compiled.covered.system.equations)
    assert kept.compiled.original is kept.program
    (output, *_) = kept.plan.choices
    assert output.output.cell is kept.compiled.limit.outputs[0].cell


def test_warnings_are_kept(cache):
    text = "width n\nvector v : [n] ~ normal(0, 1)\nf = dot(v, v) / n**2\noutput f\n"
    first = tensorprog.compile(text)
    first.compiled
    second = tensorprog.compile(text)
    second.compiled
    assert second.kept is not None
    assert [d.code for d in second.warnings] == [d.code for d in first.warnings]


def test_nothing_is_kept_where_that_is_not_wanted(cache, monkeypatch):
    monkeypatch.setenv("TENSORPROG_NO_CACHE", "1")
    tensorprog.compile(PROGRAM).plan
    assert not cache.exists()


def test_kernels_over_pairs_are_found_again(cache):
    text = ("width n\nsize P, d\ninput X : [P, d]\nmatrix U : [n, d] ~ normal(0, 1/d)\nvector v : [n] ~ normal(0, 1)\n"
            "for a in range(P):\n    f[a] = dot(v, relu(U @ X[a])) / sqrt(n)\nfor a in range(P):\n    for b in range(P):\n"
            "        K[a, b] = cov(f[a], f[b])\noutput K\n")
    X = np.random.default_rng(0).normal(size=(5, 3))
    first = tensorprog.compile(text).kernels(X)["K"]
    again = tensorprog.compile(text)
    assert again.kept is not None
    assert np.array_equal(again.kernels(X)["K"], first)
    assert np.array_equal(again.run({"X": X})["K"], tensorprog.compile(text).run({"X": X})["K"])


def test_the_oldest_files_go_first(tmp_path):
    for k in range(10):
        path = tmp_path / f"part{k % 2}" / f"file{k}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (k, k))
    evict(tmp_path, 1000)
    assert len(list(tmp_path.rglob("file*"))) == 10
    evict(tmp_path, 900)
    assert sorted(p.name for p in tmp_path.rglob("file*")) == [f"file{k}" for k in range(4, 10)]
