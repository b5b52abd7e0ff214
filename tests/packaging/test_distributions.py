"""A wheel and a source distribution, built, installed into fresh environments, and used there."""

from __future__ import annotations

import os
import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from places import ROOT

USED = """
import importlib.resources, numpy, tensorprog
program = tensorprog.compile(\"\"\"
width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
for a in range(P):
    h[a] = W @ tanh(U @ X[a])
output moment(h[0]*h[1]) as covariance, moment(erf(h[0])*h[1]) as other, sample(h[0]) as joint
\"\"\")
result = program.run({"X": numpy.eye(2)}, samples=256, replicates=2)
assert abs(result["covariance"]) < 0.1 and result["joint"].shape == (256, 1)
assert importlib.resources.files("tensorprog").joinpath("py.typed").is_file()
assert "site-packages" in tensorprog.__file__
"""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([str(c) for c in command], cwd=cwd, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> Path:
    """The folder of both, built from a copy of what git knows of the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    copy = tmp_path_factory.mktemp("source")
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    builder = _environment(tmp_path_factory.mktemp("builder"))
    run(builder, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "build")
    run(builder, "-m", "build", "--outdir", folder, copy)
    return folder


def _environment(folder: Path) -> Path:
    """The Python of a fresh environment."""
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_a_distribution_installs_and_works(distributions, tmp_path, pattern):
    (distribution,) = distributions.glob(pattern)
    python = _environment(tmp_path / "env")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", distribution)
    run(python, "-c", USED, cwd=tmp_path)
    (tmp_path / "model.tp").write_text("width n\nvector v : [n] ~ normal(0, 1)\noutput moment(v*v) as q\n")
    assert run(python.parent / "tpc", "run", "model.tp", cwd=tmp_path).startswith("q = 1")


@pytest.mark.slow
def test_what_is_in_a_distribution(distributions):
    (wheel,), (source,) = distributions.glob("*.whl"), distributions.glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"tensorprog/py.typed", "tensorprog/grammar/tensorprog.lark", "tensorprog/cli.py"} <= names
    assert not [n for n in names if not n.startswith(("tensorprog/", "tensorprog-"))]
    with tarfile.open(source) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "grammar/tensorprog.lark", "docs/language.md",
            "examples/digits.tp", "tests/conftest.py", "docs/editors/vscode/package.json"} <= inside
    assert not [n for n in inside if n.endswith((".pyc", ".nbi", ".nbc"))]
