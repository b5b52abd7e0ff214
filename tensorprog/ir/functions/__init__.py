"""The coordinatewise functions of one argument, one file each. What a function must say is in `nonlinearity`; a new one is a file
and a line here, or, from outside of the package, one call of `register`.

Emitted modules, closed forms, formulas, bounds, powers of n and finite networks ask for them by name.
"""

from __future__ import annotations

from tensorprog.ir.functions.abs import ABS
from tensorprog.ir.functions.cos import COS
from tensorprog.ir.functions.erf import ERF
from tensorprog.ir.functions.exp import EXP
from tensorprog.ir.functions.gelu import GELU
from tensorprog.ir.functions.log import LOG
from tensorprog.ir.functions.neg import NEG
from tensorprog.ir.functions.nonlinearity import Nonlinearity
from tensorprog.ir.functions.relu import RELU
from tensorprog.ir.functions.sigmoid import SIGMOID
from tensorprog.ir.functions.sign import SIGN
from tensorprog.ir.functions.silu import SILU
from tensorprog.ir.functions.sin import SIN
from tensorprog.ir.functions.softplus import SOFTPLUS
from tensorprog.ir.functions.sqrt import SQRT
from tensorprog.ir.functions.square import SQUARE
from tensorprog.ir.functions.step import STEP
from tensorprog.ir.functions.tanh import TANH

BUILT_IN = (NEG, RELU, ABS, SIGN, STEP, TANH, ERF, SIGMOID, GELU, SILU, SOFTPLUS, EXP, LOG, SQRT, SIN, COS, SQUARE)

#: All of them by name, registered ones included.
NONLINEARITIES: dict[str, Nonlinearity] = {f.name: f for f in BUILT_IN}


def nonlinearity_names() -> tuple[str, ...]:
    """Those that a program can call."""
    return tuple(name for name in NONLINEARITIES if name != "neg")


__all__ = ["BUILT_IN", "NONLINEARITIES", "Nonlinearity", "nonlinearity_names"]
