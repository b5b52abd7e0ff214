"""What an emitted module needs at run time: NumPy, Numba and SciPy, nothing of the compiler."""

from tensorprog.runtime.algebra import averaged, contract, copied, integers, lengths, mean_product, narrow
from tensorprog.runtime.basis import (
    Unwatched,
    common_dimension,
    common_dtype,
    common_tolerance,
    dimension,
    run_in_basis,
)
from tensorprog.runtime.diagonals import run_on_nodes
from tensorprog.runtime.factored import Factored
from tensorprog.runtime.functions import erf, function, gelu, relu, sigmoid, sigmoid_slope, silu, softplus, step, tanh_slope
from tensorprog.runtime.haar import haar_matrix
from tensorprog.runtime.loops import LoopRun, cast, real_vector, team_sum, worth_compiling
from tensorprog.runtime.matrices import LEAST_SINGLE, Matrix, gaussian_matrix, zero_matrix
from tensorprog.runtime.operators import operator
from tensorprog.runtime.precision import in_precision
from tensorprog.runtime.replicates import part_size, run_replicates
from tensorprog.runtime.sampling import Notes, Space
from tensorprog.runtime.updates import entrywise, matrix_dot, polar, polar_differential, product, update_matrix

__all__ = [
    "LEAST_SINGLE",
    "Factored",
    "LoopRun",
    "Matrix",
    "Notes",
    "Space",
    "Unwatched",
    "averaged",
    "cast",
    "common_dimension",
    "common_dtype",
    "common_tolerance",
    "contract",
    "copied",
    "dimension",
    "entrywise",
    "erf",
    "gaussian_matrix",
    "gelu",
    "haar_matrix",
    "in_precision",
    "integers",
    "lengths",
    "matrix_dot",
    "mean_product",
    "narrow",
    "operator",
    "part_size",
    "polar",
    "polar_differential",
    "product",
    "real_vector",
    "relu",
    "run_in_basis",
    "run_on_nodes",
    "run_replicates",
    "sigmoid",
    "sigmoid_slope",
    "silu",
    "softplus",
    "step",
    "tanh_slope",
    "team_sum",
    "update_matrix",
    "worth_compiling",
    "zero_matrix",
]


def __getattr__(name: str) -> object:
    """Functions that were registered from outside of tensorprog, by their names."""
    return function(name)
