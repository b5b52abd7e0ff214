"""Arrays from files, and results to files."""

from __future__ import annotations

import io
import os
import stat
import zipfile

import numpy as np
import pytest

import tensorprog
from tensorprog.bind import check_headers
from tensorprog.data import load_data
from tensorprog.diagnostics import ProgramError
from tensorprog.files import write_text, write_whole
from tensorprog.results import Result, first_divergence
from tensorprog.results_text import with_error
from tensorprog.save import save_results


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, text):
    with open(name, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    return name


def mistake(*arguments):
    with pytest.raises(ProgramError) as caught:
        load_data(arguments)
    (found,) = caught.value.diagnostics
    return found.code, found.message


# --- arrays --------------------------------------------------------------------------------------------------


def test_all_kinds_together():
    np.savez("data.npz", X=np.eye(2), order=np.array([1, 0]))
    np.save("labels.npy", np.arange(3))
    write("w.csv", "1,2\n3,4\n")
    data = load_data(["data.npz", "y=labels.npy", "w.csv"])
    assert list(data) == ["X", "order", "y", "w"]
    assert data["order"].dtype.kind == "i"
    assert data["w"].tolist() == [[1, 2], [3, 4]]


def test_a_named_archive_of_one_array():
    np.savez("one.npz", arr_0=np.eye(2))
    assert load_data(["X=one.npz"])["X"].shape == (2, 2)
    np.savez("two.npz", a=1, b=2)
    assert mistake("X=two.npz") == ("TP616", "'two.npz' holds 2 arrays, so that `X=` does not say which")


def test_files_that_are_missing_or_unknown():
    assert mistake("data.npz") == ("TP610", "there is no file 'data.npz'")
    write("data.txt", "1")
    assert mistake("X=data.txt")[0] == "TP612"
    assert mistake("X=")[0] == "TP616"
    os.mkdir("folder.npz")
    assert mistake("folder.npz")[0] == "TP610"


def test_damaged_files():
    for name in ("a.npz", "a.npy"):
        write(name, "not an array")
        code, message = mistake(name)
        assert code == "TP611"
        assert name in message
    np.savez("whole.npz", X=np.eye(50))
    with open("whole.npz", "rb") as whole, open("half.npz", "wb") as half:
        half.write(whole.read()[:300])
    assert mistake("half.npz")[0] == "TP611"
    write("empty.npy", "")
    assert mistake("empty.npy")[0] == "TP611"


def test_nothing_is_unpickled():
    objects = np.array([[1], [1, 2]], dtype=object)
    np.save("X.npy", objects, allow_pickle=True)
    np.savez("X.npz", X=objects)
    expected = "holds Python objects, which tpc does not unpickle"
    assert expected in mistake("X.npy")[1]
    assert expected in mistake("X.npz")[1]


def test_kinds_swapped():
    np.save("a.npy", np.eye(2))
    os.rename("a.npy", "a.npz")
    assert mistake("a.npz") == ("TP611", "'a.npz' holds a single array")
    np.savez("b.npz", np.eye(2))
    os.rename("b.npz", "b.npy")
    assert mistake("b.npy") == ("TP611", "'b.npy' holds several arrays")


def test_names():
    np.save("X.npy", np.eye(2))
    np.save("my-data.npy", np.eye(2))
    assert mistake("X.npy", "X=my-data.npy") == ("TP616", "'X' is given twice: by 'X.npy' and by 'my-data.npy'")
    assert mistake("my-data.npy")[0] == "TP616"
    assert mistake("my-x=X.npy")[0] == "TP616"
    np.save("a=b.npy", np.eye(2))
    assert mistake("a=b.npy")[0] == "TP616"
    assert list(load_data(["X=a=b.npy"])) == ["X"]


# --- csv -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [
    ("1,2\n3,4\n", [[1, 2], [3, 4]]),
    ("a, b\n1, 2\n", [[1, 2]]),
    ("1\n2\n3", [1, 2, 3]),
    ("label\r\n1\r\n2\r\n", [1, 2]),
    ("# made by hand\n\n1,2e-3\n\n", [[1, 0.002]]),
    ('"x","y"\n"1","2"\n', [[1, 2]]),
    ("\ufeff1,2\n", [[1, 2]]),
    ("5", [5]),
])
def test_csv(text, value):
    write("X.csv", text)
    assert load_data(["X.csv"])["X"].tolist() == value


@pytest.mark.parametrize(("text", "code", "message"), [
    ("", "TP613", "'X.csv' has no rows of numbers"),
    ("a,b\n", "TP613", "'X.csv' has no rows of numbers"),
    ("1,2\n3\n", "TP614", "'X.csv', line 2: 1 column, but line 1 has 2 columns"),
    ("1,2\n\n3,4,5\n", "TP614", "'X.csv', line 3: 3 columns, but line 1 has 2 columns"),
    ("a,b\n1,2\n3,cat\n", "TP615", "'X.csv', line 3, column 2 ('b'): 'cat' is not a number"),
    ("1,x\n", "TP615", "'X.csv', line 1, column 2: 'x' is not a number"),
    ("1,2\n3,\n", "TP615", "'X.csv', line 2, column 2: the cell is empty"),
])
def test_csv_mistakes(text, code, message):
    write("X.csv", text)
    assert mistake("X.csv") == (code, message)


@pytest.mark.parametrize("text, value", [
    (",a,b\n0,1.5,2\n1,3,4\n", [[1.5, 2.0], [3.0, 4.0]]),
    (",a,b\nfirst,1.5,2\nsecond,3,4\n", [[1.5, 2.0], [3.0, 4.0]]),
    (",0,1\n0,1.5,2\n1,3,4\n", [[1.5, 2.0], [3.0, 4.0]]),
    (",Unnamed: 0,a,b\n0,0,1.5,2\n", [[1.5, 2.0]]),
    (",y\n0,1.5\n1,3\n", [1.5, 3.0]),
    ("a,,b\n0,1,2\n", [[0.0, 1.0, 2.0]]),
])
def test_csv_with_the_index_of_pandas(text, value):
    write("X.csv", text)
    assert load_data(["X.csv"])["X"].tolist() == value


def test_csv_with_another_separator():
    write("X.csv", "a;b\n1;2\n")
    with pytest.raises(ProgramError) as caught:
        load_data(["X.csv"])
    assert caught.value.diagnostics[0].help == "separate the columns by commas"


def test_csv_in_another_encoding():
    with open("X.csv", "wb") as file:
        file.write("größe\n1\n".encode("latin-1"))
    assert mistake("X.csv")[0] == "TP611"


# --- results -------------------------------------------------------------------------------------------------


def result(**settings):
    return Result({"f": np.array([[1.0, 2.0]]), "loss": np.array(0.5)}, {"f": np.array([[0.1, 0.2]]), "loss": 0.0},
                  {"f": "particles", "loss": "covariance"}, settings=settings, samples={"f": np.zeros((3, 1, 2))})


def test_results_come_back():
    save_results("out.npz", result(eta=0.1))
    with np.load("out.npz", allow_pickle=False) as saved:
        assert saved["f"].tolist() == [[1, 2]]
        assert saved["f.error"].tolist() == [[0.1, 0.2]]
        assert str(saved["loss.method"]) == "covariance"
        assert str(saved[".settings"]) == '{"eta": 0.1}'
        assert saved["f.samples"].shape == (3, 1, 2)


def test_a_failure_keeps_the_old_file():
    save_results("out.npz", result())
    before = open("out.npz", "rb").read()

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ProgramError, match="TP707.*No space left"):
        write_whole("out.npz", fail)
    with pytest.raises(KeyboardInterrupt):
        write_whole("out.npz", lambda file: (_ for _ in ()).throw(KeyboardInterrupt))
    assert open("out.npz", "rb").read() == before
    assert os.listdir() == ["out.npz"]


def test_places_that_cannot_be_written():
    with pytest.raises(ProgramError, match="TP707"):
        save_results("nowhere/out.npz", result())
    with pytest.raises(ProgramError, match="TP612"):
        save_results("out.txt", result())


def test_permissions_and_links_survive():
    write_text("a.tp", "old")
    os.chmod("a.tp", 0o640)
    os.symlink("a.tp", "link.tp")
    write_text("link.tp", "new")
    assert os.path.islink("link.tp")
    assert open("a.tp").read() == "new"
    assert stat.S_IMODE(os.stat("a.tp").st_mode) == 0o640


# --- how results look ----------------------------------------------------------------------------------------


def test_a_result_is_a_mapping():
    r = result()
    assert list(r) == ["f", "loss"]
    assert r["f"].shape == r.error["f"].shape == (1, 2)
    assert r.error["loss"] == 0
    assert "particles" in r._repr_html_()
    assert r.as_dict()["results"]["loss"] == {"value": 0.5, "error": 0.0, "method": "covariance"}


def test_json_has_no_nan():
    r = Result({"f": np.array([1.0, np.nan])}, {"f": np.zeros(2)}, {"f": "finite"}, diverged={"f": 1})
    assert '"value": [1.0, null]' in r.to_json()
    assert '"diverged": {"f": 1}' in r.to_json()


def test_tables():
    values = {"s": np.array(0.12345), "v": np.arange(10.0), "m": np.zeros((20, 2)), "e": np.zeros((0, 3))}
    errors = {"s": np.array(0.0021), "v": np.full(10, 0.5), "m": np.zeros((20, 2)), "e": np.zeros((0, 3))}
    lines = Result(values, errors, dict.fromkeys(values, "particles")).table().split("\n")
    assert lines[:3] == ["s = 0.1235 +- 0.0021", "v [10]  (errors up to 5.0e-01)", "  0  1  2  3  4  ...  9"]
    assert lines[3:5] == ["m [20, 2]", "  [0]  0  0"]
    assert "  ... 14 more rows" in lines
    assert lines[-1] == "e [0, 3]"


@pytest.mark.parametrize(("value", "error", "text"), [
    (1.0, 0.0, "1"), (0.5, 0.25, "0.50 +- 0.25"), (123.4, 20.0, "123 +- 20"), (1e-30, 1e-32, "1e-30 +- 1.0e-32"),
    (float("nan"), 0.1, "nan"),
])
def test_values_with_errors(value, error, text):
    assert with_error(value, error) == text


def test_first_divergence():
    assert first_divergence(np.zeros((3, 2))) is None
    assert first_divergence(np.array(np.inf)) == (None,)
    values = np.array([[0, np.nan], [np.inf, 0]])
    assert first_divergence(values) == (0,)
    assert first_divergence(values, np.array([[False, True], [False, False]])) == (1,)
    assert first_divergence(values, np.array([True, True])) is None


# --- files that are not what they declare ---------------------------------------------------------------------


PROGRAM = "width n\nsize P = 3\ninput y : [P]\ninput X : [P, 2]\nvector v : [n] ~ normal(0, 1)\noutput moment(v*v)*sum(y)*sum(X) as q\n"


def bomb(path, shape, name="X", dtype="<f8"):
    """An .npz file whose array is large, and of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, \
            archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        left = int(np.prod(shape)) * np.dtype(dtype).itemsize
        chunk = bytes(1 << 24)
        while left > 0:
            left -= file.write(chunk[:left])


@pytest.mark.parametrize("name, shape, code", [("X", (3, 1 << 23), "TP623"), ("X", (1 << 23,), "TP622"),
                                               ("extra", (1 << 23,), "TP620")])
def test_shapes_are_checked_before_arrays_are_read(tmp_path, name, shape, code, monkeypatch):
    bomb(tmp_path / "d.npz", shape, name)
    program = tensorprog.compile(PROGRAM).program
    monkeypatch.setattr(np, "load", None)  # nothing is read
    with pytest.raises(ProgramError, match=code):
        load_data([str(tmp_path / "d.npz")], lambda headers: check_headers(program, headers, {}), ["X", "y"])


def test_arrays_that_are_not_wanted_are_not_read(tmp_path):
    np.savez(tmp_path / "d.npz", y=np.arange(3.0), other=np.ones((4, 4)))
    data = load_data([str(tmp_path / "d.npz")], lambda headers: None, ["y"])
    np.testing.assert_array_equal(data["y"], np.arange(3.0))
    assert data["other"].shape == (4, 4)
    assert not data["other"].any()


@pytest.mark.parametrize("make", [
    lambda good: b"", lambda good: good[:20], lambda good: good[:-3], lambda good: good + b"1234", lambda good: good[::-1],
    lambda good: good.replace(b"(3,)", b"(9,)"), lambda good: good.replace(b"<f8", b"|O8"),
    lambda good: good.replace(b"(3,)", b"(-3,)"), lambda good: good.replace(b"'shape'", b"'shave'"),
    lambda good: good.replace(b"(3,)", b"(3.)"), lambda good: good[:6] + b"\x09" + good[7:],
    lambda good: np.random.default_rng(0).bytes(200),
])
def test_a_damaged_array_is_a_mistake(tmp_path, make):
    file = io.BytesIO()
    np.save(file, np.arange(3.0))
    content = make(file.getvalue())
    (tmp_path / "y.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("y.npy", content)
    for name in ("y.npy", "d.npz"):
        with pytest.raises(ProgramError, match="TP611"):
            load_data([str(tmp_path / name)], lambda headers: None)


def test_random_bytes_are_mistakes_in_every_kind_of_file(tmp_path):
    random = np.random.default_rng(1)
    good = io.BytesIO()
    np.savez_compressed(good, y=np.arange(3.0))
    for number in range(60):
        content = bytearray(good.getvalue()) if number % 2 else bytearray(random.bytes(150))
        for place in random.integers(0, len(content), 4):
            content[place] = random.integers(256)
        for extension in ("npz", "npy", "csv", "tp"):
            path = tmp_path / f"y.{extension}"
            path.write_bytes(content)
            try:
                if extension == "tp":
                    tensorprog.compile(path)
                else:
                    load_data([str(path)], lambda headers: None)
            except ProgramError as error:
                assert error.diagnostics
