"""What is done with results: elements, tables, files, pictures, displays in notebooks."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from result_example import PROGRAM, X
from scipy.io import netcdf_file

import tensorprog
from tensorprog.axes import axes_of_outputs
from tensorprog.cli import main
from tensorprog.diagnostics import ProgramError
from tensorprog.results import Result
from tensorprog.selection import element, select

KERNEL = """
width n
size P, d
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    f[a] = dot(v, relu(U @ X[a])) / sqrt(n)
for a in range(P):
    for c in range(P):
        K[a, c] = cov(f[a], f[c])
output K
"""


@pytest.fixture(scope="module")
def result() -> Result:
    return tensorprog.compile(PROGRAM).run({"X": X}, samples=64, replicates=2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.tp").write_text(PROGRAM)
    Path("kernel.tp").write_text(KERNEL)
    np.savez("data.npz", X=X)
    return tmp_path


def tpc(*arguments: str):
    return CliRunner().invoke(main, arguments)


# --- elements ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "index"), [
    ("loss", ()), ("loss[-1]", (-1,)), (" loss[ -1 ] ", (-1,)), ("f[0, 1]", (0, 1)), ("f[::2, 1]", (slice(None, None, 2), 1)),
    ("f[1:3]", (slice(1, 3),)), ("f[:, -1]", (slice(None), -1)), ("f[-1,]", (-1,)), ("f[::-1]", (slice(None, None, -1),))])
def test_elements(text, index):
    array = np.arange(12.0).reshape(4, 3)
    name, found = select(text, ["loss", "f"])
    assert text.strip().startswith(name) and found == index
    if name == "f":
        np.testing.assert_array_equal(element(text, found, array), array[index])


def test_the_longest_name_is_meant():
    """An output without a name of its own is called by its expression."""
    assert select("f[0]", ["f", "f[0]"]) == ("f[0]", ())
    assert select("f[0][1]", ["f", "f[0]"]) == ("f[0]", (1,))
    assert select("f[1]", ["f", "f[0]"]) == ("f", (1,))


@pytest.mark.parametrize("text", ["los", "loss[x]", "loss[]", "loss[1.5]", "loss[::0]", "loss[1", "loss[5]", "loss[0, 0]", ""])
def test_what_is_not_there(result, text):
    with pytest.raises(ProgramError, match="TP730"):
        result.only([text])


def test_a_part_of_a_result(result):
    part = result.only(["loss[-1]", "f[1:]", "joint"])
    assert list(part) == ["loss[-1]", "f[1:]", "joint"]
    assert part["loss[-1]"] == result["loss"][-1] and part.error["loss[-1]"] == result.error["loss"][-1]
    np.testing.assert_array_equal(part["f[1:]"], result["f"][1:])
    assert part.columns == {"joint": ("v", "h[0]")}


def test_only_that_is_printed(folder):
    shown = tpc("run", "model.tp", "data.npz", "--samples", "64", "--replicates", "2", "--show", "loss[-1]", "--show", "q")
    assert shown.exit_code == 0
    assert [line.split(" = ")[0] for line in shown.stdout.splitlines()] == ["loss[-1]", "q"]
    found = tpc("simulate", "model.tp", "data.npz", "--width", "8,16", "--show", "f[0]", "--json")
    assert [list(w["results"]) for w in json.loads(found.stdout)["widths"]] == [["f[0]"]] * 2
    assert tpc("run", "model.tp", "data.npz", "--show", "f[9]").exit_code == 2


def test_the_first_and_the_last_rows():
    values = {"f": np.arange(30.0).reshape(10, 3)}
    lines = Result(values, {"f": 0 * values["f"]}, {"f": "span"}).table().splitlines()
    assert [line.split("]")[0].strip(" [") for line in lines[1:]] == ["0", "1", "2", "3", "... 4 more rows", "8", "9"]


# --- names of indices --------------------------------------------------------------------------------------------


def test_indices_have_the_program_s_names(result):
    assert result.axes == {"f": ("t", "a"), "loss": ("t",), "q": (), "joint": ("dim_0", "dim_1")}


@pytest.mark.parametrize(("lines", "axes"), [
    (["for i_1 in range(P):", "    g[i_1] = 1.0*i_1", "for i_1 in range(P):", "    g[i_1] += 1"], ("i_1",)),
    (["for i in range(P):", "    s = 1.0", "for i in range(P):", "    g[i] = s*i"], ("i",)),
    (["g = V @ v"], ("K",)),
    (["for t in range(P):", "    g[t] = V @ v"], ("t", "K")),
    (["g[0] = 1.0", "g[1] = 2.0"], ("dim_0",)),
    (["for t in range(P):", "    g[t+1] = 1.0*t"], ("t",))])
def test_names_of_indices(lines, axes):
    text = "\n".join(["width n", "size P = 2", "size K = 3", "vector v : [n] ~ normal(0, 1)",
                      "matrix V : [K, n] ~ normal(0, 1/n**2)", *lines, "output g", ""])
    assert axes_of_outputs(tensorprog.compile(text).program) == {"g": axes}


# --- files -------------------------------------------------------------------------------------------------------


def test_csv_is_tidy(result, tmp_path):
    result.save(tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    found = {(r["t"], r["a"]): (float(r["value"]), float(r["error"])) for r in rows if r["output"] == "f"}
    assert found == {(str(t), str(a)): (result["f"][t, a], result.error["f"][t, a]) for t in range(3) for a in range(2)}
    draws = [r for r in rows if r["output"] == "joint"]
    assert len(draws) == 128 and {r["vector"] for r in draws} == {"v", "h[0]"}


def test_json_and_npz(result, tmp_path):
    result.save(tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(result.to_json())
    result.save(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["f"], result["f"])
        assert list(found["joint.columns"]) == ["v", "h[0]"]


def test_netcdf(result, tmp_path):
    result.save(tmp_path / "out.nc")
    with netcdf_file(tmp_path / "out.nc", mmap=False) as found:
        assert found.variables["f"].dimensions == ("t", "a")
        np.testing.assert_array_equal(found.variables["f_error"][:], result.error["f"])
        np.testing.assert_array_equal(found.variables["joint"][:], result["joint"])
        assert found.variables["q"].getValue() == result["q"]
        assert found.eta == 0.5


def test_netcdf_names_without_slashes(tmp_path):
    values = {"moment(x/2)": np.ones(2)}
    Result(values, {"moment(x/2)": np.zeros(2)}, {"moment(x/2)": "span"}).save(tmp_path / "out.nc")
    with netcdf_file(tmp_path / "out.nc", mmap=False) as found:
        assert "moment(x|2)" in found.variables


@pytest.mark.parametrize("name", ["out.txt", "out", "out.xlsx"])
def test_other_extensions_are_refused_before_the_run(folder, name):
    found = tpc("run", "model.tp", "data.npz", "-o", name)
    assert found.exit_code == 2 and "TP612" in found.stderr
    assert not Path(name).exists()


@pytest.mark.parametrize("name", ["out.NPZ", "out.csv", "out.json", "out.nc"])
def test_results_of_commands(folder, name):
    assert tpc("run", "model.tp", "data.npz", "--samples", "64", "--replicates", "2", "-o", name).exit_code == 0
    assert Path(name).stat().st_size > 100


def test_a_file_stays_when_writing_fails(result, tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("mine")
    broken = result.only(["f"])
    broken.axes["f"] = ("t",)
    with pytest.raises(ValueError):
        broken.save(path)
    assert path.read_text() == "mine" and [p.name for p in tmp_path.iterdir()] == ["out.csv"]


# --- kernels -----------------------------------------------------------------------------------------------------


def test_kernels_as_a_command(folder):
    np.save("other.npy", 2 * X[:1])
    found = tpc("kernels", "kernel.tp", "data.npz", "--second", "X=other.npy", "-o", "k.npz", "--plot", "k.png", "--show", "K[:, 0]")
    assert found.exit_code == 0 and found.stdout.startswith("K[:, 0] [2]")
    with np.load("k.npz") as kept:
        np.testing.assert_allclose(kept["K"], tensorprog.compile(KERNEL).kernels(X, 2 * X[:1])["K"])
    assert Path("k.png").read_bytes().startswith(b"\x89PNG")
    assert tpc("kernels", "model.tp", "data.npz").exit_code == 2


def test_kernels_are_displayed():
    kernels = tensorprog.compile(KERNEL).kernels(X)
    assert "<td>2 &times; 2</td>" in kernels._repr_html_()
    assert kernels.result().axes["K"] == ("a", "c")


# --- pictures ----------------------------------------------------------------------------------------------------


def panels(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_every_output_has_its_panels(result, tmp_path):
    figure = result.plot(tmp_path / "picture.png")
    assert panels(figure) == ["q", "f", "loss", "joint: v", "joint: h[0]", "joint"]
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_lines_show_the_numbers_with_bands_of_two_errors(result):
    axes = next(a for a in result.plot().axes if a.get_title() == "loss")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), result["loss"])
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx((result["loss"] + 2 * result.error["loss"]).max())
    assert axes.get_xlabel() == "t"


def test_networks_beside_the_limit(result):
    networks = [tensorprog.compile(PROGRAM).simulate({"X": X}, width=w, seeds=2) for w in (8, 16)]
    figure = result.plot(beside=networks)
    axes = next(a for a in figure.axes if a.get_title() == "loss")
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["limit", "width 8", "width 16"]
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), networks[1]["loss"])


def array_result(**values: np.ndarray) -> Result:
    return Result(values, {n: 0 * v for n, v in values.items()}, dict.fromkeys(values, "span"))


@pytest.mark.parametrize(("value", "titles"), [
    (np.eye(5), ["K"]), (np.eye(5)[None].repeat(2, 0), ["K[0, :, :]", "K[1, :, :]"]),
    (np.ones((40, 40)) * np.arange(40), ["K"]), (np.random.default_rng(0).normal(size=(20, 3, 7)), ["K (8 of 21)"]),
    (np.random.default_rng(0).normal(size=(3, 50)), ["K"]), (np.array([1.0, np.nan, 2.0]), ["K"]),
    (np.zeros((0, 3)), []), (np.full(4, np.nan), []), (np.zeros(1), ["K"]), (np.full((3, 3), 1e300), ["K"])])
def test_arrays_of_every_shape(value, titles, tmp_path):
    found = array_result(K=value)
    if not titles:
        with pytest.raises(ProgramError, match="TP732"):
            found.plot()
        return
    assert panels(found.plot(tmp_path / "k.svg")) == titles


def test_kinds_of_pictures(result, tmp_path):
    for name in ("a.png", "a.pdf", "a.svg", "a.PNG"):
        result.plot(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(ProgramError, match="TP711"):
        result.plot(tmp_path / "a.jpg")


def test_pictures_of_commands(folder):
    few = ("--samples", "64", "--replicates", "2")
    assert tpc("run", "model.tp", "data.npz", *few, "--plot", "a.png", "--beside", "8,16").exit_code == 0
    assert tpc("simulate", "model.tp", "data.npz", "--width", "8,16", "--plot", "b.png").exit_code == 0
    assert {p.name for p in Path().glob("*.png")} == {"a.png", "b.png"}
    assert tpc("run", "model.tp", "data.npz", "--beside", "8").exit_code == 2
    assert "TP711" in tpc("run", "model.tp", "data.npz", "--plot", "a.jpg").stderr


def test_matplotlib_is_imported_only_where_it_draws():
    code = (f"import tensorprog, sys, numpy; r = tensorprog.compile({PROGRAM!r}).run({{'X': numpy.eye(2)}}, samples=64, "
            "replicates=2); r.table(); r._repr_html_(); r.to_json(); "
            "assert not any(m.startswith('matplotlib') for m in sys.modules); r.plot(); assert 'matplotlib' in sys.modules; "
            "assert 'matplotlib.pyplot' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# --- what is not installed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("package", "use"), [("pandas", "to_pandas"), ("xarray", "to_xarray")])
def test_a_package_that_is_not_installed(result, monkeypatch, package, use):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ProgramError, match=rf"TP731.*{package}(?s:.*)tensorprog\[tables\]"):
        getattr(result, use)()


def test_verifications_are_displayed():
    found = tensorprog.compile(PROGRAM).verify({"X": X}, widths=(8, 16, 32, 64), seeds=3, samples=64, replicates=2)
    shown = found._repr_html_()
    assert shown.count("<tr>") == 1 + len(found.findings) and "standard errors" in shown
