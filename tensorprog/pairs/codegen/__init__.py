"""Kernels over all pairs of inputs: from a pair program to a Python module of tiled Numba code."""

from tensorprog.pairs.codegen.emit import IMPORTS, emit_pair_kernel, pair_kernel_sections
from tensorprog.pairs.codegen.univariate import UnsupportedDual
from tensorprog.pairs.program import (
                                              AddTo,
                                              Diagonal,
                                              Dual,
                                              Gram,
                                              Number,
                                              PairLoop,
                                              PairProduct,
                                              PairProgram,
                                              Power,
                                              Quotient,
                                              Ref,
                                              RowInput,
                                              RunParameter,
                                              ScratchArray,
                                              Set,
                                              Sum,
                                              restrict,
)

__all__ = [
                                              "IMPORTS",
                                              "AddTo",
                                              "Diagonal",
                                              "Dual",
                                              "Gram",
                                              "Number",
                                              "PairLoop",
                                              "PairProduct",
                                              "PairProgram",
                                              "Power",
                                              "Quotient",
                                              "Ref",
                                              "RowInput",
                                              "RunParameter",
                                              "ScratchArray",
                                              "Set",
                                              "Sum",
                                              "UnsupportedDual",
                                              "emit_pair_kernel",
                                              "pair_kernel_sections",
                                              "restrict",
]
