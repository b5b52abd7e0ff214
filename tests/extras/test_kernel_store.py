"""Kernels that are streamed to Zarr by blocks of rows."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import tensorprog
from tensorprog import ProgramError
from tensorprog.cli import main

zarr = pytest.importorskip("zarr")

from tensorprog.kernel_store import stream_kernels  # noqa: E402

PROGRAM = """
width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1/n)
for a in range(P):
    f[a] = dot(v, tanh(U @ X[a]))
for a in range(P):
    for b in range(P):
        nngp[a, b] = cov(f[a], f[b])
        theta[a, b] = 1/n * ntk(f[a], f[b]; U, v)
output nngp, theta
"""
X = np.random.default_rng(0).standard_normal((11, 3))


@pytest.fixture(scope="module")
def program():
    return tensorprog.compile(PROGRAM)


@pytest.mark.parametrize("rows", [1, 4, 11, 50, None])
def test_blocks_make_the_kernel(program, rows, tmp_path):
    found = stream_kernels(program, X, path=tmp_path / "k.zarr", rows=rows)
    group, whole = zarr.open_group(str(tmp_path / "k.zarr"), mode="r"), program.kernels(X)
    for name in ("nngp", "theta"):
        assert found.shapes[name] == (11, 11) and found.errors[name] < 1e-9
        assert np.allclose(group[name][:], whole[name], rtol=1e-12, atol=1e-14)
    assert not list(tmp_path.glob(".tpc-*"))


def test_other_columns_and_float32(program, tmp_path):
    stream_kernels(program, X, X[:3] + 1, path=tmp_path / "k.zarr", rows=4, dtype="float32")
    group = zarr.open_group(str(tmp_path / "k.zarr"), mode="r")
    assert group["nngp"].shape == (11, 3) and group["nngp"].dtype == np.float32
    assert np.allclose(group["nngp"][:], program.kernels(X, X[:3] + 1)["nngp"], rtol=1e-4)


def test_a_group_is_replaced_whole_or_not_at_all(program, tmp_path, monkeypatch):
    path = tmp_path / "k.zarr"
    stream_kernels(program, X, path=path, rows=4)
    stream_kernels(program, X[:5], path=path, rows=4)
    assert zarr.open_group(str(path), mode="r")["nngp"].shape == (5, 5)

    def stopped(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream_kernels(program, X, path=path, rows=4, progress=stopped)
    assert zarr.open_group(str(path), mode="r")["nngp"].shape == (5, 5) and not list(tmp_path.glob(".tpc-*"))
    (tmp_path / "other.zarr").mkdir()
    for bad in (tmp_path / "other.zarr", tmp_path / "missing" / "k.zarr"):
        with pytest.raises(ProgramError, match="TP707"):
            stream_kernels(program, X, path=bad)
    with pytest.raises(ProgramError, match="TP708"):
        stream_kernels(program, X, path=path, rows=0)


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("X.npy", X)
    (tmp_path / "k.tp").write_text(PROGRAM)
    done = CliRunner().invoke(main, ["kernels", "k.tp", "X=X.npy", "-o", "k.zarr", "--rows", "3"])
    assert done.exit_code == 0 and "nngp [11, 11] in k.zarr" in done.output, done.output
    told = CliRunner().invoke(main, ["kernels", "k.tp", "X=X.npy", "-o", "k.zarr", "--json"])
    assert json.loads(told.stdout)["shapes"]["theta"] == [11, 11]
    assert CliRunner().invoke(main, ["kernels", "k.tp", "X=X.npy", "-o", "k.zarr", "--plot", "k.png"]).exit_code == 2
    assert CliRunner().invoke(main, ["kernels", "k.tp", "X=X.npy", "--rows", "3"]).exit_code == 2


def test_workers_write_the_same(program, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        stream_kernels(program, X, path=tmp_path / "there.zarr", rows=2, scheduler=cluster.scheduler_address)
    stream_kernels(program, X, path=tmp_path / "here.zarr", rows=2)
    there, here = (zarr.open_group(str(tmp_path / f"{name}.zarr"), mode="r")["nngp"][:] for name in ("there", "here"))
    assert np.array_equal(there, here)


SMALL = """
import resource, sys
import numpy as np, tensorprog
from tensorprog.kernel_store import stream_kernels
program = tensorprog.compile(open(sys.argv[1]).read())
X = np.random.default_rng(0).standard_normal((int(sys.argv[2]), 3))
stream_kernels(program, X[:100], path=sys.argv[3], rows=50, threads=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stream_kernels(program, X, path=sys.argv[3], rows=100, threads=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_that_of_a_block(tmp_path):
    """Two kernels of 4000 rows take 256 MB; a block of 100 rows of both is 6.4 MB."""
    (tmp_path / "k.tp").write_text(PROGRAM)
    done = subprocess.run([sys.executable, "-c", SMALL, tmp_path / "k.tp", "4000", tmp_path / "k.zarr"], capture_output=True,
                          text=True, check=True)
    assert int(done.stdout) * (1 if sys.platform == "darwin" else 1024) < 100e6
