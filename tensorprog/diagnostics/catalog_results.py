"""TP73x: results, and packages that are needed for some of what is done with them."""

from __future__ import annotations

from tensorprog.diagnostics.catalog import CatalogEntry

ENTRIES = {
    "TP730": CatalogEntry(
        "a part of the results that is not there",
        "Outputs are named by the program, their elements by whole numbers and slices as in Python: indices begin at 0, "
        "negative ones count from the end.",
        "tpc run model.tp data.npz --show loss[last]",
        "tpc run model.tp data.npz --show 'loss[-1]'"),
    "TP731": CatalogEntry(
        "an optional package that is not installed",
        "Tables of pandas, datasets of xarray, kernels of scikit-learn, the language server and the cell magic of notebooks "
        "need packages that the rest does without. An extra of the installation brings them.",
        "pip install tensorprog",
        "pip install tensorprog[tables,sklearn,lsp,notebook]"),
    "TP733": CatalogEntry(
        "a kernel for scikit-learn that does not fit",
        "`LimitKernel` takes an output over pairs of rows, and the program's own parameters and sizes. Rows of scikit-learn have "
        "one index; where the program's input has more, they are reshaped to its sizes.",
        "LimitKernel(program, \"ngp\")",
        "LimitKernel(program, \"nngp\", settings={\"L\": 3})"),
    "TP734": CatalogEntry(
        "a sweep that goes through nothing",
        "A sweep runs a program at all combinations of several different values of parameters, sizes or the width.",
        "program.sweep(data, eta=[])",
        "program.sweep(data, eta=[0.1, 0.2, 0.5])"),
    "TP735": CatalogEntry(
        "an accuracy that cannot be aimed at",
        "`--error` is a positive number that errors are to be below, and `--budget` the seconds that it may take. Errors come from "
        "several replicates.",
        "tpc run model.tp data.npz --error 1e-3 --replicates 1",
        "tpc run model.tp data.npz --error 1e-3"),
    "TP736": CatalogEntry(
        "a scheduler that is not there",
        "Replicates, networks and points of sweeps run on a cluster of `dask.distributed`, if `--scheduler` names the address of "
        "its scheduler (in Python, the address or a client). `dask scheduler` starts one and prints its address, `dask worker "
        "ADDRESS` a worker, which needs tensorprog as well.",
        "tpc run model.tp data.npz --scheduler localhost",
        "tpc run model.tp data.npz --scheduler tcp://127.0.0.1:8786"),
    "TP737": CatalogEntry(
        "a call that does not fit",
        "Methods of a program take the data first, a mapping from names of inputs to arrays, and everything else by name.",
        "program.run(data['X'])",
        "program.run(data)"),
    "TP732": CatalogEntry(
        "nothing to draw",
        "A picture shows numbers that are finite. Outputs without any, and programs without outputs, have none.",
        "f = log(0 - moment(v*v))",
        "f = log(moment(v*v))"),
}
