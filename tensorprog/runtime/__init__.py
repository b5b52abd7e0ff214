"""What an emitted module needs at run time: NumPy, Numba and SciPy, nothing of the compiler."""

from tensorprog.runtime.algebra import contract, mean_product
from tensorprog.runtime.functions import erf, gelu, relu, sigmoid, silu, softplus, step
from tensorprog.runtime.laws import draw
from tensorprog.runtime.matrices import Matrix, gaussian_matrix, zero_matrix
from tensorprog.runtime.replicates import run_replicates
from tensorprog.runtime.sampling import Space

__all__ = ["Matrix", "Space", "contract", "draw", "erf", "gaussian_matrix", "gelu", "mean_product", "relu",
           "run_replicates", "sigmoid", "silu", "softplus", "step", "zero_matrix"]
