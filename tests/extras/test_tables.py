"""pandas and xarray."""

from __future__ import annotations

import numpy as np
import pytest
from result_example import example

pandas = pytest.importorskip("pandas")
xarray = pytest.importorskip("xarray")


def test_a_tidy_table():
    result = example()
    table = result.to_pandas()
    assert list(table.columns) == ["output", "t", "a", "value", "error"]
    assert len(table) == result["f"].size + result["loss"].size + 1
    row = table[(table.output == "f") & (table.t == 2) & (table.a == 1)].iloc[0]
    assert row.value == result["f"][2, 1] and row.error == result.error["f"][2, 1]
    assert table[table.output == "q"].t.isna().all()


def test_one_output():
    result = example()
    table = result.to_pandas("loss")
    assert list(table.columns) == ["t", "value", "error"]
    np.testing.assert_array_equal(table.value, result["loss"])
    draws = result.to_pandas("joint")
    assert list(draws.columns) == ["v", "h[0]"]
    np.testing.assert_array_equal(draws.to_numpy(), result["joint"])


def test_a_dataset():
    result = example()
    data = result.to_xarray()
    assert data.f.dims == ("t", "a") and data.q.dims == ()
    assert data.joint.dims == ("draw", "joint_vector")
    np.testing.assert_array_equal(data.joint.sel(joint_vector="v"), result["joint"][:, 0])
    np.testing.assert_array_equal(data.f_error, result.error["f"])
    assert data.attrs["eta"] == result.settings["eta"] and data.f.attrs["method"] == "particles"


def test_an_index_that_runs_over_other_numbers_is_another_dimension():
    from tensorprog.results import Result

    values = {"f": np.zeros((3, 2)), "g": np.zeros(4)}
    result = Result(values, {n: 0 * v for n, v in values.items()}, dict.fromkeys(values, "span"),
                    axes={"f": ("t", "a"), "g": ("t",)})
    assert result.to_xarray().g.dims == ("g_t",)


def test_netcdf_is_what_xarray_reads(tmp_path):
    result = example()
    result.save(tmp_path / "out.nc")
    with xarray.open_dataset(tmp_path / "out.nc", engine="scipy") as found:
        wanted = result.to_xarray()
        for name in wanted.data_vars:
            assert found[name].dims == wanted[name].dims
            np.testing.assert_array_equal(found[name], wanted[name])
